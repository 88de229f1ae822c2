// A leg on the loop: its edges are those of the session behind it.
// It relies on its front to end it; the session has a place on the loop of its own.
import Intercept
import Kernel
import Policy

final class StreamSocketSource: Source {
  let leg: StreamSocket
  /// Of the session behind it. It may end sooner, and its slot have another holder then.
  var session = Slot.none
  private(set) var slot = Slot.none
  /// The session is over and left its place under `limits.connections` to this socket.
  private(set) var hasPlace = false
  /// The connection has no use for it any more.
  var isDropped = false
  private unowned let front: TLSListenerConnection

  init(_ leg: StreamSocket, of front: TLSListenerConnection) {
    self.leg = leg
    self.front = front
  }

  var shareOwner: ShareOwner { front.shareOwner }

  func begin(_ loop: Loop) -> Bool {
    // A connection that the kernel cannot watch is closed; the next one may be watched again.
    guard let slot = try? loop.register(self, watching: leg.descriptor) else { return false }
    self.slot = slot
    return true
  }

  func end(_ loop: Loop) { loop.release(slot) }

  func ready(_ readiness: Readiness, tag: UInt8) {
    leg.note(readiness)
    front.legChanged(leg)
  }

  /// The one session of a connection in HTTP/1.1: the place of the connection is its place too.
  private var isWhole: Bool { leg.stream == 0 }

  /// True: the session's place is not free yet, as a descriptor of the connection is still held for it.
  func sessionEnded(isCut: Bool) -> Bool {
    if isDropped { return isWhole }
    hasPlace = !isWhole
    leg.sessionEnded(isCut: isCut)
    front.legChanged(leg)
    return true
  }

  func resume() {}
  func deadlinePassed() {}
}

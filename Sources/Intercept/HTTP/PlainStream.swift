// One side of a tunnel as the bridges see it: plain bytes in and out, whatever is below.
// It relies on whoever implements it to keep what the peer does not take yet, and to tell when that is too much.
import Wire

package protocol PlainStream: AnyObject {
  /// May have bytes; true until a read says that there are none.
  var isReadable: Bool { get }
  /// The transport below has been shut down by the peer.
  var hasPeerEnded: Bool { get }
  /// What was written and not taken.
  var pendingCount: Int { get }
  func read(into buffer: UnsafeMutableRawBufferPointer) -> Received
  /// So many of the bytes that are written next are the gate's own.
  func exempt(_ count: Int)
  /// False when the connection broke, as below.
  func write(_ bytes: UnsafeRawBufferPointer) -> Bool
  func flush() -> Bool
  /// Tells the peer that nothing follows.
  func end()
  /// Why it broke, where its peer said so in words that help; nil otherwise.
  var problem: String? { get }
}

package enum Received: Equatable {
  case bytes(Int)
  case blocked
  /// The peer said that nothing follows.
  case ended
  /// The connection ended without an end of the body: bytes may be missing.
  case truncated
  case failed
}

extension PlainStream {
  package func exempt(_ count: Int) {}

  /// A reply of the gate's own: no payload of an upstream, so it costs no tokens and counts in no line of the log.
  func writeOwn(_ bytes: [UInt8]) -> Bool {
    exempt(bytes.count)
    return write(bytes)
  }

  package var problem: String? { nil }

  var hasPending: Bool { pendingCount > 0 }

  /// The peer takes too little: nothing more is read for it.
  var isFull: Bool { pendingCount >= 64 * 1024 }

  func write(_ bytes: [UInt8]) -> Bool { unsafe bytes.withUnsafeBytes { unsafe write($0) } }

  func write(_ bytes: Span<UInt8>) -> Bool {
    // SAFETY: the buffer is the span's own, and the call does not keep it.
    unsafe bytes.withUnsafeBytes { unsafe write($0) }
  }
}

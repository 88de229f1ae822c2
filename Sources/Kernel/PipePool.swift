// Pipes for splice(2), lent to a stream while its bytes are in flight.
// It relies on pipes being returned empty; a pipe that still holds bytes is closed instead.
import CLinux

package final class Pipe {
  private let readEnd: Descriptor
  private let writeEnd: Descriptor
  package private(set) var filled = 0

  fileprivate init?(bytesWanted: Int) {
    var ends: (CInt, CInt) = (-1, -1)
    // SAFETY: two CInt in a tuple lie like the array of two that pipe2(2) fills.
    let size = unsafe withUnsafeMutableBytes(of: &ends) { raw in
      unsafe clinux_pipe(raw.bindMemory(to: CInt.self).baseAddress, CInt(bytesWanted))
    }
    guard size > 0 else { return nil }
    readEnd = Descriptor(owning: ends.0)
    writeEnd = Descriptor(owning: ends.1)
  }

  package func fill(from fd: CInt, upTo count: Int) -> Transfer {
    let moved = Transfer(reading: clinux_splice(fd, writeEnd.raw, count, 0))
    if case .bytes(let count) = moved { filled += count }
    return moved
  }

  package func drain(to fd: CInt, more: Bool) -> Transfer {
    let moved = Transfer(writing: clinux_splice(readEnd.raw, fd, filled, more ? 1 : 0))
    if case .bytes(let count) = moved { filled -= count }
    return moved
  }
}

package final class PipePool {
  /// Limit of idle pipes: the number of streams that move bytes in one turn of a busy loop.
  private static let idleMax = 32
  package let pipeBytes = 256 * 1024
  private var idle: [Pipe] = []

  package init() {}

  /// Nil if no descriptors are left.
  package func borrow() -> Pipe? { idle.popLast() ?? Pipe(bytesWanted: pipeBytes) }

  package func giveBack(_ pipe: Pipe) {
    if pipe.filled == 0 && idle.count < Self.idleMax { idle.append(pipe) }
  }
}

// Standard input and output as pipes of bytes.
// It relies on blocking calls: only commands use it, never a loop.
import CLinux
import Glibc

package enum StandardPipes {
  /// The next bytes of standard input, at most `bytesMax`; empty at its end.
  package static func read(bytesMax: Int) throws(SystemError) -> [UInt8] {
    var chunk = [UInt8](repeating: 0, count: bytesMax)
    // SAFETY: the chunk lives through the call and has room for its count.
    let count = unsafe chunk.withUnsafeMutableBytes { unsafe clinux_read(STDIN_FILENO, $0.baseAddress, $0.count) }
    if count < 0 { throw SystemError("read standard input", code: CInt(-count)) }
    chunk.removeLast(bytesMax - count)
    return chunk
  }

  /// Writes all of `bytes` to standard output.
  package static func write(_ bytes: [UInt8]) throws(SystemError) {
    var rest = bytes[...]
    while !rest.isEmpty {
      // SAFETY: the slice's own memory for the time of the call.
      let written = unsafe rest.withUnsafeBytes { unsafe clinux_write(STDOUT_FILENO, $0.baseAddress, $0.count) }
      if written <= 0 { throw SystemError("write standard output", code: CInt(-written)) }
      rest = rest.dropFirst(written)
    }
  }
}

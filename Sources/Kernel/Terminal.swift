// The terminal of a program that draws on it: single keys, the size, and settings that are restored at the end.
// It relies on CLinux to restore them also after a signal or a trap; one instance per process.
import CLinux
import Glibc

package struct Terminal: ~Copyable {
  /// Enters the alternate screen without a cursor; `leave` returns.
  private static let enter = "\u{1b}[?1049h\u{1b}[?25l"
  private static let leave = "\u{1b}[0m\u{1b}[?25h\u{1b}[?1049l"

  /// True if both standard input, for keys, and standard output, for drawing, are terminals.
  package static var isThere: Bool { clinux_is_terminal(STDIN_FILENO) == 1 && clinux_is_terminal(STDOUT_FILENO) == 1 }

  package init() throws(SystemError) { try Self.take() }

  deinit { clinux_terminal_give_back() }

  private static func take() throws(SystemError) {
    let result = unsafe clinux_terminal_take(leave)
    if result < 0 { throw SystemError("tcsetattr", code: -result) }
    var bytes = Array(enter.utf8)
    try StandardOutput.write(&bytes)
  }

  /// Rows and columns; 24 and 80 if unknown.
  package var size: (rows: Int, columns: Int) { Self.window ?? (24, 80) }

  /// Rows and columns of standard output's window; nil if unknown.
  package static var window: (rows: Int, columns: Int)? {
    var size: [CInt] = [0, 0]
    // SAFETY: two numbers, as the call wants.
    let result = unsafe size.withUnsafeMutableBufferPointer { unsafe clinux_terminal_size($0.baseAddress) }
    guard result == 0, size[0] > 0, size[1] > 0 else { return nil }
    return (Int(size[0]), Int(size[1]))
  }

  /// Keys typed within the timeout; nil if the terminal has gone.
  package func keys(timeoutMs: Int) -> [UInt8]? {
    let ready = clinux_wait_readable(STDIN_FILENO, CInt(clamping: timeoutMs))
    if ready == 0 { return [] }
    var bytes = [UInt8](repeating: 0, count: 256)
    // SAFETY: the array lives through the call and has room for its count.
    let count = unsafe bytes.withUnsafeMutableBytes { unsafe clinux_read(STDIN_FILENO, $0.baseAddress, $0.count) }
    return count > 0 ? Array(bytes.prefix(count)) : nil
  }

  /// Suspends the process as Ctrl-Z does: restores the terminal, stops, and takes the terminal again on resume.
  package func suspend() throws(SystemError) {
    clinux_terminal_give_back()
    _ = kill(0, SIGTSTP)
    try Self.take()
  }
}

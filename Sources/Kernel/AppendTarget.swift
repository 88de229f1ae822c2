// The file that log lines are appended to: its descriptor, and the state of a partly written line.
// It relies on a single writing thread, and on O_APPEND, since other processes may append to the same file.
import CLinux
import Glibc

struct AppendTarget: ~Copyable {
  /// A file that ends within a line: its identity, and its length at that time.
  private struct Torn {
    let file: FileStamp
    let end: Int
  }

  /// Nil for standard output.
  private let path: String?
  private var descriptor: Descriptor
  private var torn: Torn?
  /// True if the file may end within a line: it was just opened, or a write failed.
  private var mayEndInALine = true

  init(path: String?) throws(SystemError) {
    self.path = path
    descriptor = try Self.open(path)
    // A self-confined gate may not be allowed to read its log later.
    let end = lseek(descriptor.raw, 0, SEEK_END)
    if end > 0 && endsInALine(at: UInt64(end), byDefault: false) { noteEnd() }
  }

  private static func open(_ path: String?) throws(SystemError) -> Descriptor {
    let fd = path.map { unsafe clinux_open_append($0) } ?? clinux_reopen_append(STDOUT_FILENO)
    guard fd >= 0 else { throw SystemError("open", code: -fd) }
    return Descriptor(owning: fd)
  }

  /// Reopens the path, so that lines go to a new file after a rename.
  mutating func reopen() throws(SystemError) {
    descriptor = try Self.open(path)
    mayEndInALine = true
  }

  /// Writes from `start` on; whole lines were written before it. Returns the bytes written, and the error that
  /// stopped.
  mutating func write(_ lines: [UInt8], from start: Int) -> (written: Int, error: SystemError?) {
    var written = start
    if mayEndInALine, let error = begin(lines, &written) { return (written, error) }
    let error = writeAll(lines, &written)
    if let error {
      mayEndInALine = true
      noteEnd()
      return (written, error)
    }
    torn = nil
    return (written, nil)
  }

  /// Waits until a pipe takes more, up to `msMax`.
  func awaitRoom(msMax: CInt) { _ = clinux_wait_writable(descriptor.raw, msMax) }

  /// Completes a partly written line if the file still ends with that part; otherwise the line starts anew on its own
  /// line.
  private mutating func begin(_ lines: [UInt8], _ written: inout Int) -> SystemError? {
    let lineStart = Self.lineStart(lines, written)
    let isTorn = lineStart < written
    guard let now = FileStamp(of: descriptor) else { return SystemError("fstat", code: EIO) }
    let isSame = torn.map { $0.file.isSameFile(as: now) } ?? false
    // A pipe or a terminal has no end to check, and its reader already has the first part.
    let end = lseek(descriptor.raw, 0, SEEK_END)
    if isTorn && isSame && (end < 0 || torn.map { $0.end == Int(end) } == true) {
      mayEndInALine = false
      return nil
    }
    written = lineStart
    if end > 0 && endsInALine(at: UInt64(end), byDefault: isSame) {
      var none = 0
      if let error = writeAll([UInt8(ascii: "\n")], &none) { return error }
    }
    mayEndInALine = false
    return nil
  }

  private mutating func noteEnd() {
    let end = lseek(descriptor.raw, 0, SEEK_CUR)
    torn = FileStamp(of: descriptor).map { Torn(file: $0, end: max(0, Int(end))) }
  }

  /// For an unreadable file, the default is returned.
  private func endsInALine(at end: UInt64, byDefault: Bool) -> Bool {
    let fd = unsafe clinux_open_read("/proc/self/fd/\(descriptor.raw)")
    guard fd >= 0 else { return byDefault }
    let reader = Descriptor(owning: fd)
    var last: UInt8 = 0
    // SAFETY: one byte of a local.
    let count = unsafe clinux_read_at(reader.raw, &last, 1, end &- 1)
    return count == 1 ? last != UInt8(ascii: "\n") : byDefault
  }

  private func writeAll(_ bytes: [UInt8], _ written: inout Int) -> SystemError? {
    while written < bytes.count {
      // SAFETY: the pointer stays within the array for the time of the call.
      let result = unsafe bytes.withUnsafeBytes { raw in
        unsafe clinux_write(descriptor.raw, raw.baseAddress?.advanced(by: written), raw.count - written)
      }
      if result < 0 { return SystemError("write", code: CInt(truncatingIfNeeded: -result)) }
      written += result
    }
    return nil
  }

  static func lineStart(_ lines: [UInt8], _ index: Int) -> Int {
    var start = index
    while start > 0 && lines[start - 1] != UInt8(ascii: "\n") { start -= 1 }
    return start
  }
}

// Runs a program to its end: its input, its output, its exit status.
// It relies on memory files for all three, so nothing has to be read while it runs, and nothing can block or break a
// pipe.
import CLinux
import Glibc

package struct ChildProcess: Sendable {
  /// The exit status, or 128 and the signal.
  package let status: Int
  package let output: String
  package let errors: String

  private static let bytesMax = 1 << 20

  /// `arguments[0]` is the program's name, found only in the system's folders. Throws `ENOENT` if it is missing.
  package static func run(_ arguments: [String], input: String = "") throws(SystemError) -> ChildProcess {
    let stdin = try memoryFile()
    let stdout = try memoryFile()
    let stderr = try memoryFile()
    try write(Array(input.utf8), to: stdin)
    let packed = pack(arguments)
    // SAFETY: the packed texts live through the call, and the empty one at their end is there.
    let pid = unsafe packed.withUnsafeBufferPointer {
      unsafe clinux_spawn($0.baseAddress, stdin.raw, stdout.raw, stderr.raw)
    }
    if pid < 0 { throw SystemError(arguments[0], code: -pid) }
    let status = try wait(for: pid)
    let (output, errors) = (read(stdout), read(stderr))
    return ChildProcess(
      status: status, output: String(decoding: output, as: UTF8.self), errors: String(decoding: errors, as: UTF8.self))
  }

  /// Longest input of a standby helper's program.
  package static let inputBytesMax = Int(clamping: CLINUX_COMMAND_INPUT_MAX)

  /// The result of a program that prints a secret.
  package enum Printed: Sendable {
    case output([UInt8])
    case status(Int)
    case tookTooLong
  }

  /// `arguments[0]` is an absolute path; `input` is the standard input. The program gets the caller's environment
  /// without `hidden`. Only its standard output is kept. At the timeout, all processes that it started are killed
  /// with it.
  package static func output(
    of arguments: [String], hiding hidden: [String], input: [UInt8] = [], timeoutMs: UInt64
  ) throws(SystemError) -> Printed {
    let stdout = try memoryFile()
    let stdin = try memoryFile()
    try write(input, to: stdin)
    let (packed, names) = (pack(arguments), pack(hidden))
    // SAFETY: the packed texts live through the call, and the empty one at their end is there.
    let status = unsafe packed.withUnsafeBufferPointer { arguments in
      unsafe names.withUnsafeBufferPointer { names in
        unsafe clinux_run(arguments.baseAddress, names.baseAddress, stdin.raw, stdout.raw, CInt(clamping: timeoutMs))
      }
    }
    return try printed(status, status == 0 ? read(stdout) : [], arguments[0])
  }

  fileprivate static func printed(_ status: CInt, _ output: [UInt8], _ program: String) throws(SystemError) -> Printed {
    if status == -ETIMEDOUT { return .tookTooLong }
    if status < 0 { throw SystemError(program, code: -status) }
    return status == 0 ? .output(output) : .status(Int(status))
  }

  /// Packs NUL-terminated texts one after the other, with an empty one at the end.
  fileprivate static func pack(_ texts: [String]) -> [CChar] {
    var packed: [CChar] = []
    for text in texts {
      precondition(!text.isEmpty && !text.utf8.contains(0), "an argument is neither empty nor cut short")
      packed += text.utf8.map { CChar(bitPattern: $0) } + [0]
    }
    return packed + [0]
  }

  /// Blocks until a child of this process ends. Returns the exit status, or 128 plus the signal.
  package static func wait(for pid: CInt) throws(SystemError) -> Int {
    let status = clinux_wait(pid)
    if status < 0 { throw SystemError("waitpid", code: -status) }
    return Int(status)
  }

  /// True if the program does not exist.
  package static func isMissing(_ error: SystemError) -> Bool { error.code == ENOENT }

  private static func memoryFile() throws(SystemError) -> Descriptor {
    let fd = unsafe clinux_memory_file("sluice")
    if fd < 0 { throw SystemError("memfd_create", code: -fd) }
    return Descriptor(owning: fd)
  }

  private static func write(_ text: [UInt8], to file: borrowing Descriptor) throws(SystemError) {
    var bytes = text[...]
    while !bytes.isEmpty {
      // SAFETY: the slice's own memory for the time of the call.
      let written = unsafe bytes.withUnsafeBytes { unsafe clinux_write(file.raw, $0.baseAddress, $0.count) }
      if written <= 0 { throw SystemError("write", code: CInt(truncatingIfNeeded: -written)) }
      bytes = bytes.dropFirst(written)
    }
    let rewound = lseek(file.raw, 0, SEEK_SET)
    if rewound < 0 { throw SystemError("lseek", code: errno) }
  }

  private static func read(_ file: borrowing Descriptor) -> [UInt8] {
    unsafe FileBytes.fill(room: bytesMax) { buffer, offset in
      unsafe clinux_read_at(file.raw, buffer.baseAddress, buffer.count, UInt64(offset))
    } ?? []
  }
}

/// A standby process that runs one program, for a gate that has given up starting programs.
/// Create it while this process has one thread; use it from one thread at a time.
package final class CommandHelper: Sendable {
  private let arguments: [String]
  private let socket: Descriptor

  package init(_ arguments: [String], hiding hidden: [String], timeoutMs: UInt64) throws(SystemError) {
    let (packed, names) = (ChildProcess.pack(arguments), ChildProcess.pack(hidden))
    // SAFETY: the packed texts live through the call; the child works on its own copy.
    let fd = unsafe packed.withUnsafeBufferPointer { arguments in
      unsafe names.withUnsafeBufferPointer { names in
        unsafe clinux_command_helper(arguments.baseAddress, names.baseAddress, CInt(clamping: timeoutMs))
      }
    }
    if fd < 0 { throw SystemError("fork", code: -fd) }
    self.arguments = arguments
    socket = Descriptor(owning: fd)
  }

  /// Blocks until the program ends. `input` is its standard input.
  package func run(input: [UInt8] = []) throws(SystemError) -> ChildProcess.Printed {
    precondition(input.count <= ChildProcess.inputBytesMax, "no more than the process that stands by takes")
    let count = UInt32(truncatingIfNeeded: input.count)
    try send((0..<4).map { UInt8(truncatingIfNeeded: count >> (8 * $0)) } + input)
    let head = try read(8)
    let numbers = stride(from: 0, to: 8, by: 4).map { start in
      head[start..<(start + 4)].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    }
    return try ChildProcess.printed(CInt(bitPattern: numbers[0]), try read(Int(numbers[1])), arguments[0])
  }

  private func send(_ bytes: [UInt8]) throws(SystemError) {
    var rest = bytes[...]
    while !rest.isEmpty {
      // SAFETY: the slice's own memory for the time of the call.
      let sent = unsafe rest.withUnsafeBytes { unsafe clinux_write(socket.raw, $0.baseAddress, $0.count) }
      if sent <= 0 { throw SystemError("credential helper", code: EPIPE) }
      rest = rest.dropFirst(sent)
    }
  }

  private func read(_ count: Int) throws(SystemError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    var got = 0
    while got < count {
      // SAFETY: the array lives through the call and has room for the rest.
      let more = unsafe bytes.withUnsafeMutableBytes {
        unsafe clinux_read(socket.raw, $0.baseAddress?.advanced(by: got), count - got)
      }
      if more <= 0 { throw SystemError("credential helper", code: EPIPE) }
      got += more
    }
    return bytes
  }
}

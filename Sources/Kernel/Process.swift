// What a process asks of its machine: signals, threads, clocks, small files, standard error.
// It relies on being set up on the main thread before any other thread starts.
import CLinux
import Glibc

/// SIGTERM, SIGINT and SIGHUP as values that the main thread reads; no handler runs anywhere.
package struct Signals: ~Copyable {
  package enum Signal: Sendable { case reload, terminate }

  private let descriptor: Descriptor

  /// Threads that start later inherit the mask.
  package init() throws(SystemError) {
    let fd = clinux_signal_open()
    if fd < 0 { throw SystemError("signalfd", code: -fd) }
    descriptor = Descriptor(owning: fd)
  }

  /// Readable while one waits.
  package var fd: CInt { descriptor.raw }

  /// nil when none waits.
  package func take() -> Signal? {
    switch clinux_signal_take(fd) {
    case SIGHUP: .reload
    case SIGTERM, SIGINT: .terminate
    default: nil
    }
  }
}

package enum Threads {
  private final class Body {
    let name: String
    let run: @Sendable () -> Void
    init(_ name: String, _ run: @escaping @Sendable () -> Void) { (self.name, self.run) = (name, run) }
  }

  /// A detached thread; it must not outlive what it uses, so it holds that itself.
  package static func start(name: String, _ run: @escaping @Sendable () -> Void) throws(SystemError) {
    // SAFETY: the body is retained here and released once, by the thread, or below if there is none.
    let body = unsafe Unmanaged.passRetained(Body(name, run))
    let result = unsafe clinux_thread_start(
      { argument in
        guard let argument = unsafe argument else { return nil }
        let body = unsafe Unmanaged<Body>.fromOpaque(argument).takeRetainedValue()
        unsafe clinux_thread_name(body.name)
        body.run()
        return nil
      }, body.toOpaque())
    guard result < 0 else { return }
    unsafe body.release()
    throw SystemError("pthread_create", code: -result)
  }
}

package enum Clock {
  package static func monotonicMs() -> UInt64 { clinux_monotonic_ns() / 1_000_000 }
  package static func monotonicNs() -> UInt64 { clinux_monotonic_ns() }
  package static func wallMs() -> Int64 { clinux_wall_ms() }
  /// Not for a loop's thread.
  package static func pause(ms: UInt32) { _ = usleep(ms * 1000) }
}

package enum Machine {
  /// Cores that this process may run on.
  package static func cores() -> Int { Int(clinux_cores()) }
  package static var processID: Int32 { getpid() }
  package static var userID: UInt32 { geteuid() }

  /// nil when it cannot be told, e.g. since the folder was removed.
  package static func currentFolder() -> String? {
    var text = [CChar](repeating: 0, count: 4096)
    // SAFETY: the array lives through the call and has room for its count.
    let count = unsafe text.withUnsafeMutableBufferPointer { unsafe clinux_current_folder($0.baseAddress, $0.count) }
    return count > 0 ? String(decoding: text.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self) : nil
  }
  package static func exit(status: Int32) -> Never { Glibc.exit(status) }
}

package enum Environment {
  package static func value(_ name: String) -> String? {
    // SAFETY: nothing in this program changes its environment; the text is copied at once.
    guard let text = unsafe getenv(name) else { return nil }
    return unsafe String(cString: text)
  }

  package static func names() -> [String] {
    var names: [String] = []
    // SAFETY: as above; the list ends with NULL, and is not asked for what lies behind.
    while let entry = unsafe clinux_environment(names.count) {
      names.append(String(unsafe String(cString: entry).prefix { $0 != "=" }))
    }
    return names
  }
}

package enum ResourceLimits {
  /// Two sockets a tunnel: the soft limit of old times is raised to the hard one.
  package static func raiseOpenFiles() { clinux_raise_open_files() }
}

package enum InterfaceAddresses {
  private static let countMax = 1024

  /// Empty when the kernel does not tell.
  package static func list() -> [SocketAddress] {
    var plain = [clinux_address](repeating: clinux_address(), count: countMax)
    // SAFETY: the array lives through the call and has room for `countMax`.
    let count = unsafe plain.withUnsafeMutableBufferPointer { unsafe clinux_interfaces($0.baseAddress, CInt($0.count)) }
    return plain.prefix(max(0, Int(count))).map { SocketAddress($0) }
  }
}

/// Whether a file is still the one that was read.
package struct FileStamp: Equatable, Sendable {
  private let device: UInt64
  private let inode: UInt64
  package let size: UInt64
  private let modifiedNs: UInt64

  /// nil when there is no such file.
  package init?(path: String) {
    unsafe self.init { unsafe clinux_file_stamp(path, $0) }
  }

  package init?(of descriptor: borrowing Descriptor) {
    let raw = descriptor.raw
    unsafe self.init { unsafe clinux_descriptor_stamp(raw, $0) }
  }

  private init?(_ read: (UnsafeMutablePointer<UInt64>?) -> CInt) {
    var stamp = [UInt64](repeating: 0, count: 4)
    // SAFETY: four words, as the call wants.
    let result = unsafe stamp.withUnsafeMutableBufferPointer { unsafe read($0.baseAddress) }
    guard result == 0 else { return nil }
    (device, inode, size, modifiedNs) = (stamp[0], stamp[1], stamp[2], stamp[3])
  }

  /// The same file, whatever it holds by now.
  package func isSameFile(as other: FileStamp) -> Bool { device == other.device && inode == other.inode }
}

package enum FileBytes {
  /// Fails where `read` would, and says why.
  package static func require(_ path: String) throws(SystemError) {
    let fd = unsafe clinux_open_read(path)
    if fd < 0 { throw SystemError("open \(path)", code: -fd) }
    _ = Descriptor(owning: fd)
  }

  /// The whole of a small file; nil when it cannot be read or is larger.
  package static func read(_ path: String, bytesMax: Int) -> [UInt8]? {
    let fd = unsafe clinux_open_read(path)
    guard fd >= 0 else { return nil }
    let descriptor = Descriptor(owning: fd)
    let bytes = unsafe fill(room: bytesMax + 1) { buffer, _ in
      unsafe clinux_read(descriptor.raw, buffer.baseAddress, buffer.count)
    }
    return bytes.flatMap { $0.count > bytesMax ? nil : $0 }
  }

  /// Reads into one piece of memory, which the kernel gives as it is filled: what is read may be a secret, and a buffer that grew
  /// would leave copies of it. `more` is given room, and how much was read before; nil when it fails.
  static func fill(room: Int, _ more: (UnsafeMutableRawBufferPointer, Int) -> Int) -> [UInt8]? {
    var hasFailed = false
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
      while count < buffer.count {
        // SAFETY: the rest of the array's own room, for the time of the call.
        let got = unsafe more(
          UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[count...]), count)
        if got <= 0 {
          hasFailed = got < 0
          return
        }
        count += got
      }
    }
    return hasFailed ? nil : bytes
  }
}

package enum StandardError {
  /// What cannot be said there cannot be said anywhere: failures are not looked at.
  package static func write(_ text: String) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      // SAFETY: the slice's own memory for the time of the call.
      let written = unsafe bytes.withUnsafeBytes { unsafe clinux_write(STDERR_FILENO, $0.baseAddress, $0.count) }
      if written <= 0 { return }
      bytes = bytes.dropFirst(written)
    }
  }
}

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

  /// All of `bytes` to standard output.
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

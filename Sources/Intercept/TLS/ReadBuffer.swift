// The one buffer of a loop into which TLS records are opened.
// It relies on its users being done with what they read before the next read.
import Wire

@safe final class ReadBuffer {
  /// The plain bytes of one record (RFC 8446 section 5.1).
  static let byteCount = 16 * 1024
  /// SAFETY: allocated here, freed in deinit, and every range below is checked against its size.
  private let memory: UnsafeMutableRawBufferPointer

  init() { unsafe memory = .allocate(byteCount: Self.byteCount, alignment: 16) }

  deinit { unsafe memory.deallocate() }

  func read(from stream: any PlainStream, upTo count: Int = byteCount) -> Received {
    unsafe stream.read(into: UnsafeMutableRawBufferPointer(rebasing: memory[..<min(count, Self.byteCount)]))
  }

  func withBytes<R>(_ range: Range<Int>, _ body: (Span<UInt8>) -> R) -> R {
    let bytes = unsafe UnsafeRawBufferPointer(rebasing: memory[range])
    return unsafe bytes.withMemoryRebound(to: UInt8.self) { unsafe body($0.span) }
  }

  func bytes(_ range: Range<Int>) -> [UInt8] { unsafe Array(memory[range]) }

  /// False when the connection broke.
  func write(_ range: Range<Int>, to stream: any PlainStream) -> Bool {
    unsafe stream.write(UnsafeRawBufferPointer(rebasing: memory[range]))
  }
}

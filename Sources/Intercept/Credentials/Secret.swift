// A secret in memory: pages of its own that no core dump holds, wiped when its last owner lets go of it.
// It relies on mmap for the pages; who needs the bytes gets a copy, and wipes what it can.
import Glibc

/// SAFETY of `@unchecked Sendable`: the memory is written in `init` alone, and freed by `deinit`.
@safe package final class Secret: @unchecked Sendable {
  private let memory: UnsafeMutableRawPointer
  private let mappedBytes: Int
  package let count: Int

  /// Takes the bytes over: what they stood in is wiped.
  package init(taking bytes: inout [UInt8]) {
    count = bytes.count
    let page = Int(getpagesize())
    mappedBytes = (count + page) / page * page
    let mapped = unsafe mmap(nil, mappedBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let mapped = unsafe mapped, unsafe mapped != MAP_FAILED else { preconditionFailure("no memory for a secret") }
    unsafe memory = unsafe mapped
    // What the kernel refuses here weakens nothing but the care beyond the wiping.
    _ = unsafe madvise(mapped, mappedBytes, MADV_DONTDUMP)
    _ = unsafe mlock(mapped, mappedBytes)
    // SAFETY: `mappedBytes` is more than `count`; the array's bytes are copied, then wiped, within the closure.
    unsafe bytes.withUnsafeMutableBytes { source in
      guard let base = source.baseAddress else { return }
      unsafe mapped.copyMemory(from: base, byteCount: source.count)
      unsafe explicit_bzero(base, source.count)
    }
    bytes = []
  }

  deinit {
    unsafe explicit_bzero(memory, mappedBytes)
    unsafe munmap(memory, mappedBytes)
  }

  /// For what is put together and sent; whoever asks wipes what it became.
  package var copy: [UInt8] {
    // SAFETY: the memory lives as long as `self`.
    unsafe Array(UnsafeRawBufferPointer(start: memory, count: count))
  }

  /// A copy for the time of the call, which must not keep it.
  func withCopy<Result>(_ body: ([UInt8]) -> Result) -> Result {
    var bytes = copy
    defer { Self.wipe(&bytes) }
    return body(bytes)
  }

  /// For a look at the bytes where they are.
  @inline(__always)
  func withBytes<Result>(_ body: (Span<UInt8>) -> Result) -> Result {
    // SAFETY: the memory lives as long as `self`, which the call keeps.
    let bytes = unsafe UnsafeBufferPointer(start: memory.assumingMemoryBound(to: UInt8.self), count: count)
    return unsafe body(Span(_unsafeElements: bytes))
  }

  package static func wipe(_ bytes: inout [UInt8]) {
    // SAFETY: the array's own bytes, within the closure.
    unsafe bytes.withUnsafeMutableBytes { memory in
      if let base = memory.baseAddress { unsafe explicit_bzero(base, memory.count) }
    }
    bytes = []
  }
}

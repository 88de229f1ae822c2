// gzip, deflate, brotli and zstd, undone chunk by chunk, with a bound on what comes out: a small bomb makes no large
// text. It relies on one C decoder an object, freed in its deinit; input is read and output copied within one call.
import CBrotli
import CZlib
import CZstd
import Wire

/// Codings of a body that can be undone.
public enum ContentCoding: String, Sendable, CaseIterable {
  case gzip, deflate, brotli = "br", zstd

  /// By the word of a Content-Encoding field, without regard to case.
  public init?(field: String) {
    let word = field.lowercased()
    guard let coding = word == "x-gzip" ? .gzip : ContentCoding(rawValue: word) else { return nil }
    self = coding
  }
}

public enum DecompressProblem: Error, Sendable, Equatable {
  /// Not what its coding says, or cut.
  case malformed
  /// More than `bytesMax` came out, or more than `ratioMax` times what went in.
  case tooLarge
  case noMemory
}

/// Undoes one coding of one body.
public final class Decompressor {
  /// Text that people write shrinks to a tenth at best; logs and generated pages to a fiftieth.
  public static let ratioMax = 200
  /// So much may come out of anything.
  private static let freeBytes = 1 << 20
  private static let chunkBytes = 64 << 10

  /// A sender says how far back its text may refer; zstd's is bounded by the decoder, brotli's by its format.
  private static let (brotliWindowMax, zstdWindowMax) = (16 << 20, 8 << 20)

  private let decoder: any Decoder
  private let windowMax: Int
  private let bytesMax: Int
  private var bytesIn = 0
  private var bytesOut = 0
  private var isEnded = false
  private var piece = [UInt8](repeating: 0, count: Decompressor.chunkBytes)

  public init(_ coding: ContentCoding, bytesMax: Int) throws(DecompressProblem) {
    self.bytesMax = bytesMax
    windowMax = coding == .brotli ? Self.brotliWindowMax : coding == .zstd ? Self.zstdWindowMax : 0
    switch coding {
    case .gzip: decoder = try ZlibDecoder(isRaw: false)
    case .deflate: decoder = try ZlibDecoder(isRaw: nil)
    case .brotli: decoder = try BrotliDecoder()
    case .zstd: decoder = try ZstdDecoder()
    }
  }

  /// So much memory the decoder may have filled with what came out; that of gzip is small.
  public var windowBytes: Int { min(bytesOut, windowMax) }

  /// What the next bytes come to.
  public func append(_ chunk: [UInt8]) throws(DecompressProblem) -> [UInt8] {
    var rest = chunk[...]
    var output: [UInt8] = []
    while true {
      let (piece, isDone) = try step(&rest)
      output += piece
      if isDone { return output }
    }
  }

  /// Undoes the next of `rest` and takes that off its front: one piece of at most 64 KiB, however much the whole comes
  /// to.
  /// `isDone`: all of it has been undone.
  public func step(_ rest: inout ArraySlice<UInt8>) throws(DecompressProblem) -> (output: [UInt8], isDone: Bool) {
    // gzip and zstd may go on with another member; what follows the end of the others is refused.
    if isEnded, !rest.isEmpty {
      try decoder.restart()
      isEnded = false
    }
    let step = try decoder.step(rest, into: &piece)
    rest = rest.dropFirst(step.read)
    bytesIn += step.read
    bytesOut += step.written
    guard bytesOut <= bytesMax, bytesOut <= max(Self.freeBytes, bytesIn * Self.ratioMax) else { throw .tooLarge }
    isEnded = step.isEnd || isEnded && step.read == 0 && step.written == 0
    let isDone = rest.isEmpty && step.written < piece.count
    if !isDone && step.read == 0 && step.written == 0 { throw .malformed }
    return (Array(piece[..<step.written]), isDone)
  }

  /// The body has ended; throws when the coding has not.
  public func finish() throws(DecompressProblem) {
    guard isEnded || bytesIn == 0 else { throw .malformed }
  }
}

private struct DecoderStep {
  var read: Int
  var written: Int
  var isEnd: Bool
}

private protocol Decoder: AnyObject {
  func step(_ input: ArraySlice<UInt8>, into output: inout [UInt8]) throws(DecompressProblem) -> DecoderStep
  /// Begins another member; throws where a coding has but one.
  func restart() throws(DecompressProblem)
}

/// zlib for gzip, and for deflate with or without zlib's own head, as servers send both.
@safe private final class ZlibDecoder: Decoder {
  private let stream: UnsafeMutablePointer<z_stream>
  /// Nil until the first byte of a deflate body says.
  private var isRaw: Bool?
  private var isOpen = false

  init(isRaw: Bool?) throws(DecompressProblem) {
    // SAFETY: allocated and freed by this object alone; zlib keeps pointers to input and output only during a step.
    unsafe stream = .allocate(capacity: 1)
    unsafe stream.initialize(to: z_stream())
    self.isRaw = isRaw
  }

  deinit {
    if isOpen { _ = unsafe inflateEnd(stream) }
    unsafe stream.deallocate()
  }

  func step(_ input: ArraySlice<UInt8>, into output: inout [UInt8]) throws(DecompressProblem) -> DecoderStep {
    guard let first = input.first else { if isOpen { return try inflate(input, &output) } else { return none } }
    if !isOpen {
      let raw = isRaw ?? (first & 0x0f != 8)
      guard unsafe czlib_inflate_init(stream, raw ? -15 : 47) == Z_OK else { throw .noMemory }
      isOpen = true
    }
    return try inflate(input, &output)
  }

  private var none: DecoderStep { DecoderStep(read: 0, written: 0, isEnd: false) }

  private func inflate(_ input: ArraySlice<UInt8>, _ output: inout [UInt8]) throws(DecompressProblem) -> DecoderStep {
    let room = output.count
    // SAFETY: both buffers outlive the call, and their counts are given with them.
    let result = unsafe input.withUnsafeBufferPointer { source in
      unsafe output.withUnsafeMutableBufferPointer { target in
        unsafe stream.pointee.next_in = UnsafeMutablePointer(mutating: source.baseAddress)
        unsafe stream.pointee.avail_in = UInt32(source.count)
        unsafe stream.pointee.next_out = target.baseAddress
        unsafe stream.pointee.avail_out = UInt32(target.count)
        return unsafe CZlib.inflate(stream, Z_NO_FLUSH)
      }
    }
    guard result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR else { throw .malformed }
    let left = unsafe (Int(stream.pointee.avail_in), Int(stream.pointee.avail_out))
    return DecoderStep(read: input.count - left.0, written: room - left.1, isEnd: result == Z_STREAM_END)
  }

  func restart() throws(DecompressProblem) {
    guard isRaw == false, unsafe inflateReset(stream) == Z_OK else { throw .malformed }
  }
}

@safe private final class BrotliDecoder: Decoder {
  private let state: OpaquePointer

  init() throws(DecompressProblem) {
    // SAFETY: owned by this object, freed in deinit.
    guard let state = unsafe BrotliDecoderCreateInstance(nil, nil, nil) else { throw .noMemory }
    unsafe self.state = state
  }

  deinit { unsafe BrotliDecoderDestroyInstance(state) }

  func step(_ input: ArraySlice<UInt8>, into output: inout [UInt8]) throws(DecompressProblem) -> DecoderStep {
    var inputLeft = input.count
    var outputLeft = output.count
    let room = output.count
    // SAFETY: both buffers outlive the call, and their counts are given with them.
    let result = unsafe input.withUnsafeBufferPointer { source in
      unsafe output.withUnsafeMutableBufferPointer { target in
        var next = source.baseAddress
        var place = target.baseAddress
        return unsafe BrotliDecoderDecompressStream(state, &inputLeft, &next, &outputLeft, &place, nil)
      }
    }
    guard result != BROTLI_DECODER_RESULT_ERROR else { throw .malformed }
    return DecoderStep(
      read: input.count - inputLeft, written: room - outputLeft, isEnd: result == BROTLI_DECODER_RESULT_SUCCESS)
  }

  func restart() throws(DecompressProblem) { throw .malformed }
}

@safe private final class ZstdDecoder: Decoder {
  /// RFC 8878 recommends 8 MiB as what every decoder takes; a larger window is memory that the sender chooses.
  private static let windowLogMax: CInt = 23

  private let context: OpaquePointer

  init() throws(DecompressProblem) {
    // SAFETY: owned by this object, freed in deinit.
    guard let context = unsafe ZSTD_createDCtx() else { throw .noMemory }
    unsafe self.context = context
    _ = unsafe ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, Self.windowLogMax)
  }

  deinit { _ = unsafe ZSTD_freeDCtx(context) }

  func step(_ input: ArraySlice<UInt8>, into output: inout [UInt8]) throws(DecompressProblem) -> DecoderStep {
    var read = 0
    var written = 0
    // SAFETY: both buffers outlive the call, and their counts are given with them.
    let result = unsafe input.withUnsafeBufferPointer { source in
      unsafe output.withUnsafeMutableBufferPointer { target in
        var from = unsafe ZSTD_inBuffer(src: source.baseAddress, size: source.count, pos: 0)
        var to = unsafe ZSTD_outBuffer(dst: target.baseAddress, size: target.count, pos: 0)
        let result = unsafe ZSTD_decompressStream(context, &to, &from)
        unsafe (read, written) = (from.pos, to.pos)
        return result
      }
    }
    guard ZSTD_isError(result) == 0 else { throw .malformed }
    return DecoderStep(read: read, written: written, isEnd: result == 0)
  }

  func restart() throws(DecompressProblem) {
    guard ZSTD_isError(unsafe ZSTD_DCtx_reset(context, ZSTD_reset_session_only)) == 0 else { throw .malformed }
  }
}

/// Versions of the libraries that this module links and that say theirs; gumbo does not.
package enum ContentLibraries {
  package static var versions: [(name: String, version: String)] {
    let brotli = BrotliDecoderVersion()
    // SAFETY: both libraries return string literals.
    let (zlib, zstd) = unsafe (String(cString: zlibVersion()), String(cString: ZSTD_versionString()))
    return [
      ("zlib", zlib), ("brotli", "\(brotli >> 24).\(brotli >> 12 & 0xfff).\(brotli & 0xfff)"), ("zstd", zstd),
    ]
  }
}

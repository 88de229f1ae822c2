// What a session answers to a stream, read from its HTTP/1.1: a head that becomes one of HTTP/2, then a body without
// framing. It relies on the session for well-formed heads, and on reading straight into the buffer that the frame is
// made in.
import Flow
import Wire

/// SAFETY: the buffer is nghttp2's, lent for the time of a call; every range in it is below the count that was read.
@safe struct InnerAnswer {
  enum HeadStep {
    case incomplete
    case interim(FieldBlock)
    /// `hasBody` is false where END_STREAM goes with it.
    case final(FieldBlock, hasBody: Bool)
    /// No answer of a session's: something in the gate is wrong.
    case broken
  }

  enum Framing {
    case none
    /// Until the session ends: a tunnel, or a body without a length.
    case untilEnd
    case length(UInt64)
    case chunked(ChunkedScanner)
  }

  enum Filled: Equatable {
    case bytes(Int, isLast: Bool)
    case later
    case broken
  }

  /// A head that was passed on may be longer than the one that came: Via, and a status line.
  private static let headBytesAdded = 4096

  /// Bytes of the head, and what came behind it.
  private var held: [UInt8] = []
  private var heldOffset = 0
  private var parser = ResponseHead()
  private var framing = Framing.none
  private(set) var isTunnel = false

  /// `canned`: an answer that is whole already.
  init(canned: [UInt8] = []) { held = canned }

  mutating func hear(_ bytes: Span<UInt8>) { held.append(bytes) }

  // MARK: - Head

  mutating func readHead(of kind: InnerRequest.Kind, bytesMax: Int) -> HeadStep {
    if heldOffset > 0 {
      held.removeFirst(heldOffset)
      heldOffset = 0
    }
    if held.isEmpty { return .incomplete }
    let bytes = held
    switch parser.parse(bytes.span, bytesMax: bytesMax + Self.headBytesAdded) {
    case .incomplete: return .incomplete
    case .malformed: return .broken
    case .complete(let length):
      heldOffset = length
      let step = parser.isInterim ? .interim(block(parser.status)) : begin(kind)
      parser = ResponseHead()
      return step
    }
  }

  private mutating func begin(_ kind: InnerRequest.Kind) -> HeadStep {
    let status = parser.status
    if case .tunnel = kind, (200..<300).contains(status) { return beginTunnel(status) }
    if status == 101 {
      guard case .webSocket(let accept) = kind, parser.isWebSocketUpgrade, hasShown(accept) else { return .broken }
      return beginTunnel(200)
    }
    switch parser.body(toHEAD: kind.isHEAD) {
    case .none, .length(0): framing = .none
    case .length(let count): framing = .length(count)
    case .chunked: framing = .chunked(ChunkedScanner())
    case .untilClose: framing = .untilEnd
    }
    let hasBody = if case .none = framing { false } else { true }
    return .final(block(status), hasBody: hasBody)
  }

  private mutating func beginTunnel(_ status: Int) -> HeadStep {
    framing = .untilEnd
    isTunnel = true
    return .final(block(status, keepsLength: false), hasBody: true)
  }

  private func hasShown(_ accept: [UInt8]) -> Bool {
    var shown: [UInt8]?
    parser.forEachField(held.span) { name, value in
      let name = name.inLowerCase
      if name.span.isText("sec-websocket-accept") { shown = value.array(from: 0) }
    }
    return shown == accept
  }

  private func block(_ status: Int, keepsLength: Bool = true) -> FieldBlock {
    var block = FieldBlock()
    block.append(":status", Array("\(status)".utf8))
    parser.forEachField(held.span) { name, value in
      let name = name.inLowerCase
      if name.span.isText("content-length") && !keepsLength || name.span.isText("sec-websocket-accept") { return }
      block.append(name, value.array(from: 0), isSensitive: false)
    }
    return block
  }

  // MARK: - Body

  mutating func fill(_ buffer: UnsafeMutableRawBufferPointer, from leg: StreamSocket?) -> Filled {
    while true {
      let count: Int
      switch unsafe read(into: buffer, from: leg) {
      case .bytes(let read): count = read
      case .blocked: return .later
      case .ended, .truncated, .failed:
        guard let leg, leg.ending != .cut, case .untilEnd = framing else { return .broken }
        return .bytes(0, isLast: true)
      }
      switch framing {
      case .none: return .broken
      case .untilEnd: return .bytes(count, isLast: false)
      case .length(let left):
        framing = .length(left - UInt64(count))
        return .bytes(count, isLast: left == UInt64(count))
      case .chunked(var scanner):
        let filled = unsafe Self.unwrap(UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]), &scanner)
        framing = .chunked(scanner)
        // Framing alone: an empty frame would say nothing.
        if filled != .bytes(0, isLast: false) { return filled }
      }
    }
  }

  private mutating func read(into buffer: UnsafeMutableRawBufferPointer, from leg: StreamSocket?) -> Received {
    var room = buffer.count
    if case .length(let left) = framing { room = Int(clamping: min(UInt64(room), left)) }
    if heldOffset < held.count {
      let count = min(room, held.count - heldOffset)
      unsafe buffer.copyBytes(from: held[heldOffset..<(heldOffset + count)])
      heldOffset += count
      if heldOffset == held.count {
        held = []
        heldOffset = 0
      }
      return .bytes(count)
    }
    guard let leg else { return .ended }
    return unsafe leg.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<room]))
  }

  /// Moves the data of chunks together, in place.
  private static func unwrap(_ bytes: UnsafeMutableRawBufferPointer, _ scanner: inout ChunkedScanner) -> Filled {
    var (kept, index) = (0, 0)
    while true {
      let span = unsafe Span<UInt8>(_bytes: bytes.bytes)
      switch scanner.next(span, from: index) {
      case .data(let range):
        unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[kept..<(kept + range.count)])
          .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[range]))
        kept += range.count
        index = range.upperBound
      case .needsMore: return .bytes(kept, isLast: false)
      case .done: return .bytes(kept, isLast: true)
      case .malformed: return .broken
      }
    }
  }
}

extension Span<UInt8> {
  /// Field names as HTTP/2 has them.
  fileprivate var inLowerCase: [UInt8] { array(from: 0).map { $0 &- 0x41 < 26 ? $0 | 0x20 : $0 } }
}

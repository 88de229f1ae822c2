// Cuts a message head into its first line and its field lines while the bytes arrive, each byte looked at once.
// It relies on being handed the same bytes again, with more behind them, after `.incomplete`.

/// Ranges of one field line in the buffer. 32 bits each: a head is far below 4 GiB.
struct FieldLine: Sendable {
  let start: UInt32
  let nameEnd: UInt32
  var valueStart: UInt32
  var valueEnd: UInt32
  /// Behind the end of the line, of the last one where it is folded.
  var end: UInt32
  let kind: FieldKind
  /// Named by a Connection field, and so not forwarded.
  var isNominated = false
  /// Read leniently, and so rewritten: a space before its colon, a fold, a bare LF. The value may hold line ends.
  var isLenient = false

  var name: Range<Int> { Int(start)..<Int(nameEnd) }
  var value: Range<Int> { Int(valueStart)..<Int(valueEnd) }
  var line: Range<Int> { Int(start)..<Int(end) }
}

/// The fields that the gate interprets.
enum FieldKind: UInt8, Sendable {
  case other, host, connection, keepAlive, contentLength, transferEncoding, te, upgrade, http2Settings, expect
  case proxyAuthorization, proxyConnection, proxyStatus, proxyOther, sluice

  @inline(__always)
  init(_ bytes: Span<UInt8>, _ name: Range<Int>) {
    self = .other
    switch name.count {
    case 2: if bytes.matches("te", at: name) { self = .te }
    case 4: if bytes.matches("host", at: name) { self = .host }
    case 6: if bytes.matches("expect", at: name) { self = .expect }
    case 7: if bytes.matches("upgrade", at: name) { self = .upgrade }
    case 10:
      if bytes.matches("connection", at: name) {
        self = .connection
      } else if bytes.matches("keep-alive", at: name) {
        self = .keepAlive
      }
    case 14:
      if bytes.matches("content-length", at: name) {
        self = .contentLength
      } else if bytes.matches("http2-settings", at: name) {
        self = .http2Settings
      }
    case 17: if bytes.matches("transfer-encoding", at: name) { self = .transferEncoding }
    default: break
    }
    guard self == .other else { return }
    if bytes.hasPrefix("proxy-", at: name) {
      self = FieldKind.proxyKind(bytes, name)
    } else if bytes.hasPrefix("x-sluice-", at: name) {
      self = .sluice
    }
  }

  /// True if the kind follows from the name as a whole, and not from the beginning of it.
  @inline(__always)
  var isWholeName: Bool { self != .other && self != .proxyOther && self != .sluice }

  private static func proxyKind(_ bytes: Span<UInt8>, _ name: Range<Int>) -> FieldKind {
    if bytes.matches("proxy-authorization", at: name) { return .proxyAuthorization }
    if bytes.matches("proxy-connection", at: name) { return .proxyConnection }
    return bytes.matches("proxy-status", at: name) ? .proxyStatus : .proxyOther
  }
}

/// A request is read strictly, since it decides what leaves. A response comes from an upstream that the policy
/// allows: its known deviations have one safe reading each (RFC 9112), and are forwarded in that reading.
enum HeadDialect: Sendable { case request, response }

struct HeadLines: Sendable {
  static let fieldsMax = 128
  /// Places are kept in 32 bits; no sensible limit comes near.
  private static let bytesCeiling = 1 << 24

  enum Step {
    case incomplete
    case firstLine(Range<Int>)
    case end(length: Int)
  }

  let dialect: HeadDialect
  /// Lines of this head, then what is left of longer ones before it: emptying the array would cost more than a field.
  private var storage: [FieldLine] = []
  private(set) var count = 0
  /// Start of the line that is being read.
  private var lineStart = 0
  /// All bytes before this index are field content, or a CR at the very end.
  private var cursor = 0
  private var hasFirstLine = false

  init(_ dialect: HeadDialect) { self.dialect = dialect }

  /// A byte of the first line has come; empty lines in front of it are none.
  var hasBegun: Bool { hasFirstLine || cursor > lineStart }

  mutating func reset() {
    count = 0
    lineStart = 0
    cursor = 0
    hasFirstLine = false
  }

  subscript(index: Int) -> FieldLine {
    precondition(index < count, "a field of this head")
    return storage[index]
  }

  mutating func nominate(_ index: Int) { storage[index].isNominated = true }

  /// Reads on to the end of the first line, then to the end of the head.
  mutating func next(_ bytes: Span<UInt8>, bytesMax: Int) throws(HeadProblem) -> Step {
    let bytesMax = min(bytesMax, HeadLines.bytesCeiling)
    let limit = min(bytes.count, bytesMax)
    while let (lineEnd, nextLine) = try lineEnd(bytes, limit) {
      let line = lineStart..<lineEnd
      lineStart = nextLine
      cursor = lineStart
      if !hasFirstLine {
        if line.isEmpty {
          // RFC 9112 section 2.2: old clients send an empty line behind a body.
          guard dialect == .request else { throw .emptyFirstLine }
          continue
        }
        hasFirstLine = true
        return .firstLine(line)
      }
      if line.isEmpty { return .end(length: lineStart) }
      if dialect == .response, bytes[line.lowerBound].isBlank {
        try unfold(bytes, line)
        continue
      }
      guard count < HeadLines.fieldsMax else { throw .tooManyFields }
      append(try parse(bytes, line))
    }
    // One byte more would be needed than a head may have.
    guard limit < bytesMax else { throw .tooLarge(bytesMax: bytesMax) }
    return .incomplete
  }

  @inline(__always)
  private mutating func append(_ field: FieldLine) {
    if count < storage.count {
      storage[count] = field
    } else {
      if storage.capacity == 0 { storage.reserveCapacity(16) }
      storage.append(field)
    }
    count += 1
  }

  /// The end of the current line and the start of the next one. Nil if the end has not arrived.
  @inline(__always)
  private mutating func lineEnd(_ bytes: Span<UInt8>, _ limit: Int) throws(HeadProblem) -> (Int, nextLine: Int)? {
    let index = bytes.endOfFieldContent(from: min(cursor, limit), to: limit)
    cursor = index
    guard index < limit else { return nil }
    guard bytes[index] == .carriageReturn else {
      guard bytes[index] == .lineFeed else { throw .controlByte }
      // RFC 9112 section 2.2 lets a recipient take it for the end of a line.
      guard dialect == .response else { throw .bareLineFeed }
      return (index, index + 1)
    }
    guard index + 1 < limit else { return nil }
    guard bytes[index + 1] == .lineFeed else { throw .bareCarriageReturn }
    return (index, index + 2)
  }

  /// RFC 9112 section 5.2: a line that begins with a blank goes on with the value of the field before it.
  private mutating func unfold(_ bytes: Span<UInt8>, _ line: Range<Int>) throws(HeadProblem) {
    guard count > 0 else { throw .foldedLine }
    let more = bytes.trimmed(line)
    if !more.isEmpty {
      if storage[count - 1].value.isEmpty { storage[count - 1].valueStart = UInt32(clamping: more.lowerBound) }
      storage[count - 1].valueEnd = UInt32(clamping: more.upperBound)
    }
    storage[count - 1].end = UInt32(clamping: lineStart)
    storage[count - 1].isLenient = true
  }

  /// Call when `lineStart` is already behind this line.
  @inline(__always)
  private func parse(_ bytes: Span<UInt8>, _ line: Range<Int>) throws(HeadProblem) -> FieldLine {
    guard let colon = bytes.firstIndex(of: UInt8(ascii: ":"), in: line) else {
      throw bytes[line.lowerBound].isBlank ? .foldedLine : .fieldWithoutColon
    }
    var name = line.lowerBound..<colon
    var isLenient = false
    if dialect == .response {
      // RFC 9112 section 5.1: such a space is removed from a response.
      while name.count > 1, bytes[name.upperBound - 1].isBlank { name = name.lowerBound..<(name.upperBound - 1) }
      isLenient = name.upperBound != colon || lineStart != line.upperBound + 2
    }
    let kind = FieldKind(bytes, name)
    // A name that was recognised whole is a token.
    if !kind.isWholeName { try HeadLines.checkName(bytes, name) }
    let value = bytes.trimmed((colon + 1)..<line.upperBound)
    return FieldLine(
      start: UInt32(line.lowerBound), nameEnd: UInt32(name.upperBound), valueStart: UInt32(value.lowerBound),
      valueEnd: UInt32(value.upperBound), end: UInt32(lineStart), kind: kind, isLenient: isLenient)
  }

  /// Refuses names that two parsers may read differently.
  private static func checkName(_ bytes: Span<UInt8>, _ name: Range<Int>) throws(HeadProblem) {
    for index in name where !bytes[index].isToken {
      if bytes[name.lowerBound].isBlank { throw .foldedLine }
      throw bytes[name.upperBound - 1].isBlank ? .spaceBeforeColon : .fieldName
    }
    guard !name.isEmpty else { throw .fieldName }
  }
}

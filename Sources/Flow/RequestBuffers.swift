// The buffers and parsers that a flow needs before its tunnel is open.
// It relies on Flow to free the one object, so that an idle tunnel holds none of it.
import Policy
import Wire

/// Bytes under way when a tunnel begins.
package struct EarlyBytes: Sendable {
  package var toUpstream: [UInt8] = []
  /// Bytes that the client sent early. They bypassed the byte bucket when they were read.
  package var input: [UInt8] = []
  package var answer: [UInt8] = []
}

/// SAFETY of `@exclusivity(unchecked)`: the buffers belong to one flow, which is a value in one connection, and the
/// access to that is checked once an event. Nothing in here calls out. Checking each field cost a tunnel 4,400
/// instructions of 36,400.
final class RequestBuffers {
  /// Spare capacity for a rewritten head. A head that grows more costs one more allocation.
  private static let addedBytes = 128

  @safe @exclusivity(unchecked) private var input: [UInt8] = []
  @safe @exclusivity(unchecked) private var inputOffset = 0
  @safe @exclusivity(unchecked) private var answer: [UInt8] = []
  @safe @exclusivity(unchecked) private var answerOffset = 0
  @safe @exclusivity(unchecked) private var toClient: [UInt8] = []
  /// True if the bytes were written by the gate, not by an upstream.
  @safe @exclusivity(unchecked) private(set) var isReplyOwn = false
  @safe @exclusivity(unchecked) private var toUpstream: [UInt8] = []
  @safe @exclusivity(unchecked) var request = RequestHead()
  @safe @exclusivity(unchecked) var response = ResponseHead()
  /// The end of the request's head in the input, while the head is needed.
  @safe @exclusivity(unchecked) private(set) var headLength = 0
  /// The path and query to send in place of the client's spelling.
  @safe @exclusivity(unchecked) var judgedPath: [UInt8]?
  /// Method and path of a plain request: a reload judges them again after the head is gone.
  @safe @exclusivity(unchecked) private(set) var requestLine = RequestLine()
  /// The registry's answer about this request, where no rule allows it.
  @safe @exclusivity(unchecked) var approvalAnswer: ApprovalAnswer?
  /// The approval that allows what the rule itself would refuse.
  @safe @exclusivity(unchecked) var approvedBy: SourceLine?
  /// The idle upstream of the last request, which may serve the next one to the same target.
  @safe @exclusivity(unchecked) var standing: (target: Target, address: IPAddress)?
  @safe @exclusivity(unchecked) var helloNeeded = 0
  /// The negotiation of SOCKS 5 so far; nil for a client that speaks HTTP.
  @safe @exclusivity(unchecked) var socks: SOCKSNegotiation?
  /// True if a redirected ClientHello offers Encrypted ClientHello.
  @safe @exclusivity(unchecked) var offersECH = false

  var firstByte: UInt8? { input.count > inputOffset ? input[inputOffset] : nil }
  var hasInput: Bool { input.count > inputOffset }
  var inputCount: Int { input.count - inputOffset }
  var hasAnswer: Bool { answer.count > answerOffset }

  func append(_ bytes: Span<UInt8>) {
    if inputOffset > 0 && inputOffset == input.count {
      input.removeAll(keepingCapacity: true)
      inputOffset = 0
    }
    input.append(bytes)
  }

  func appendAnswer(_ bytes: Span<UInt8>) {
    answer.append(bytes)
  }

  /// True if the client has sent only empty lines.
  var holdsEmptyLinesAlone: Bool { request.isPartlyRead && !request.hasBegun }

  func parseRequest(bytesMax: Int) -> HeadResult {
    dropUsedInput()
    let bytes = input
    let result = request.parse(bytes.span, bytesMax: bytesMax)
    if case .complete(let length) = result { headLength = length }
    return result
  }

  /// Parsers keep offsets into the input, so used bytes are dropped only between two heads.
  private func dropUsedInput() {
    guard inputOffset > 0 else { return }
    input.removeFirst(inputOffset)
    inputOffset = 0
  }

  /// Drops the used head; a body, a hello or the next request follows.
  func dropHead() {
    inputOffset += headLength
    headLength = 0
  }

  /// Parses the start of the input.
  func read<Result>(_ parse: (Span<UInt8>) -> Result) -> Result {
    let bytes = input
    return parse(bytes.span.extracting(droppingFirst: inputOffset))
  }

  /// Drops used bytes; the rest stays.
  func drop(_ count: Int) { inputOffset += count }

  func credentials() -> (user: [UInt8], password: [UInt8])? {
    if let presented = socks?.presented { return (presented.user, presented.password) }
    let bytes = input
    return request.basicCredentials(in: bytes.span)
  }

  func parseHello(bytesMax: Int) -> ClientHelloResult {
    let count = inputCount
    if count < helloNeeded { return .incomplete(needed: helloNeeded) }
    let bytes = input
    let result = ClientHello.parse(bytes.span.extracting(droppingFirst: inputOffset), bytesMax: bytesMax)
    if case .incomplete(let needed) = result { helloNeeded = needed }
    return result
  }

  func parseResponse(bytesMax: Int) -> HeadResult {
    if answerOffset > 0 {
      answer.removeFirst(answerOffset)
      answerOffset = 0
    }
    let bytes = answer
    return response.parse(bytes.span, bytesMax: bytesMax)
  }

  /// RFC 9110 section 9.2.1: safe methods without a body may go out twice.
  var isRepeatable: Bool {
    guard case .none = request.body else { return false }
    let method = input[request.method]
    return method.elementsEqual("GET".utf8) || method.elementsEqual("HEAD".utf8)
  }

  func writeRequest(to target: Target) {
    let bytes = input
    toUpstream.reserveCapacity(headLength + Self.addedBytes)
    request.writeUpstream(from: bytes.span, to: target, judgedPath: judgedPath, into: &toUpstream)
  }

  /// Valid only while the head is in the buffer.
  var refusalForm: RefusalForm {
    guard headLength > 0 else { return RefusalForm() }
    let bytes = input
    return RefusalForm(request, in: bytes.span)
  }

  func keepRequestLine() {
    let bytes = input
    requestLine.keep(request, in: bytes.span)
  }

  /// True if the head of a plain HTTP request holds a credential's placeholder.
  func carries(_ placeholders: Placeholders) -> Bool {
    !placeholders.isEmpty && placeholders.find(in: [Array(input[inputOffset..<(inputOffset + headLength)])]) != nil
  }

  /// The head of a request to the gate itself.
  func question(keepsConnection: Bool) -> GateQuestion {
    let bytes = input
    var question = GateQuestion(keepsConnection: keepsConnection)
    question.method = Array(bytes[request.method])
    question.path = request.pathAndQuery(in: bytes.span)
    question.accept = request.field("accept", in: bytes.span).map { Array(bytes[$0]) } ?? []
    question.origin = request.field("origin", in: bytes.span).map { Array(bytes[$0]) }
    question.isHEAD = request.isHEAD
    return question
  }

  func takeInput(_ count: Int) -> [UInt8] { Self.take(&input, &inputOffset, count) }

  func writeResponse(keepAlive: Bool) {
    let bytes = answer
    isReplyOwn = false
    toClient.reserveCapacity(toClient.count + bytes.count + Self.addedBytes)
    response.writeDownstream(
      from: bytes.span, keepAlive: keepAlive, toMinorVersion: request.minorVersion, toHEAD: request.isHEAD,
      into: &toClient)
  }

  /// True if chunks behind an answer's head are malformed. Call while that head is still in the buffer.
  func hasBrokenChunks(behind length: Int) -> Bool {
    var meter = BodyMeter(.chunked)
    let bytes = answer
    switch meter.follow(bytes.span.extracting(droppingFirst: answerOffset + length)) {
    case .malformed: return true
    case .more, .ended: return false
    }
  }

  func dropAnswerHead(_ length: Int) {
    answerOffset += length
    response = ResponseHead()
  }

  func write(_ refusal: Refusal) {
    toClient.removeAll(keepingCapacity: true)
    isReplyOwn = true
    refusal.write(into: &toClient)
  }

  func reply(_ bytes: [UInt8]) {
    toClient = bytes
    isReplyOwn = true
  }

  /// Takes the part of the input that belongs to the request's body.
  func takeInput(within meter: inout BodyMeter) -> (bytes: [UInt8], progress: BodyMeter.Progress) {
    Self.take(&input, &inputOffset, within: &meter)
  }

  func takeAnswer(within meter: inout BodyMeter) -> (bytes: [UInt8], progress: BodyMeter.Progress) {
    Self.take(&answer, &answerOffset, within: &meter)
  }

  private static func take(
    _ array: inout [UInt8], _ offset: inout Int, within meter: inout BodyMeter
  ) -> (bytes: [UInt8], progress: BodyMeter.Progress) {
    if offset == array.count { return ([], meter.hasEnded ? .ended(0) : .more) }
    let progress = meter.follow(array.span.extracting(droppingFirst: offset))
    switch progress {
    case .more: return (take(&array, &offset, .max, meter.leftOut), progress)
    case .ended(let count): return (take(&array, &offset, count, meter.leftOut), progress)
    case .malformed: return ([], progress)
    }
  }

  private static func take(
    _ array: inout [UInt8], _ offset: inout Int, _ countMax: Int, _ leftOut: [Range<Int>]
  ) -> [UInt8] {
    let whole = take(&array, &offset, countMax)
    if leftOut.isEmpty { return whole }
    var kept: [UInt8] = []
    kept.append(whole.span, leavingOut: leftOut)
    return kept
  }

  private static func take(_ array: inout [UInt8], _ offset: inout Int, _ countMax: Int) -> [UInt8] {
    let count = min(countMax, array.count - offset)
    if count == 0 { return [] }
    if offset == 0 && count == array.count {
      defer { array = [] }
      return array
    }
    let taken = Array(array[offset..<offset + count])
    offset += count
    return taken
  }

  func takeJudgedRequest() -> [UInt8] {
    headLength = 0
    return Self.take(&input, &inputOffset, .max)
  }

  func takeAll() -> EarlyBytes {
    EarlyBytes(
      toUpstream: takeToUpstream(), input: Self.take(&input, &inputOffset, .max),
      answer: Self.take(&answer, &answerOffset, .max))
  }

  func takeToClient() -> [UInt8] {
    defer { toClient = [] }
    return toClient
  }

  func takeToUpstream() -> [UInt8] {
    defer { toUpstream = [] }
    return toUpstream
  }

  /// Resets for the next request of the connection; pipelined input and the parsers' memory stay.
  func beginNextRequest() {
    answer.removeAll(keepingCapacity: true)
    answerOffset = 0
    approvalAnswer = nil
    approvedBy = nil
    judgedPath = nil
    helloNeeded = 0
    headLength = 0
  }
}

// Any bytes as a request head, a response head and a chunked body: a parse in two parts says the same as one, and what
// goes on parses again as the same message.

import FuzzDriver
import Wire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: size))
  checkRequest(bytes)
  checkResponse(bytes)
  checkChunks(bytes)
  return 0
}

private func checkRequest(_ bytes: [UInt8]) {
  var whole = RequestHead()
  let result = whole.parse(bytes.span, bytesMax: 16_384)
  checkSplit(bytes, result) {
    RequestHead()
  } parse: {
    $0.parse($1, bytesMax: 16_384)
  }
  guard case .complete(let length) = result else { return }
  let head = bytes.prefix(length)
  precondition(!head.contains(0), "a NUL was accepted")
  for index in head.indices where head[index] == 0x0a {
    precondition(index > 0 && head[index - 1] == 0x0d, "a bare LF was accepted")
  }
  let target: Target
  switch whole.form {
  case .absolute(let named): target = named
  case .origin, .asterisk:
    guard let named = whole.originHost else { return }
    target = named
  case .connect: return
  }
  var upstream: [UInt8] = []
  whole.writeUpstream(from: bytes.span, to: target, into: &upstream)
  var again = RequestHead()
  guard case .complete(let count) = again.parse(upstream.span, bytesMax: 1 << 20), count == upstream.count else {
    preconditionFailure("what goes upstream is no head")
  }
  precondition(again.body == whole.body, "the framing changed")
  precondition(again.originHost == target, "Host is not the judged target")
  precondition(upstream[again.method] == bytes[whole.method], "the method changed")
  precondition(again.pathAndQuery(in: upstream.span) == whole.pathAndQuery(in: bytes.span), "the path changed")
  precondition(upstream[again.requestTarget].allSatisfy { $0 > 0x20 && $0 < 0x7f }, "the target is not visible ASCII")
  precondition(!again.hasProxyAuthorization, "Proxy-Authorization left")
}

private func checkResponse(_ bytes: [UInt8]) {
  var whole = ResponseHead()
  let result = whole.parse(bytes.span, bytesMax: 16_384)
  checkSplit(bytes, result) {
    ResponseHead()
  } parse: {
    $0.parse($1, bytesMax: 16_384)
  }
  guard case .complete = result, !whole.isInterim else { return }
  var downstream: [UInt8] = []
  whole.writeDownstream(from: bytes.span, keepAlive: true, toMinorVersion: 1, toHEAD: false, into: &downstream)
  for (index, byte) in downstream.enumerated() {
    if byte == 0x0a { precondition(downstream[index - 1] == 0x0d, "a bare LF goes on") }
    if byte == 0x0d { precondition(downstream[index + 1] == 0x0a, "a bare CR goes on") }
  }
  var again = ResponseHead()
  guard case .complete(let count) = again.parse(downstream.span, bytesMax: 1 << 20), count == downstream.count else {
    preconditionFailure("what goes to the client is no head")
  }
  precondition(again.status == whole.status, "the status changed")
  precondition(again.body(toHEAD: false) == whole.body(toHEAD: false), "the framing changed")
}

private func checkChunks(_ bytes: [UInt8]) {
  guard let whole = passed(bytes, cut: bytes.count) else {
    precondition(passed(bytes, cut: cut(bytes)) == nil, "a cut makes a body right")
    return
  }
  precondition(passed(bytes, cut: cut(bytes)) ?? [] == whole, "a cut changes what goes on")
  precondition(passed(whole, cut: whole.count) == whole, "what goes on is not what was read")
}

/// What goes on of a chunked body; nil where it is malformed.
private func passed(_ bytes: [UInt8], cut: Int) -> [UInt8]? {
  var scanner = ChunkedScanner()
  var out: [UInt8] = []
  for range in [0..<cut, cut..<bytes.count] where !range.isEmpty {
    let part = bytes.span.extracting(range)
    switch scanner.scan(part) {
    case .needsMore: out.append(part, leavingOut: scanner.leftOut)
    case .done(let consumed):
      out.append(part.extracting(first: consumed), leavingOut: scanner.leftOut)
      return out
    case .malformed: return nil
    }
  }
  return out
}

private func cut(_ bytes: [UInt8]) -> Int {
  bytes.reduce(0) { ($0 &* 31 &+ Int($1)) & 0xffff } % (bytes.count + 1)
}

private func checkSplit<Head>(
  _ bytes: [UInt8], _ expected: HeadResult, _ make: () -> Head, parse: (inout Head, Span<UInt8>) -> HeadResult
) {
  var parts = make()
  let first = parse(&parts, bytes.span.extracting(0..<cut(bytes)))
  if case .incomplete = first {
    precondition("\(parse(&parts, bytes.span))" == "\(expected)", "a split changes the result")
  } else if case .complete = first {
    precondition("\(first)" == "\(expected)", "a prefix says something else")
  } else if case .complete = expected {
    preconditionFailure("a prefix of a right head is refused")
  }
}

@_cdecl("FuzzHTTPHead_main")
public func main(_ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> CInt {
  runFuzzer(count, arguments)
}

// Any bytes as a request head: a parse in two parts says the same as one, and what goes upstream parses again.

import FuzzDriver
import Wire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: size))
  var whole = RequestHead()
  let result = whole.parse(bytes.span, bytesMax: 16_384)
  checkSplit(bytes, result)
  guard case .complete(let length) = result else { return 0 }
  let head = bytes.prefix(length)
  precondition(!head.contains(0), "a NUL was accepted")
  for index in head.indices where head[index] == 0x0a {
    precondition(index > 0 && head[index - 1] == 0x0d, "a bare LF was accepted")
  }
  guard case .absolute(let target) = whole.form else { return 0 }
  var upstream: [UInt8] = []
  whole.writeUpstream(from: bytes.span, to: target, into: &upstream)
  var again = RequestHead()
  guard case .complete(let count) = again.parse(upstream.span, bytesMax: 65_536), count == upstream.count else {
    preconditionFailure("what goes upstream is no head")
  }
  precondition(again.body == whole.body, "the framing changed")
  precondition(again.originHost == target, "Host is not the judged target")
  precondition(!again.hasProxyAuthorization, "Proxy-Authorization left")
  return 0
}

private func checkSplit(_ bytes: [UInt8], _ expected: HeadResult) {
  let cut = bytes.reduce(0) { ($0 &* 31 &+ Int($1)) & 0xffff } % (bytes.count + 1)
  var parts = RequestHead()
  let first = parts.parse(bytes.span.extracting(0..<cut), bytesMax: 16_384)
  if case .incomplete = first {
    precondition("\(parts.parse(bytes.span, bytesMax: 16_384))" == "\(expected)", "a split changes the result")
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

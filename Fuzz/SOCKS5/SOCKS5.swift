// Any bytes as a SOCKS message: no prefix says anything final that the whole does not, and a target means one thing.

import FuzzDriver
import Wire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: size))
  check(bytes, SOCKSGreeting.parse)
  check(bytes, SOCKSCredentials.parse)
  check(bytes, SOCKSRequest.parse)
  if case .complete(.connect(let target), _) = SOCKSRequest.parse(bytes.span) {
    let text = Array("\(target)".utf8)
    guard let again = try? Authority.parse(text.span, defaultPort: nil) else { preconditionFailure("not read again") }
    precondition(again == target && target.port > 0, "another target")
  }
  return 0
}

private func check<Value>(_ bytes: [UInt8], _ parse: (Span<UInt8>) -> SOCKSResult<Value>) {
  let result = parse(bytes.span)
  let cut = bytes.reduce(0) { ($0 &* 31 &+ Int($1)) & 0xffff } % (bytes.count + 1)
  let early = parse(bytes.span.extracting(0..<cut))
  precondition(early == .incomplete || early == result, "a prefix says something else")
  switch result {
  case .incomplete: precondition(bytes.count < 513, "asks for what it has")
  case .complete(_, let count):
    precondition((1...bytes.count).contains(count), "more than there is")
    precondition(parse(bytes.span.extracting(0..<count)) == result, "what stands behind counts")
    precondition(parse(bytes.span.extracting(0..<(count - 1))) == .incomplete, "a shorter message")
  case .malformed(let problem): precondition(!problem.description.isEmpty)
  }
}

@_cdecl("FuzzSOCKS5_main")
public func main(_ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> CInt {
  runFuzzer(count, arguments)
}

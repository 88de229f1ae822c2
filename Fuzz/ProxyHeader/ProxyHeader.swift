// Any bytes as a PROXY protocol header: no prefix says anything final that the whole does not.

import FuzzDriver
import Wire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: size))
  let result = ProxyHeader.parse(bytes.span)
  let cut = bytes.reduce(0) { ($0 &* 31 &+ Int($1)) & 0xffff } % (bytes.count + 1)
  let early = ProxyHeader.parse(bytes.span.extracting(0..<cut))
  switch early {
  case .incomplete(let needed): precondition(needed > cut && needed <= ProxyHeader.bytesMax, "asks for what it has")
  case .complete: precondition(early == result, "a prefix says something else")
  case .malformed: if case .complete = result { preconditionFailure("a prefix of a right header is refused") }
  }
  switch result {
  case .incomplete(let needed): precondition(needed > bytes.count && needed <= ProxyHeader.bytesMax)
  case .complete(_, let count):
    precondition((16...min(bytes.count, ProxyHeader.bytesMax)).contains(count), "more than there is")
    guard case .incomplete(let needed) = ProxyHeader.parse(bytes.span.extracting(0..<(count - 1))), needed <= count
    else { preconditionFailure("a shorter header") }
  case .malformed(let problem): precondition(!problem.description.isEmpty)
  }
  return 0
}

@_cdecl("FuzzProxyHeader_main")
public func main(_ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> CInt {
  runFuzzer(count, arguments)
}

// Any bytes as the first flight of a TLS client: no prefix says anything final that the whole does not.

import FuzzDriver
import Wire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: size))
  let result = ClientHello.parse(bytes.span, bytesMax: 65_536)
  let cut = bytes.reduce(0) { ($0 &* 31 &+ Int($1)) & 0xffff } % (bytes.count + 1)
  let early = ClientHello.parse(bytes.span.extracting(0..<cut), bytesMax: 65_536)
  switch early {
  case .incomplete(let needed): precondition(needed > cut, "asks for what it has")
  case .complete, .notTLS: precondition(early == result, "a prefix says something else")
  case .malformed: if case .complete = result { preconditionFailure("a prefix of a right hello is refused") }
  }
  if case .complete(let hello) = result { precondition(hello.length <= bytes.count) }
  return 0
}

@_cdecl("FuzzClientHello_main")
public func main(_ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> CInt {
  runFuzzer(count, arguments)
}

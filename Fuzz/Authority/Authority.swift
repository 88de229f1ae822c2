// Any bytes as host:port: what is accepted prints as a text that means the same.

import FuzzDriver
import Wire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: size))
  for defaultPort in [nil, UInt16(80)] {
    guard let target = try? Authority.parse(bytes.span, defaultPort: defaultPort) else { continue }
    let text = Array("\(target)".utf8)
    guard let again = try? Authority.parse(text.span, defaultPort: nil) else { preconditionFailure("not read again") }
    precondition(again == target, "another target")
    precondition(target.port > 0 && text.allSatisfy { $0 > 0x20 && $0 < 0x7f }, "unprintable")
  }
  if let address = IPAddress(parsing: bytes.span) { precondition(IPAddress("\(address)") == address) }
  return 0
}

@_cdecl("FuzzAuthority_main")
public func main(_ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> CInt {
  runFuzzer(count, arguments)
}

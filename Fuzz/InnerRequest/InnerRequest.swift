// Any fields of a request in HTTP/2: what a session reads of them is one head, whole, for the method that was named; or none.

import FuzzDriver
import Intercept
import Wire

private let names: [[UInt8]] = [
  ":method", ":authority", ":path", ":scheme", ":protocol", "host", "cookie", "content-length", "transfer-encoding",
  "connection", "upgrade", "te", "proxy-authorization", "x",
].map { Array($0.utf8) }

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: size))
  var fields: [(name: [UInt8], value: [UInt8])] = []
  for line in bytes.dropFirst().split(separator: UInt8(ascii: "\n")) {
    guard let choice = line.first else { continue }
    // nghttp2 lets no field through that holds one of these.
    let value = line.dropFirst().filter { $0 >= 0x20 && $0 != 0x7f }
    fields.append((names[Int(choice) % names.count], Array(value)))
  }
  let endsStream = (bytes.first ?? 0) & 1 == 0
  guard let inner = InnerRequest.bytes(of: fields, endsStream: endsStream) else { return 0 }
  var head = RequestHead()
  guard case .complete(let length) = head.parse(inner.span, bytesMax: 1 << 20) else { return 0 }
  precondition(length == inner.count, "something follows the head")
  let method = fields.first { $0.name == names[0] }?.value ?? []
  let isUpgrade = method == Array("CONNECT".utf8) && fields.contains { $0.name == names[4] }
  precondition(inner[head.method].elementsEqual(isUpgrade ? Array("GET".utf8) : method), "another method")
  switch head.form {
  case .connect: precondition(!isUpgrade && method == Array("CONNECT".utf8), "a tunnel that nobody asked for")
  case .absolute: precondition(isUpgrade || !head.keepAlive, "another request could follow")
  case .origin, .asterisk: preconditionFailure("no request to a proxy")
  }
  return 0
}

@_cdecl("FuzzInnerRequest_main")
public func main(_ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> CInt {
  runFuzzer(count, arguments)
}

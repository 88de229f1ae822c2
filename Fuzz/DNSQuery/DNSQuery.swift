// Any bytes as a DNS query: an error is answered in less than was asked, and every reply fits, repeats the question
// and is itself never answered.

import FuzzDriver
import Wire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: size))
  switch DNSQuery.parse(bytes.span) {
  case .drop: precondition(bytes.count < 12 || bytes[2] & 0x80 != 0, "a query without an answer")
  case .answerable(let head, let code):
    var reply: [UInt8] = []
    head.write(code, into: &reply)
    precondition(reply.count <= 3 * bytes.count, "a reply that could flood")
    check(reply, 512, bytes)
  case .query(let query):
    checkName(query)
    checkReplies(query, bytes)
  }
  return 0
}

/// The name that is judged spells the very labels that were asked for.
private func checkName(_ query: DNSQuery) {
  precondition((2...255).contains(query.nameBytes.count) || query.nameBytes == [0])
  if query.reverseAddress != nil { precondition(query.name != nil && query.type == .ptr) }
  guard let name = query.name else { return }
  var spelled: [UInt8] = []
  for label in name.bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
    spelled.append(UInt8(label.count))
    spelled.append(contentsOf: label)
  }
  spelled.append(0)
  // Lengths are below the letters, so that lower case leaves them alone.
  precondition(query.nameBytes.map { $0 &- 0x41 < 26 ? $0 | 0x20 : $0 } == spelled, "another name")
}

private func checkReplies(_ query: DNSQuery, _ bytes: [UInt8]) {
  let bytesMax = query.udpBytesMax
  let error = DNSExtendedError(code: DNSExtendedError.filtered, text: Array(bytes.prefix(600)))
  let addresses = bytes.prefix(100).flatMap { byte -> [IPAddress] in
    [.v4(UInt32(byte)), .v6(high: 0x2000 << 48, low: UInt64(byte))]
  }
  var replies: [[UInt8]] = Array(repeating: [], count: 5)
  query.answer(addresses: addresses, ttlSeconds: 60, into: &replies[0], bytesMax: bytesMax)
  query.noData(extendedError: error, ttlSeconds: 60, into: &replies[1], bytesMax: bytesMax)
  query.failure(.nameError, extendedError: error, ttlSeconds: 60, into: &replies[2], bytesMax: bytesMax)
  query.failure(.serverFailure, extendedError: error, into: &replies[3], bytesMax: bytesMax)
  if let name = query.name { query.pointer(to: name, ttlSeconds: 60, into: &replies[4], bytesMax: bytesMax) }
  for reply in replies where !reply.isEmpty {
    check(reply, bytesMax, bytes)
    let end = 12 + query.nameBytes.count + 4
    precondition(reply[12..<end] == bytes[12..<end], "another question")
    precondition(reply[11] == (query.edns == nil ? 0 : 1), "OPT without being asked for")
  }
}

private func check(_ reply: [UInt8], _ bytesMax: Int, _ bytes: [UInt8]) {
  precondition((12...bytesMax).contains(reply.count), "a reply that does not fit")
  precondition(reply[0..<2] == bytes[0..<2], "another id")
  precondition(DNSQuery.parse(reply.span) == .drop, "an answer that is answered")
}

@_cdecl("FuzzDNSQuery_main")
public func main(_ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> CInt {
  runFuzzer(count, arguments)
}

// Any bytes as a request's path: what comes out is its own spelling, climbs nowhere, and hides nothing.

import FuzzDriver
import Policy
import Wire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: size))
  guard let path = try? RequestPath(target: bytes.span) else { return 0 }
  precondition(path.queryStart <= bytes.count && path.bytes.first == 0x2f, "no path")
  precondition((try? RequestPath(target: path.bytes.span))?.bytes == path.bytes, "a second spelling")
  precondition(path.bytes.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x3f && $0 != 0x23 }, "a byte that no path has")
  precondition(path.readings.reduce(0) { $0 + $1.count } <= 1 << 19, "too much to read")
  for reading in path.readings { check(reading) }
  checkPattern(path)
  return 0
}

private func check(_ reading: [UInt8]) {
  precondition(reading.first == 0x2f && !reading.contains(0x5c), "no path")
  for segment in reading.split(separator: 0x2f) {
    guard let plain = Percent.decode(Array(segment).span) else { preconditionFailure("a broken escape") }
    precondition(plain != [0x2e] && plain != [0x2e, 0x2e], "a dot segment")
    precondition(!plain.contains { $0 < 0x20 || $0 == 0x7f }, "a control byte")
    precondition(String(validating: plain, as: UTF8.self) != nil, "no UTF-8")
  }
}

/// A path without stars is a pattern that matches itself.
private func checkPattern(_ path: RequestPath) {
  guard let pattern = try? PathPattern(String(decoding: path.bytes, as: UTF8.self)) else { return }
  precondition(pattern.matches(path), "a pattern does not match itself")
}

@_cdecl("FuzzRequestPath_main")
public func main(_ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> CInt {
  runFuzzer(count, arguments)
}

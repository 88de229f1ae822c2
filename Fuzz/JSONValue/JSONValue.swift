// Any bytes as JSON: what is read is written on one line, and reads as the same value again.

import FuzzDriver
import Wire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: size))
  guard let value = try? JSONValue.parse(bytes) else { return 0 }
  let line = value.line
  precondition(line.last == 0x0a && !line.dropLast().contains { $0 < 0x20 }, "more than a line")
  precondition((try? JSONValue.parse(line)) == value, "another value")
  return 0
}

@_cdecl("FuzzJSONValue_main")
public func main(_ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> CInt {
  runFuzzer(count, arguments)
}

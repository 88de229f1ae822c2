// Any bytes as a policy file: it loads, or says why in at least one problem that has a place.

import FuzzDriver
import Policy
import PolicyFile

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: size))
  let loaded = PolicyFile.parse(bytes: bytes, name: "p") { _ in bytes }
  precondition((loaded.policy == nil) == !loaded.problems.isEmpty, "neither a policy nor a problem")
  for problem in loaded.problems + loaded.warnings {
    precondition(problem.mark.line > 0 && problem.mark.column > 0)
    precondition(!problem.text.utf8.contains { $0 < 0x20 }, "a message of more than one line")
  }
  return 0
}

@_cdecl("FuzzPolicyFile_main")
public func main(_ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> CInt {
  runFuzzer(count, arguments)
}

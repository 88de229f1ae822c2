// Bytes as the choices of a simulation: events, clocks and texts in any order keep the invariants of a flow.

import FlowSimulation
import FuzzDriver
import Policy
import PolicyFile
import Wire

private let policyBytes = Array(Script.policy.utf8)

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: size))
  guard let policy = PolicyFile.parse(bytes: policyBytes, name: "p").policy else { preconditionFailure("no policy") }
  var choices = ByteChoices(bytes)
  let way = choices.next(below: 12)
  var simulation = FlowSimulation(policy: policy, way: way)
  do { _ = try simulation.run(&choices, stepsMax: 200) } catch { preconditionFailure("\(error)") }
  return 0
}

@_cdecl("FuzzFlow_main")
public func main(_ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> CInt {
  runFuzzer(count, arguments)
}

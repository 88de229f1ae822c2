// Two bridges behind one another, in either protocol: what the first lets out is what the second lets out too.

import BridgeSimulation
import FuzzDriver
import Intercept
import Policy
import PolicyFile
import Wire

private let policyBytes = Array(
  #"network_policy: {allow: [{host: "api.example:443", methods: [GET, POST], paths: ["/public/**"]}]}"#.utf8)

private let rule: AllowRule = {
  guard let rule = PolicyFile.parse(bytes: policyBytes, name: "p").policy?.fallback.network.allow.first else {
    preconditionFailure("no policy")
  }
  return rule
}()

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: size))
  guard let first = bytes.first, let name = try? HostName("api.example") else { return 0 }
  let spoken = first & 1 == 0 ? ApplicationProtocol.http1 : .http2
  guard var simulation = BridgeSimulation(spoken, target: Target(host: .name(name), port: 443), rule: rule) else {
    preconditionFailure("no bridge")
  }
  do { try simulation.run(Array(bytes.dropFirst())) } catch { preconditionFailure("\(error)") }
  return 0
}

@_cdecl("FuzzBridge_main")
public func main(_ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> CInt {
  runFuzzer(count, arguments)
}

// The policy file on disk: read whole, with the password files that it names, and what is wrong with it said.
// It relies on PolicyFile for the meaning; a file that cannot be read is a problem like any other.
import Gate
import Kernel
import Policy
import PolicyFile

enum PolicyOnDisk {
  private static let policyBytesMax = 16 << 20
  private static let passwordBytesMax = 1 << 20

  /// Says what is wrong with the file, or only doubtful; nil when it is no policy.
  static func load(
    _ path: String, inheriting old: Policy? = nil, sandbox: String? = nil, _ say: (String) -> Void = Messages.say
  ) -> Policy? {
    guard let bytes = FileBytes.read(path, bytesMax: policyBytesMax) else {
      say("\(path): cannot be read (it must exist, be readable, and be at most 16 MiB)")
      return nil
    }
    let loaded = PolicyFile.parse(
      bytes: bytes, name: path, inheriting: old, sandbox: sandbox, nowUnix: Clock.wallMs() / 1000
    ) { path in FileBytes.read(path, bytesMax: passwordBytesMax) }
    for warning in loaded.warnings { say(warning.asWarning) }
    for problem in loaded.problems { say("\(problem)") }
    return loaded.policy
  }
}

/// The policy file of a running gate.
struct FilePolicySource: PolicySource {
  let path: String?
  /// The one sandbox that the gate serves, where it is a part of `sluice run`.
  var sandbox: String?

  var file: String? { path }

  func load(replacing old: Policy?, _ say: (String) -> Void) -> Policy? {
    guard let path else {
      if old == nil { say("warning: no --policy: everything is denied. Write one and start with --policy FILE") }
      return Policy.denyAll(clients: sandbox.map { [$0] } ?? [])
    }
    return PolicyOnDisk.load(path, inheriting: old, sandbox: sandbox, say)
  }
}

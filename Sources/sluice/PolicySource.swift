// The policy file on disk: read whole, with the password files that it names, and what is wrong with it said.
// It relies on PolicyFile for the meaning; a file that cannot be read is a problem like any other.
import Gate
import Kernel
import Policy
import PolicyFile
import YAML

enum PolicyOnDisk {
  private static let policyBytesMax = 16 << 20
  private static let passwordBytesMax = 1 << 20

  /// Says what is wrong with the file, or only doubtful; nil when it is no policy.
  static func load(_ path: String, inheriting old: Policy? = nil, sandbox: String? = nil) -> Policy? {
    guard let bytes = FileBytes.read(path, bytesMax: policyBytesMax) else {
      Messages.say("\(path): cannot be read (it must exist, be readable, and be at most 16 MiB)")
      return nil
    }
    let loaded = PolicyFile.parse(
      bytes: bytes, name: path, inheriting: old, sandbox: sandbox, nowUnix: Clock.wallMs() / 1000
    ) { path in FileBytes.read(path, bytesMax: passwordBytesMax) }
    for warning in loaded.warnings { Messages.say(warning.asWarning) }
    for problem in loaded.problems { Messages.say("\(problem)") }
    return loaded.policy
  }
}

/// The policy file of a running gate.
struct FilePolicySource: PolicySource {
  let path: String?
  /// The one sandbox that the gate serves, where it is a part of `sluice run`.
  var sandbox: String?

  func load(replacing old: Policy?) -> Policy? {
    guard let path else {
      if old == nil { Messages.warn("no --policy: everything is denied. Write one and start with --policy FILE") }
      return Policy.denyAll(clients: sandbox.map { [$0] } ?? [])
    }
    return PolicyOnDisk.load(path, inheriting: old, sandbox: sandbox)
  }
}

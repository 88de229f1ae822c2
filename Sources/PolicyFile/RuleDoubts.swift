// Warnings for allow rules that may open more than the operator knows: this machine, cloud metadata, strangers'
// hosts.
// It relies on Policy for kinds of addresses and on short lists of names; a rule that is meant stays in force.
import Policy
import Wire

enum RuleDoubts {
  static func doubt(of rule: AllowSpec) -> String? {
    let own: String? =
      switch rule.pattern {
      case .exact(.name(let name)): exact("\(name)")
      case .exact(.address(let address)): self.address(address)
      case .wildcard(let parent): wildcard("\(parent)")
      case .network, .any: nil
      }
    return own ?? listed(rule)
  }

  private static func exact(_ name: String) -> String? {
    if name == "localhost" || name.hasSuffix(".localhost") {
      return
        "localhost is the gate's own machine, not the client's, and in a sandbox of `sluice run` the sandbox itself, "
        + "which does not ask the gate for it; for a service on the gate's machine write host.internal:PORT"
    }
    return MetadataServices.names.contains(name) ? metadata(name) : nil
  }

  private static func address(_ address: IPAddress) -> String? {
    if MetadataServices.all.contains(address) { return metadata("\(address)") }
    if address.kind == .loopback {
      return "\(address) is the gate's own machine, not the client's, and in a sandbox of `sluice run` the sandbox "
        + "itself; for a service on the gate's machine write host.internal:PORT"
    }
    return address.kind == .linkLocal
      ? "link-local addresses are those of clouds' metadata services; is this one meant?" : nil
  }

  private static func listed(_ rule: AllowSpec) -> String? {
    // A network in `addresses` opens no metadata service: see Screening.
    let found = rule.addresses.first { $0.length == $0.address.width && MetadataServices.all.contains($0.address) }
    return found.map { metadata("\($0.address)") }
  }

  private static func metadata(_ text: String) -> String {
    "\(text) is a cloud's metadata service, which hands out the machine's credentials; remove this rule unless that is meant"
  }

  private static func wildcard(_ parent: String) -> String? {
    if !parent.contains(".") {
      return privateSuffixes.contains(parent)
        ? nil
        : "*.\(parent) is every name that anybody registers under .\(parent); name the hosts, or *.example.\(parent)"
    }
    if PublicSuffixes.contains(parent) {
      return "*.\(parent) is every name that strangers have under \(parent); name the hosts that are meant"
    }
    return nil
  }

  /// Names that nobody can register (RFC 6761, RFC 8375, ICANN 2024), and common names of private networks.
  private static let privateSuffixes: Set<String> = [
    "internal", "local", "localdomain", "lan", "home", "corp", "private", "intranet", "test", "example", "invalid",
    "localhost",
    "cluster", "svc", "consul",
  ]
}

// A plan as a shell script of iptables and ip6tables commands, for machines without nft: set, or removed.
// It relies on the plan's names holding nothing that a shell or iptables would read as more than a name. Each table of
// a
// family is one transaction of iptables-restore; the refusals are set first, so that a failure half-way lets nothing
// out.
import Wire

package enum IPTables {
  /// COMMAND TABLE BUILTIN CHAIN.
  private static let functions = """
    jump() { $1 -w -t $2 -C $3 -j $4 2>/dev/null || $1 -w -t $2 -I $3 -j $4; }
    drop() {
      while $1 -w -t $2 -D $3 -j $4 2>/dev/null; do gone=yes; done
      for chain in $4 $4-sel; do $1 -w -t $2 -F $chain 2>/dev/null && gone=yes || :; done
      for chain in $4 $4-sel; do $1 -w -t $2 -X $chain 2>/dev/null || :; done
    }
    """

  package static func script(_ plan: RedirectPlan) -> String {
    var lines = ["set -eu", functions]
    if let routing = plan.routing {
      lines += routing.remove.map { "ip \(words($0)) 2>/dev/null || :" } + routing.add.map { "ip \(words($0))" }
    }
    for family in Family.allCases {
      lines.append("\(command(family))-restore -w --noflush <<'END'")
      lines += tables.flatMap { restore($0, plan, family) }
      lines.append("END")
      let hooks = tables.flatMap { table in plan.chains.map(\.hook).filter { place($0).table == table } }
      lines += hooks.map { "jump \(words(for: $0, plan.table, family))" }
      // An older plan of the selector may have had chains that this one has not: those of TPROXY.
      let stale = Hook.allCases.filter { place($0).table != "nat" && !hooks.contains($0) }
      lines += stale.map { "drop \(words(for: $0, plan.table, family))" }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// All chains that a plan of this selector can have. Says `gone` on standard output when something was there.
  package static func removal(_ selector: Selector) -> String {
    let routing = PolicyRouting(table: selector.table)
    var lines = ["set -eu", "gone=", functions]
    for family in Family.allCases {
      lines += Hook.allCases.map { "drop \(words(for: $0, selector.table, family))" }
    }
    lines += routing.remove.map { "ip \(words($0)) 2>/dev/null && gone=yes || :" }
    let flush = PolicyRouting.flush.map { "ip \(words($0)) || :; " }.joined()
    lines.append("[ -n \"$(ip \(words(PolicyRouting.list)) 2>/dev/null)\" ] || { \(flush)} 2>/dev/null")
    lines.append("[ -z \"$gone\" ] || echo gone")
    return lines.joined(separator: "\n") + "\n"
  }

  // MARK: chains

  /// The refusals come first.
  private static let tables = ["filter", "mangle", "nat"]

  private static func command(_ family: Family) -> String { family == .v4 ? "iptables" : "ip6tables" }

  private static func words(for hook: Hook, _ table: String, _ family: Family) -> String {
    words([command(family), place(hook).table, place(hook).builtin, name(hook, table)])
  }

  private static func words(_ arguments: [String]) -> String { arguments.joined(separator: " ") }

  private static func place(_ hook: Hook) -> (table: String, builtin: String) {
    switch hook {
    case .manglePrerouting: ("mangle", "PREROUTING")
    case .mangleOutput: ("mangle", "OUTPUT")
    case .manglePostrouting: ("mangle", "POSTROUTING")
    case .natPrerouting: ("nat", "PREROUTING")
    case .natOutput: ("nat", "OUTPUT")
    case .filterInput: ("filter", "INPUT")
    case .filterForward: ("filter", "FORWARD")
    case .filterOutput: ("filter", "OUTPUT")
    }
  }

  /// Up to 28 characters, so the selector stands in it as eight digits.
  private static func name(_ hook: Hook, _ table: String) -> String {
    "sluice-\(Text.hex(Fingerprint.of(table), digits: 8))-\(place(hook).builtin.prefix(4).lowercased())"
  }

  private static func names(_ chain: Chain, _ plan: RedirectPlan) -> [String] {
    let name = name(chain.hook, plan.table)
    return selection(chain.selection) == nil ? [name] : [name, name + "-sel"]
  }

  private static func restore(_ table: String, _ plan: RedirectPlan, _ family: Family) -> [String] {
    let chains = plan.chains.filter { place($0.hook).table == table }
    guard !chains.isEmpty else { return [] }
    return ["*\(table)"] + chains.flatMap { names($0, plan).map { ":\($0) - [0:0]" } }
      + chains.flatMap { rules($0, plan, family) } + ["COMMIT"]
  }

  private static func selection(_ selection: Chain.Selection) -> String? {
    switch selection {
    case .everything: nil
    case .incoming(let name): "-i \(name.text)"
    case .owner(let id): "-m owner --uid-owner \(id.number)"
    case .cgroup(let path): "-m cgroup --path \(path.text)"
    }
  }

  private static func rules(_ chain: Chain, _ plan: RedirectPlan, _ family: Family) -> [String] {
    let names = names(chain, plan)
    let selected = selection(chain.selection).map { ["-A \(names[0]) \($0) -j \(names[0])-sel"] } ?? []
    return chain.first.flatMap { rule($0, names[0], family) } + selected
      + chain.rules.flatMap { rule($0, names[names.count - 1], family) }
  }

  // MARK: rules

  /// One rule is several lines where iptables wants one protocol, or one ICMP type, each.
  private static func rule(_ rule: Rule, _ chain: String, _ family: Family) -> [String] {
    guard rule.family ?? family == family else { return [] }
    let destination = rule.destination.map { "-d \($0.text)" }
    let conditions = rule.conditions.compactMap(condition)
    return protocols(rule, family).map { proto in
      let parts = [destination, proto.isEmpty ? nil : proto].compactMap { $0 } + conditions
      return (["-A \(chain)"] + parts + [verdict(rule.verdict, family)]).joined(separator: " ")
    }
  }

  private static func protocols(_ rule: Rule, _ family: Family) -> [String] {
    for case .icmp(let kind) in rule.conditions {
      let option = family == .v4 ? "-p icmp --icmp-type" : "-p icmpv6 --icmpv6-type"
      return kind.types.map { "\(option) \($0.number)" }
    }
    let ports = (rule.sourcePort.map { " --sport \($0)" } ?? "") + (rule.port.map { " --dport \($0)" } ?? "")
    switch rule.transport {
    case .tcp: return ["-p tcp\(ports)"]
    case .udp: return ["-p udp\(ports)"]
    case .tcpAndUDP: return ["-p tcp\(ports)", "-p udp\(ports)"]
    case nil: return [""]
    }
  }

  private static func condition(_ condition: Rule.Condition) -> String? {
    switch condition {
    case .isReply: "-m conntrack --ctdir REPLY"
    case .owner(let id): "-m owner --uid-owner \(id.number)"
    case .connectionMark(let mark): "-m connmark --mark \(Text.mark(mark))"
    case .mark(let mark): "-m mark --mark \(Text.mark(mark))"
    case .inByLoopback: "-i lo"
    case .outPastLoopback: "! -o lo"
    case .icmp: nil
    }
  }

  private static func verdict(_ verdict: Rule.Verdict, _ family: Family) -> String {
    switch verdict {
    // Done here: ACCEPT would also skip the rules of the machine's own firewall.
    case .accept: return "-j RETURN"
    case .drop: return "-j DROP"
    case .sendTo(let gate):
      guard let address = gate.address else { return "-j REDIRECT --to-ports \(gate.port)" }
      return "-j DNAT --to-destination \(address.endpoint(gate.port))"
    case .tproxy(let gate, let mark):
      let address = gate.address.map { " --on-ip \($0)" } ?? ""
      return "-j TPROXY --on-port \(gate.port)\(address) --tproxy-mark \(Text.mark(mark))"
    case .mark(let mark): return "-j MARK --set-mark \(Text.mark(mark))"
    case .markConnection(let mark): return "-j CONNMARK --set-mark \(Text.mark(mark))"
    case .reset: return "-j REJECT --reject-with tcp-reset"
    case .portUnreachable: return "-j REJECT --reject-with \(family == .v4 ? "icmp" : "icmp6")-port-unreachable"
    case .prohibited:
      return "-j REJECT --reject-with \(family == .v4 ? "icmp-admin-prohibited" : "icmp6-adm-prohibited")"
    }
  }
}

// A plan as text for `nft -f`: one transaction that puts the table in place of the one that was there.
// It relies on the plan's names holding nothing that nft would read as more than a name.
import Wire

package enum NFTables {
  /// Declared first, so that deleting it never fails; all of it happens, or nothing.
  package static func text(_ plan: RedirectPlan) -> String {
    let chains = (plan.chains.map(chain) + unrouted(plan)).joined(separator: "\n")
    return "table inet \(plan.table)\ndelete table inet \(plan.table)\ntable inet \(plan.table) {\n\(chains)}\n"
  }

  private static func chain(_ chain: Chain) -> String {
    let place = place(chain.hook)
    let head = "    type \(place.type) hook \(place.hook) priority \(place.priority); policy accept;\n"
    let first = chain.first.map { "    \(rule($0))\n" }.joined()
    let rules = chain.rules.map { "    \(rule($0))\n" }.joined()
    guard let selected = selection(chain.selection) else {
      return "  chain \(place.name) {\n\(head)\(first)\(rules)  }\n"
    }
    // A positive match: of a packet without a socket nothing is known, and `!=` would let it fall into the rules.
    return "  chain \(place.name)_selected {\n\(rules)  }\n"
      + "  chain \(place.name) {\n\(head)\(first)    \(selected) jump \(place.name)_selected\n  }\n"
  }

  /// Where this machine forwards nothing, or has no route, a packet for elsewhere never comes to the forward chain: it
  /// would be dropped without a word. So it is refused before it is routed, which iptables cannot.
  private static func unrouted(_ plan: RedirectPlan) -> [String] {
    plan.chains.filter { $0.hook == .filterForward }.compactMap { chain in
      guard let selected = selection(chain.selection) else { return nil }
      let untaken = plan.routing.map { " meta mark != \(Text.mark($0.mark))" } ?? ""
      let elsewhere = "fib daddr type != { local, broadcast, anycast, multicast }"
      return "  chain filter_prerouting {\n    type filter hook prerouting priority -90; policy accept;\n"
        + "    \(selected)\(untaken) \(elsewhere) jump \(place(.filterForward).name)_selected\n  }\n"
    }
  }

  static func place(_ hook: Hook) -> (name: String, type: String, hook: String, priority: Int) {
    switch hook {
    case .manglePrerouting: ("mangle_prerouting", "filter", "prerouting", -160)
    case .mangleOutput: ("mangle_output", "route", "output", -160)
    case .natPrerouting: ("nat_prerouting", "nat", "prerouting", -110)
    case .natOutput: ("nat_output", "nat", "output", -110)
    case .filterInput: ("filter_input", "filter", "input", -10)
    case .filterForward: ("filter_forward", "filter", "forward", -10)
    case .filterOutput: ("filter_output", "filter", "output", -10)
    case .manglePostrouting: ("mangle_postrouting", "filter", "postrouting", -160)
    }
  }

  private static func selection(_ selection: Chain.Selection) -> String? {
    switch selection {
    case .everything: nil
    case .incoming(let name): "iifname \"\(name.text)\""
    case .owner(let id): "meta skuid \(id.number)"
    case .cgroup(let path): "socket cgroupv2 level \(path.depth) \"\(path.text)\""
    }
  }

  private static func rule(_ rule: Rule) -> String {
    var words = rule.conditions.map(condition)
    if let destination = rule.destination {
      words.append("\(destination.family == .v4 ? "ip" : "ip6") daddr \(destination.text)")
    } else if let family = rule.family, !rule.conditions.contains(where: isICMP) {
      words.append("meta nfproto \(family == .v4 ? "ipv4" : "ipv6")")
    }
    switch rule.transport {
    case .tcp: words.append("meta l4proto tcp")
    case .udp: words.append("meta l4proto udp")
    case .tcpAndUDP: words.append("meta l4proto { tcp, udp }")
    case nil: break
    }
    if let port = rule.sourcePort { words.append("th sport \(port)") }
    if let port = rule.port { words.append("th dport \(port)") }
    return (words + [verdict(rule.verdict, rule.family)]).joined(separator: " ")
  }

  private static func isICMP(_ condition: Rule.Condition) -> Bool { if case .icmp = condition { true } else { false } }

  private static func condition(_ condition: Rule.Condition) -> String {
    switch condition {
    case .isReply: "ct direction reply"
    case .owner(let id): "meta skuid \(id.number)"
    case .connectionMark(let mark): "ct mark \(Text.mark(mark))"
    case .mark(let mark): "meta mark \(Text.mark(mark))"
    case .inByLoopback: "iifname \"lo\""
    case .outPastLoopback: "oifname != \"lo\""
    case .icmp(let kind):
      "\(kind.family == .v4 ? "icmp" : "icmpv6") type { \(kind.types.map(\.name).joined(separator: ", ")) }"
    }
  }

  private static func verdict(_ verdict: Rule.Verdict, _ family: Family?) -> String {
    let ip = family == .v6 ? "ip6" : "ip"
    switch verdict {
    case .accept: return "accept"
    case .drop: return "drop"
    case .sendTo(let gate):
      guard let address = gate.address else { return "redirect to :\(gate.port)" }
      return "dnat \(ip) to \(address.endpoint(gate.port))"
    case .tproxy(let gate, let mark):
      let to = gate.address.map { $0.endpoint(gate.port) } ?? ":\(gate.port)"
      return "tproxy \(ip) to \(to) meta mark set \(Text.mark(mark)) accept"
    case .mark(let mark): return "meta mark set \(Text.mark(mark)) accept"
    case .markConnection(let mark): return "ct mark set \(Text.mark(mark))"
    case .reset: return "reject with tcp reset"
    case .portUnreachable: return "reject with icmpx port-unreachable"
    case .prohibited: return "reject with icmpx admin-prohibited"
    }
  }
}

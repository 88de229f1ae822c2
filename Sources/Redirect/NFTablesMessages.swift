// A plan as messages for the kernel: the rules that NFTables writes as text, for a machine without the program nft.
// It relies on what nft makes of a rule: a match on an address or a port implies matches on family and protocol. A rule
// for TCP and UDP, or for several kinds of ICMP, is one rule for each.
import Wire

extension NFTables {
  /// In place of the table that was there. `cgroupID` is the number of the plan's cgroup, where it has one.
  package static func messages(_ plan: RedirectPlan, cgroupID: UInt64) -> [UInt8] {
    var batch = NetfilterBatch(table: plan.table)
    batch.addTable()
    batch.deleteTable()
    batch.addTable()
    // A chain must be there before a rule jumps to it.
    for chain in plan.chains where chain.selection != .everything {
      batch.addChain(selected(chain.hook), base: nil)
    }
    for chain in plan.chains { add(chain, cgroupID, to: &batch) }
    addUnrouted(plan, cgroupID, to: &batch)
    return batch.finish()
  }

  package static func removalMessages(table: String) -> [UInt8] {
    var batch = NetfilterBatch(table: table)
    batch.deleteTable()
    return batch.finish()
  }

  private static func selected(_ hook: Hook) -> String { "\(place(hook).name)_selected" }

  private static func add(_ chain: Chain, _ cgroupID: UInt64, to batch: inout NetfilterBatch) {
    let place = place(chain.hook)
    batch.addChain(place.name, base: (place.type, number(chain.hook), Int32(truncatingIfNeeded: place.priority)))
    for rule in chain.first { add(rule, to: place.name, &batch) }
    guard chain.selection != .everything else {
      for rule in chain.rules { add(rule, to: place.name, &batch) }
      return
    }
    for rule in chain.rules { add(rule, to: selected(chain.hook), &batch) }
    batch.addRule(place.name) { expressions in
      select(chain.selection, cgroupID, &expressions)
      expressions.jump(to: selected(chain.hook))
    }
  }

  private static func addUnrouted(_ plan: RedirectPlan, _ cgroupID: UInt64, to batch: inout NetfilterBatch) {
    for chain in plan.chains where chain.hook == .filterForward && chain.selection != .everything {
      let name = "filter_prerouting"
      batch.addChain(name, base: ("filter", 0, -90))
      batch.addRule(name) { expressions in
        select(chain.selection, cgroupID, &expressions)
        if let routing = plan.routing { expressions.meta(.mark, isNot: true, routing.mark.own) }
        expressions.destinationIsNone(of: [2, 3, 4, 5])
        expressions.jump(to: selected(.filterForward))
      }
    }
  }

  /// Hooks by their number, prerouting first.
  private static func number(_ hook: Hook) -> UInt32 {
    switch hook {
    case .manglePrerouting, .natPrerouting: 0
    case .filterInput: 1
    case .filterForward: 2
    case .mangleOutput, .natOutput, .filterOutput: 3
    case .manglePostrouting: 4
    }
  }

  private static func select(_ selection: Chain.Selection, _ cgroupID: UInt64, _ out: inout NetfilterExpressions) {
    switch selection {
    case .everything: break
    case .incoming(let name): out.meta(.inputName, interface(name.text))
    case .owner(let id): out.meta(.owner, id.number.own)
    case .cgroup(let path): out.cgroup(cgroupID, depth: path.depth)
    }
  }

  /// IFNAMSIZ bytes: the whole name is compared.
  private static func interface(_ name: String) -> [UInt8] {
    Array((Array(name.utf8) + [UInt8](repeating: 0, count: 16)).prefix(16))
  }

  // MARK: - One rule

  private static let (tcp, udp, icmp, icmpv6): (UInt8, UInt8, UInt8, UInt8) = (6, 17, 1, 58)

  private static func add(_ rule: Rule, to chain: String, _ batch: inout NetfilterBatch) {
    if let kind = icmpKind(of: rule) {
      for type in kind.types {
        batch.addRule(chain) {
          match(rule, family: kind.family, transport: kind.family == .v4 ? icmp : icmpv6, &$0)
          $0.payload(.transport, at: 0, [UInt8(truncatingIfNeeded: type.number)])
          act(rule.verdict, kind.family, &$0)
        }
      }
      return
    }
    let transports: [UInt8?] =
      switch rule.transport {
      case .tcp: [tcp]
      case .udp: [udp]
      case .tcpAndUDP: [tcp, udp]
      case nil: [nil]
      }
    for transport in transports {
      batch.addRule(chain) {
        match(rule, family: rule.family, transport: transport, &$0)
        if let port = rule.sourcePort { $0.payload(.transport, at: 0, port.big) }
        if let port = rule.port { $0.payload(.transport, at: 2, port.big) }
        act(rule.verdict, rule.family, &$0)
      }
    }
  }

  private static func icmpKind(of rule: Rule) -> ICMPKind? {
    for condition in rule.conditions { if case .icmp(let kind) = condition { return kind } }
    return nil
  }

  private static func match(
    _ rule: Rule, family: Family?, transport: UInt8?, _ out: inout NetfilterExpressions
  ) {
    for condition in rule.conditions {
      switch condition {
      case .isReply: out.connectionDirection(1)
      case .owner(let id): out.meta(.owner, id.number.own)
      case .connectionMark(let mark): out.connectionMark(mark)
      case .mark(let mark): out.meta(.mark, mark.own)
      case .inByLoopback: out.meta(.inputName, interface("lo"))
      case .outPastLoopback: out.meta(.outputName, isNot: true, interface("lo"))
      case .icmp: break
      }
    }
    if let family { out.meta(.family, [family == .v4 ? 2 : 10]) }
    switch rule.destination {
    case .address(let address): out.payload(.network, at: address.width == 32 ? 16 : 24, address.networkBytes)
    case .loopback(.v4): out.payload(.network, at: 16, [127])
    case .loopback(.v6): out.payload(.network, at: 24, IPAddress.v6(high: 0, low: 1).networkBytes)
    case nil: break
    }
    if let transport { out.meta(.transport, [transport]) }
  }

  private static func act(_ verdict: Rule.Verdict, _ family: Family?, _ out: inout NetfilterExpressions) {
    let number: UInt32 = family == .v6 ? 10 : 2
    switch verdict {
    case .accept: out.verdict(1)
    case .drop: out.verdict(0)
    case .sendTo(let gate):
      if let address = gate.address {
        out.translate(to: address.networkBytes, port: gate.port, family: number)
      } else {
        out.redirect(port: gate.port)
      }
    case .tproxy(let gate, let mark):
      out.takeTransparently(to: gate.address?.networkBytes, port: gate.port, family: number)
      out.setMark(mark)
      out.verdict(1)
    case .mark(let mark):
      out.setMark(mark)
      out.verdict(1)
    case .markConnection(let mark): out.setConnectionMark(mark)
    case .reset: out.reject(.reset)
    case .portUnreachable: out.reject(.unreachable, code: 1)
    case .prohibited: out.reject(.unreachable, code: 3)
    }
  }
}

extension IPAddress {
  fileprivate var networkBytes: [UInt8] {
    switch self {
    case .v4(let value): value.big
    case .v6(let high, let low): high.big + low.big
    }
  }
}

// The verdict on one DNS query: one decision, for datagrams and streams alike.
// It relies on the rules of the client, and touches nothing but the table of made-up addresses: who asks acts on it.
import Flow
import Policy
import Wire

/// A query is answered from rules and tables alone, or it is one of a name whose own addresses may be asked for.
enum DNSVerdict {
  case address(IPAddress)
  case pointer(HostName)
  /// The name is there, and has nothing of this type.
  case noData
  /// Ask upstream, and screen what comes by these rules.
  case resolve(HostName, [AllowRule])
  /// Ask upstream for records of the type that was asked for: a rule says that they may be told.
  case records(HostName)
  /// NXDOMAIN, and a line in the log.
  case refuse(Reason, SourceLine?)
  /// The same line, and where the gate tells of the refusal; no address where the question is for something else.
  case refuseAt(IPAddress?, Reason, SourceLine?)
  /// SERVFAIL, and a line in the log: no synthetic address is free.
  case full
}

extension DNSVerdict {
  /// `note` is set where enforce would have refused: report mode lets it pass.
  static func decide(
    _ query: borrowing DNSQuery, client: Client, owner: ShareOwner, isInSandbox: Bool,
    _ conditions: borrowing Conditions,
    _ synthetic: SyntheticNames, note: inout DNSOutcome?
  ) -> DNSVerdict {
    if let address = query.reverseAddress {
      return pointer(address, client: client, conditions, synthetic)
    }
    guard let name = query.name else { return .refuse(.notAllowed, nil) }
    if name.isGate { return gateHost(name, query.type, conditions, synthetic) }
    let rules: [AllowRule]
    switch client.network.judge(name: name, nowUnix: conditions.unixSeconds) {
    case .allow(let found): rules = found
    case .refuse(let reason, let line):
      guard client.network.isReportOnly else {
        let refused = DNSVerdict.refuse(reason, line)
        return isInSandbox ? refused.told(at: name, query.type, for: owner, conditions, synthetic) : refused
      }
      note = DNSOutcome(.denied, reason, host: name, line: line)
      note?.wouldDeny = true
      rules = [client.network.reportRule]
    }
    // HTTPS and SVCB would hand out the keys of encrypted ClientHellos, and any other type could carry a tunnel.
    guard let family = query.type.family else {
      guard let type = DNSRecordType(query.type), rules.contains(where: { $0.dnsTypes.contains(type) }) else {
        return .noData
      }
      return .records(name)
    }
    switch conditions.policy.settings.dns.answers {
    case .real: return .resolve(name, rules)
    case .synthetic:
      guard synthetic.has(family) else { return .noData }
      let address = synthetic.address(
        of: name, family: family, for: owner, conditions.policy.sharing, nowMs: conditions.nowMs)
      return address.map(DNSVerdict.address) ?? .full
    }
  }

  /// The gate's own name has an address that is made up, whatever `answers` says: connections to it are redirected to
  /// the gate. It counts against nobody's share.
  private static func gateHost(
    _ name: HostName, _ type: DNSType, _ conditions: borrowing Conditions, _ synthetic: SyntheticNames
  ) -> DNSVerdict {
    guard let family = type.family, synthetic.has(family) else { return .noData }
    let address = synthetic.address(
      of: name, family: family, for: .gate, conditions.policy.sharing, nowMs: conditions.nowMs)
    return address.map(DNSVerdict.address) ?? .full
  }

  /// All TCP of a sandbox comes to the gate, which can tell of the refusal at an address that it makes up. Where no
  /// address is free, and under `invalid` (names that exist nowhere, RFC 6761 section 6.4), the name does not exist.
  private func told(
    at name: HostName, _ type: DNSType, for owner: ShareOwner, _ conditions: borrowing Conditions,
    _ synthetic: SyntheticNames
  ) -> DNSVerdict {
    guard case .refuse(let reason, let line) = self, conditions.policy.settings.dns.refused == .address, !name.isInvalid
    else { return self }
    guard let family = type.family, synthetic.has(family) else { return .refuseAt(nil, reason, line) }
    let address = synthetic.address(
      of: name, family: family, for: owner.ofRefusals, conditions.policy.sharing, nowMs: conditions.nowMs)
    return address.map { .refuseAt($0, reason, line) } ?? self
  }

  /// An address that was made up here has the name it was made up for, and tells it to whom that name is allowed; of
  /// any other nothing is known here, and nobody is asked.
  private static func pointer(
    _ address: IPAddress, client: Client, _ conditions: borrowing Conditions, _ synthetic: SyntheticNames
  ) -> DNSVerdict {
    guard let name = synthetic.name(of: address) else { return .refuse(.notAllowed, nil) }
    if name.isGate { return .pointer(name) }
    switch client.network.judge(name: name, nowUnix: conditions.unixSeconds) {
    case .allow: return .pointer(name)
    case .refuse: return client.network.isReportOnly ? .pointer(name) : .refuse(.notAllowed, nil)
    }
  }

  /// What may be handed out of the name's own addresses: each must be acceptable to one of the rules, for a port that
  /// is not known yet. The first one that none accepts is told with its reason.
  static func screen(
    _ addresses: [IPAddress], _ name: HostName, _ rules: [AllowRule], _ gate: GateAddresses
  ) -> (good: [IPAddress], refused: (reason: Reason, address: IPAddress)?) {
    var good: [IPAddress] = []
    var refused: (reason: Reason, address: IPAddress)?
    for address in addresses {
      var reason: Reason?
      for rule in rules {
        reason = Screening.check(address, port: 0, host: .name(name), rule: rule, gate: gate)
        if reason == nil { break }
      }
      if let reason {
        if refused == nil { refused = (reason, address) }
      } else {
        good.append(address)
      }
    }
    return (good, refused)
  }
}

extension DNSType {
  /// The family of address that this type asks for.
  var family: Family? { self == .a ? .v4 : self == .aaaa ? .v6 : nil }
}

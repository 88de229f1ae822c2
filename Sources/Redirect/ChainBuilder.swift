// Ways of packets: TCP and DNS to the gate, everything else refused at once, and what must pass for that to
// work. It relies on checked options. First come what must pass, then what is the gate's, and the last rules refuse the
// rest.
import Wire

struct ChainBuilder {
  private let options: RedirectOptions
  private let (mark, gateMark, lostMark): (UInt32, UInt32, UInt32)

  init(_ options: RedirectOptions) {
    self.options = options
    let routing = PolicyRouting(table: options.selector.table)
    (mark, gateMark, lostMark) = (routing.mark, routing.gateMark, routing.lostMark)
  }

  /// Address families that the transparent listener serves.
  var families: [Family] { listeners(options.transparent).map(\.family) }

  var chains: [Chain] {
    let selection = selection
    if case .incoming = selection {
      return (options.usesTProxy ? [Chain(hook: .manglePrerouting, selection: selection, rules: takeIncoming)] : [])
        + [
          Chain(hook: .natPrerouting, selection: selection, rules: translateIncoming),
          Chain(hook: .filterInput, selection: selection, rules: admitIncoming + refuse),
          Chain(hook: .filterForward, selection: selection, rules: [Rule(.accept, when: .isReply)] + refuse),
        ]
    }
    let marking = [
      Chain(hook: .manglePrerouting, selection: .everything, rules: takeLooped),
      Chain(hook: .mangleOutput, selection: selection, first: keepMarking, rules: markOutgoing),
      Chain(hook: .filterInput, selection: .everything, rules: [Rule(.reset, nil, .tcp, when: .mark(lostMark))]),
      Chain(
        hook: .manglePostrouting, selection: .everything, rules: [Rule(.drop, when: .mark(mark), .outPastLoopback)]),
    ]
    return (options.usesTProxy ? marking : [])
      + [
        Chain(hook: .natOutput, selection: selection, rules: translateOutgoing),
        Chain(hook: .filterOutput, selection: selection, rules: admitOutgoing + refuse),
      ]
  }

  private var selection: Chain.Selection {
    switch options.selector {
    case .interface(let name): .incoming(name)
    case .namespace: .everything
    case .user(let id): .owner(id)
    case .cgroup(let path): .cgroup(path)
    }
  }

  /// Without an address, what a machine sends itself goes to its loopback.
  private func listeners(_ addresses: GateAddresses) -> [(family: Family, gate: GateAddress)] {
    Family.allCases.compactMap { family in
      guard family == .v4 || options.servesIPv6, let gate = addresses[family] else { return nil }
      if gate.address != nil || options.selector.isInterface { return (family, gate) }
      return (family, GateAddress(address: family == .v4 ? .v4(0x7f00_0001) : .v6(high: 0, low: 1), port: gate.port))
    }
  }

  /// RST for TCP, port unreachable for UDP (QUIC falls back on it), administratively prohibited for the rest.
  private var refuse: [Rule] {
    [Rule(.reset, nil, .tcp), Rule(.portUnreachable, nil, .udp), Rule(.prohibited)]
  }

  private var sendDNS: [Rule] {
    listeners(options.dns).map { Rule(.sendTo($0.gate), $0.family, .tcpAndUDP, port: 53) }
  }

  private var sendTCP: [Rule] {
    options.usesTProxy ? [] : listeners(options.transparent).map { Rule(.sendTo($0.gate), $0.family, .tcp) }
  }

  /// Packets that address translation takes stay out of TPROXY.
  private var leaveDNS: [Rule] { listeners(options.dns).map { Rule(.accept, $0.family, .tcp, port: 53) } }

  // MARK: what comes in by an interface

  private var translateIncoming: [Rule] { sendDNS + sendTCP }

  private var takeIncoming: [Rule] {
    [Rule(.accept, when: .isReply)] + leaveDNS
      + listeners(options.transparent).map { Rule(.tproxy($0.gate, mark: mark), $0.family, .tcp) }
  }

  /// Neighbours are found also where IPv6 is unserved: who finds none waits for seconds before it falls back.
  private var admitIncoming: [Rule] {
    let gates =
      options.usesTProxy
      ? [Rule(.accept, nil, .tcp, when: .mark(mark))]
      : listeners(options.transparent).map {
        Rule(.accept, $0.family, .tcp, port: $0.gate.port, to: $0.gate.destination)
      }
    let dhcp = [Rule(.accept, .v4, .udp, from: 68, port: 67), Rule(.accept, .v6, .udp, from: 546, port: 547)]
    return [Rule(.accept, when: .isReply)] + gates + admitDNS + needed + (options.allowsDHCP ? dhcp : [])
  }

  private var admitDNS: [Rule] {
    listeners(options.dns).map { Rule(.accept, $0.family, .tcpAndUDP, port: $0.gate.port, to: $0.gate.destination) }
  }

  private var needed: [Rule] {
    [ICMPKind.errors(.v4), .errors(.v6), .neighbours].map { Rule(.accept, $0.family, when: .icmp($0)) }
  }

  // MARK: what this machine, or a namespace, sends

  /// The gate's connections carry a mark of their own: the last packets of a socket that was closed have no owner.
  private var passGate: [Rule] {
    options.gate.map {
      [Rule(.markConnection(gateMark), when: .owner($0)), Rule(.accept, when: .connectionMark(gateMark))]
    }
      ?? []
  }

  /// Loopback stays out of the gate; whether it is refused, the filter says.
  private var leaveLoopback: [Rule] { Family.allCases.map { Rule(.accept, to: .loopback($0)) } }

  private var translateOutgoing: [Rule] {
    passGate + sendDNS + (options.usesTProxy ? [] : leaveLoopback + sendTCP)
  }

  /// Packets of a connection that was once sent to the gate go on to it, also those of a closed, ownerless socket.
  private var keepMarking: [Rule] {
    [Rule(.accept, when: .isReply), Rule(.mark(mark), nil, .tcp, when: .connectionMark(mark))]
  }

  private var markOutgoing: [Rule] {
    passGate + leaveDNS + leaveLoopback
      + listeners(options.transparent).flatMap {
        [Rule(.markConnection(mark), $0.family, .tcp), Rule(.mark(mark), $0.family, .tcp)]
      }
  }

  /// Without a gate the kernel would send no reset for an address that is not its own, and the client would wait.
  private var takeLooped: [Rule] {
    listeners(options.transparent).map {
      Rule(.tproxy($0.gate, mark: mark), $0.family, .tcp, when: .mark(mark), .inByLoopback)
    } + [Rule(.mark(lostMark), nil, .tcp, when: .mark(mark), .inByLoopback)]
  }

  private var admitOutgoing: [Rule] {
    let gates = listeners(options.transparent).map {
      options.usesTProxy
        ? Rule(.accept, $0.family, .tcp, when: .mark(mark))
        : Rule(.accept, $0.family, .tcp, port: $0.gate.port, to: $0.gate.destination)
    }
    return [Rule(.accept, when: .isReply)] + passGate + gates + admitDNS + local
  }

  /// A namespace's loopback is its own, and the kernel's own packets have no owner there to be told by. A user's
  /// loopback is the machine's, with whatever listens on it.
  private var local: [Rule] {
    if options.selector.isNamespace { return leaveLoopback + needed }
    return options.localPorts.flatMap { port in
      Family.allCases.map { Rule(.accept, nil, .tcp, port: port, to: .loopback($0)) }
    }
  }
}

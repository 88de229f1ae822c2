// Packet rules as values: what both nft and iptables can say, and nothing that only one of them can.
// It relies on Wire for addresses; the renderers give each value its text.
import Wire

/// Where in the kernel a chain stands. Each comes before the chains of others at its place, so that a refusal is said
/// at once, also where another firewall would drop in silence.
enum Hook: CaseIterable {
  case manglePrerouting, mangleOutput
  case natPrerouting, natOutput
  case filterInput, filterForward, filterOutput
  case manglePostrouting
}

/// A chain sees what its selection lets in.
struct Chain: Equatable {
  enum Selection: Equatable {
    case everything
    case incoming(InterfaceName)
    case owner(UserID)
    case cgroup(CgroupPath)
  }

  let hook: Hook
  let selection: Selection
  /// For every packet at this place, before the selection.
  var first: [Rule] = []
  let rules: [Rule]
}

enum Transport: Equatable { case tcp, udp, tcpAndUDP }

/// All that is said of a packet must hold. A rule without a family is one for both.
struct Rule: Equatable {
  enum Condition: Equatable {
    /// The answer to what somebody else began: a server's side of a connection.
    case isReply
    case owner(UserID)
    case connectionMark(UInt32)
    case mark(UInt32)
    case inByLoopback
    case outPastLoopback
    case icmp(ICMPKind)
  }

  enum Destination: Equatable {
    case address(IPAddress)
    /// All of 127.0.0.0/8, or ::1.
    case loopback(Family)

    var family: Family {
      switch self {
      case .address(let address): address.family
      case .loopback(let family): family
      }
    }

    var text: String {
      switch self {
      case .address(let address): "\(address)"
      case .loopback(.v4): "127.0.0.0/8"
      case .loopback(.v6): "::1"
      }
    }
  }

  enum Verdict: Equatable {
    /// Done in this chain; other firewalls still have their say.
    case accept
    case drop
    case sendTo(GateAddress)
    case tproxy(GateAddress, mark: UInt32)
    case mark(UInt32)
    case markConnection(UInt32)
    case reset
    case portUnreachable
    case prohibited
  }

  var family: Family?
  var transport: Transport?
  var sourcePort: UInt16?
  var port: UInt16?
  var destination: Destination?
  var conditions: [Condition] = []
  var verdict: Verdict

  init(
    _ verdict: Verdict, _ family: Family? = nil, _ transport: Transport? = nil, from sourcePort: UInt16? = nil,
    port: UInt16? = nil, to destination: Destination? = nil, when conditions: Condition...
  ) {
    self.verdict = verdict
    self.family = family ?? destination?.family
    self.transport = transport
    self.sourcePort = sourcePort
    self.port = port
    self.destination = destination
    self.conditions = conditions
  }
}

/// ICMP that a machine needs so that other packets can be sent, or refused.
enum ICMPKind: Equatable {
  /// Unreachable, too big, time exceeded, parameter problem.
  case errors(Family)
  /// Neighbour discovery and multicast listeners (RFC 4861, 3810); no router advertisement, which would give routes.
  case neighbours

  var family: Family {
    switch self {
    case .errors(let family): family
    case .neighbours: .v6
    }
  }

  var types: [(number: Int, name: String)] {
    switch self {
    case .errors(.v4): [(3, "destination-unreachable"), (11, "time-exceeded"), (12, "parameter-problem")]
    case .errors(.v6):
      [(1, "destination-unreachable"), (2, "packet-too-big"), (3, "time-exceeded"), (4, "parameter-problem")]
    case .neighbours:
      [
        (131, "mld-listener-report"), (132, "mld-listener-done"), (133, "nd-router-solicit"),
        (135, "nd-neighbor-solicit"), (136, "nd-neighbor-advert"), (143, "mld2-listener-report"),
      ]
    }
  }
}

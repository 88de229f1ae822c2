// Settings of a policy file beside its rules: listeners, log, limits, timeouts, resolver. Units stand in the names.
// It relies on nothing but its defaults, which are those of the design.
package import Wire

package struct ListenAddress: Hashable, Sendable, CustomStringConvertible {
  package let address: IPAddress
  package let port: UInt16

  package init(_ address: IPAddress, port: UInt16) {
    self.address = address
    self.port = port
  }

  /// `127.0.0.1:3128` or `[::1]:3128`; port 0 takes a free one. A name is refused: it could mean many addresses.
  package init?(_ text: String) {
    guard let colon = text.lastIndex(of: ":") else { return nil }
    let digits = text[text.index(after: colon)...]
    guard (1...5).contains(digits.utf8.count), digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
      let port = UInt16(digits)
    else { return nil }
    var host = text[..<colon]
    let isBracketed = host.hasPrefix("[") && host.hasSuffix("]")
    if isBracketed { host = host.dropFirst().dropLast() }
    guard let address = IPAddress(String(host)), (address.width == 128) == isBracketed else { return nil }
    self.init(address, port: port)
  }

  package var description: String {
    if case .v6 = address { return "[\(address)]:\(port)" }
    return "\(address):\(port)"
  }
}

/// Purpose of a listener: `listen.connect`, `listen.transparent`, `listen.dns`.
package enum ListenerKind: String, CaseIterable, Sendable {
  case connect, transparent, dns
}

package struct Settings: Sendable {
  package struct Listen: Equatable, Sendable {
    package var connect = [ListenAddress(.v4(0x7f00_0001), port: 3128)]
    /// Certificates of the `connect` listeners that speak TLS.
    package var identities: [ListenAddress: UpstreamTLS.Identity] = [:]
    package var transparent: [ListenAddress] = []
    package var dns: [ListenAddress] = []
    /// Peers that pass on the connections of others: theirs must begin with a PROXY header, nobody else's may.
    package var proxyProtocol: [AddressPrefix] = []
    /// The path of the unix socket by which an operator asks and tells the gate.
    package var admin: String?
    /// Where a monitoring system asks for metrics, over HTTP.
    package var metrics: ListenAddress?
    /// Of the path of a unix socket (unix(7)).
    package static let adminBytesMax = 107

    package init() {}

    /// Where it listens and how: a certificate that was renewed makes no other listener.
    package var places: Listen {
      var places = self
      let nothing = UpstreamTLS.PEM(path: "", bytes: [])
      places.identities = identities.mapValues { _ in UpstreamTLS.Identity(certificate: nothing, key: nothing) }
      return places
    }

    package subscript(door: ListenerKind) -> [ListenAddress] {
      get {
        switch door {
        case .connect: connect
        case .transparent: transparent
        case .dns: dns
        }
      }
      set {
        switch door {
        case .connect: connect = newValue
        case .transparent: transparent = newValue
        case .dns: dns = newValue
        }
      }
    }
  }

  package struct DNS: Equatable, Sendable {
    package enum Answers: String, CaseIterable, Sendable {
      /// One address a name, made up here; the name is looked up when a connection to it is allowed.
      case synthetic
      /// The name's own addresses, screened.
      case real
    }

    /// The answer to a DNS question for a refused name, in a sandbox.
    package enum Refused: String, CaseIterable, Sendable {
      /// An address at which the gate tells of the refusal: programs say "could not resolve" of anything else.
      case address
      case nxdomain
    }

    package var answers = Answers.synthetic
    package var refused = Refused.address
    package var ttlSeconds: UInt32 = 60
    /// Where synthetic addresses come from: one network a family (RFC 2544; RFC 4193, whose 40 bits are `sluic` in
    /// ASCII).
    package var networks = [
      AddressPrefix(.v4(0xc612_0000), length: 15), AddressPrefix(.v6(high: 0xfd73_6c75_6963_0000, low: 0), length: 64),
    ]
  }

  package struct Log: Equatable, Sendable {
    /// nil: standard output.
    package var file: String?
    package var refusesWhenUnwritable = true
    /// Lines that wait for the disk; beyond it no connection is accepted.
    package var bufferBytes = 8 << 20
  }

  package struct Limits: Equatable, Sendable {
    package var connections = 10_000
    package var headBytes = 64 << 10
    package var helloBytes = 64 << 10
    package var dnsCacheNames = 4096
    package var syntheticNames = 16_384
  }

  package struct Timeouts: Equatable, Sendable {
    package var headMs: UInt64 = 10_000
    package var helloMs: UInt64 = 10_000
    package var connectMs: UInt64 = 15_000
    package var idleMs: UInt64 = 3_600_000
    package var keepAliveMs: UInt64 = 60_000
    package var drainMs: UInt64 = 30_000
  }

  /// Of a sandbox; nil is no limit.
  package struct Process: Equatable, Sendable {
    package struct CPU: Equatable, Sendable {
      package let quotaUs: Int
      package let periodUs: Int

      package init(quotaUs: Int, periodUs: Int) { (self.quotaUs, self.periodUs) = (quotaUs, periodUs) }
    }

    /// Keys that the policy names: what it asks for is held, or nothing is started.
    package var stated: Set<String> = []
    package var cpu: CPU? = CPU(quotaUs: 200_000, periodUs: 1_000_000)
    package var memoryBytes: Int? = 512 << 20
    package var swapBytes: Int? = 0
    package var processes: Int? = 64
    /// Empty is no limit.
    package var io: [IO] = []

    package init() {}

    /// Of one device; a key that is not there has no limit.
    package struct IO: Equatable, Sendable {
      /// nil: the one that the workspace is on.
      package let device: Device?
      /// As the kernel takes it: `rbps=1048576 wiops=max`.
      package let text: String

      package init(device: Device?, text: String) { (self.device, self.text) = (device, text) }
    }

    package struct Device: Hashable, Sendable, CustomStringConvertible {
      package let major: UInt32
      package let minor: UInt32

      package init(major: UInt32, minor: UInt32) { (self.major, self.minor) = (major, minor) }

      package var description: String { "\(major):\(minor)" }
    }
  }

  package struct Resolver: Equatable, Sendable {
    /// Empty: what the system says.
    package var servers: [ListenAddress] = []
    package var timeoutMs: UInt64 = 2_000
    package var attempts = 3
  }

  /// How requests wait for a person.
  package struct Approvals: Equatable, Sendable {
    /// One way to tell people that a request waits.
    package enum Notifier: Equatable, Sendable {
      /// A POST of JSON, signed with the secret in that file.
      case webhook(url: String, secretFile: String?)
      /// A program with its arguments, which gets the JSON on its standard input.
      case command([String])
    }

    /// 0: the request is listed, and refused at once.
    package var waitMs: UInt64 = 120_000
    /// Entries that may wait for one client.
    package var perClient = 20
    package var notify: [Notifier] = []

    package init() {}
  }

  package var listen = Listen()
  package var log = Log()
  package var limits = Limits()
  package var timeouts = Timeouts()
  package var resolver = Resolver()
  package var dns = DNS()
  package var process = Process()
  package var files = Files()
  package var environment = Environment()
  /// Of `network_policy.registries`; their hosts are rules already.
  package var registries: [RegistryAnswer] = []
  /// nil: each gate counts for itself.
  package var shared: SharedLimits?
  /// Where bucket levels and totals are kept across restarts; nil: nowhere.
  package var stateFolder: String?
  /// The folder of the CA that signs for inspected targets; nil: the user's own.
  package var caFolder: String?
  /// Certificates that a sandbox trusts beside the gate's CA and the system's.
  package var trustedFiles: [String] = []
  /// True if a refused TLS target is answered inside TLS; nil: as the command has it.
  package var explainsDenials: Bool?
  /// Nil: what no rule allows is refused at once, and nobody is asked.
  package var approvals: Approvals?

  package init() {}
}

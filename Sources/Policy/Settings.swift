// Settings of a policy file besides its rules: listeners, log, limits, timeouts, resolver. Names include the units.
// It relies on nothing but its defaults.
package import Wire

package struct ListenAddress: Hashable, Sendable, CustomStringConvertible {
  package let address: IPAddress
  package let port: UInt16

  package init(_ address: IPAddress, port: UInt16) {
    self.address = address
    self.port = port
  }

  /// `127.0.0.1:3128` or `[::1]:3128`; port 0 takes a free one. A name is refused: it could resolve to many
  /// addresses.
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
    /// Peers that forward other clients' connections. Their connections must start with a PROXY header; all others
    /// must not.
    package var proxyProtocol: [AddressPrefix] = []
    /// The path of the admin socket.
    package var admin: String?
    /// The address for metrics over HTTP.
    package var metrics: ListenAddress?
    /// The longest path of a unix socket (unix(7)).
    package static let adminBytesMax = 107

    package init() {}

    /// The listening addresses and their kinds. A renewed certificate does not change them.
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
      /// A synthetic address per name; the name is resolved when a connection to it is allowed.
      case synthetic
      /// The name's own addresses, screened.
      case real
    }

    /// The answer to a DNS question for a refused name, in a sandbox.
    package enum Refused: String, CaseIterable, Sendable {
      /// An address at which the gate explains the refusal: any other answer makes programs report "could not
      /// resolve".
      case address
      case nxdomain
    }

    package var answers = Answers.synthetic
    package var refused = Refused.address
    package var ttlSeconds: UInt32 = 60
    /// The networks of synthetic addresses, one per family (RFC 2544; RFC 4193, whose 40 bits are `sluic` in ASCII).
    package var networks = [
      AddressPrefix(.v4(0xc612_0000), length: 15), AddressPrefix(.v6(high: 0xfd73_6c75_6963_0000, low: 0), length: 64),
    ]
  }

  /// How much of a request's path a log line has. A query is never written, since it may hold a secret.
  package enum LoggedPaths: String, CaseIterable, Sendable { case none, shape, full }

  package struct Log: Equatable, Sendable {
    /// Nil for standard output.
    package var file: String?
    package var refusesWhenUnwritable = true
    package var paths = LoggedPaths.shape
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

  /// Limits of a sandbox's processes. Nil means no limit.
  package struct Process: Equatable, Sendable {
    package struct CPU: Equatable, Sendable {
      package let quotaUs: Int
      package let periodUs: Int

      package init(quotaUs: Int, periodUs: Int) { (self.quotaUs, self.periodUs) = (quotaUs, periodUs) }
    }

    /// Keys that the policy names. If one of them cannot be enforced, nothing starts.
    package var stated: Set<String> = []
    package var cpu: CPU? = CPU(quotaUs: 200_000, periodUs: 1_000_000)
    package var memoryBytes: Int? = 512 << 20
    package var swapBytes: Int? = 0
    package var processes: Int? = 64
    /// Empty means no limit.
    package var io: [IO] = []

    package init() {}

    /// Limits of one device. A missing key means no limit.
    package struct IO: Equatable, Sendable {
      /// Nil for the device of the workspace.
      package let device: Device?
      /// The limits in the kernel's syntax: `rbps=1048576 wiops=max`.
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
    /// Empty: the system's DNS servers.
    package var servers: [ListenAddress] = []
    package var timeoutMs: UInt64 = 2_000
    package var attempts = 3
  }

  /// Settings for requests that wait for a person.
  package struct Approvals: Equatable, Sendable {
    /// A notification for a waiting request.
    package enum Notifier: Equatable, Sendable {
      /// A POST of JSON, signed with the secret in the file.
      case webhook(url: String, secretFile: String?)
      /// A program with its arguments, which gets the JSON on its standard input.
      case command([String])
    }

    /// Zero lists the request and refuses it at once.
    package var waitMs: UInt64 = 120_000
    /// Limit of waiting entries per client.
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
  /// Answers for `network_policy.registries`; their hosts are already in the rules.
  package var registries: [RegistryAnswer] = []
  /// Nil: each gate counts separately.
  package var shared: SharedLimits?
  /// The folder for bucket levels and totals across restarts. Nil: not kept.
  package var stateFolder: String?
  /// The folder of the CA that signs for inspected targets; nil: the user's own.
  package var caFolder: String?
  /// Certificates that a sandbox trusts in addition to the gate's CA and the system's.
  package var trustedFiles: [String] = []
  /// True explains a refused TLS target inside TLS. Nil: the command decides.
  package var explainsDenials: Bool?
  /// Nil: a request without a matching rule is refused at once, and nobody is asked.
  package var approvals: Approvals?

  package init() {}
}

// The set-up of `sluice redirect`, as a value: the chains, in the order in which packets meet them, and their routes.
// It relies on the selector and the gate's addresses being well formed; it reads nothing and runs nothing.
import Wire

package struct RedirectOptions: Equatable, Sendable {
  package var selector: Selector
  package var transparent: GateAddresses
  package var dns: GateAddresses
  package var usesTProxy = false
  package var servesIPv6 = true
  /// User whose traffic is never caught: the gate's own way out.
  package var gate: UserID?
  /// TCP ports of loopback that stay reachable.
  package var localPorts: [UInt16] = []
  /// True if an interface's clients may ask this machine for an address.
  package var allowsDHCP = false

  package init(selector: Selector, transparent: GateAddresses, dns: GateAddresses) {
    self.selector = selector
    self.transparent = transparent
    self.dns = dns
  }
}

package struct RedirectPlan: Equatable {
  package let selector: Selector
  package let table: String
  package let routing: PolicyRouting?
  let chains: [Chain]

  package init(_ options: RedirectOptions) throws(RedirectProblem) {
    try RedirectPlan.check(options)
    selector = options.selector
    table = options.selector.table
    let builder = ChainBuilder(options)
    routing = options.usesTProxy ? PolicyRouting(table: options.selector.table, families: builder.families) : nil
    chains = builder.chains
  }

  private static func check(_ options: RedirectOptions) throws(RedirectProblem) {
    if case .user(let id) = options.selector, id == options.gate {
      throw RedirectProblem(
        "--uid \(id.number) is the gate's own user: its way out would lead back to itself; run the gate under another user,"
          + " or name the one it has with --gate-uid")
    }
    let listeners = [("--transparent", options.transparent), ("--dns", options.dns)]
    for (option, addresses) in listeners {
      guard Family.allCases.contains(where: { addresses[$0] != nil }) else {
        throw RedirectProblem("\(option) is missing")
      }
      // A packet that came in by an interface and is rewritten to loopback is dropped as martian.
      let isReachable = !options.selector.isInterface || (options.usesTProxy && option == "--transparent")
      for family in Family.allCases {
        guard let address = addresses[family]?.address, address.isLoopback, !isReachable else { continue }
        throw RedirectProblem(
          "\(option) \(address): loopback cannot be reached from an interface; let the gate listen on the interface's"
            + " address, and write the port alone")
      }
    }
    guard options.selector.isInterface else {
      if options.allowsDHCP { throw RedirectProblem("--allow-dhcp belongs to --interface") }
      if options.selector.isNamespace && !options.localPorts.isEmpty {
        throw RedirectProblem("--allow-local: the loopback of a namespace is its own, and open already")
      }
      return
    }
    if options.gate != nil {
      throw RedirectProblem("--gate-uid: rules for --interface catch nothing that this machine sends")
    }
    if !options.localPorts.isEmpty {
      throw RedirectProblem("--allow-local belongs to --uid and --cgroup; all TCP of an interface goes to the gate")
    }
  }
}

/// TPROXY delivers packets for foreign addresses: those with the mark are routed to loopback.
package struct PolicyRouting: Equatable, Sendable {
  /// The same for all selectors; the mark tells them apart.
  package static let number = 511
  package let mark: UInt32

  private let families: [Family]

  /// For the removal: of either family, whatever was set.
  package init(_ plan: RedirectPlan) { self.init(table: plan.table) }

  init(table: String, families: [Family] = Family.allCases) {
    self.families = families
    mark = 0x5100_0000 | (Fingerprint.of(table) & 0x00ff_ffff)
  }

  /// Of the connections that the gate itself opens.
  var gateMark: UInt32 { mark ^ 0x8000_0000 }
  /// Of packets that no gate took.
  var lostMark: UInt32 { mark ^ 0x4000_0000 }

  /// Arguments of `ip`. Adding what is there answers "File exists".
  package var add: [[String]] {
    families.flatMap { family in
      [
        [family.option, "route", "replace", "local", "default", "dev", "lo", "table", "\(Self.number)"],
        [family.option, "rule", "add"] + rule,
      ]
    }
  }

  package var remove: [[String]] { families.map { [$0.option, "rule", "del"] + rule } }

  /// Prints a line for each selector that still uses the routes.
  package static let list = ["-4", "rule", "list", "priority", "\(number)"]
  package static let flush = Family.allCases.map { [$0.option, "route", "flush", "table", "\(number)"] }

  private var rule: [String] {
    [
      "fwmark", Text.mark(mark), "lookup", "\(Self.number)",
      "priority", "\(Self.number)",
    ]
  }
}

extension Family {
  fileprivate var option: String { self == .v4 ? "-4" : "-6" }
}

enum Fingerprint {
  /// FNV-1a, for names that must be short: chains of iptables, packet marks.
  static func of(_ text: String) -> UInt32 {
    text.utf8.reduce(0x811c_9dc5) { ($0 ^ UInt32($1)) &* 0x0100_0193 }
  }
}

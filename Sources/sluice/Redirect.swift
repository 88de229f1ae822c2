// `sluice redirect`: the packet rules that send somebody's traffic through the gate, printed, set or removed.
// It relies on Redirect for what the rules are; here are the options, and the programs that set them.
import ArgumentParser
import Gate
import Glibc
import Kernel
import Redirect

struct RedirectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "redirect",
    abstract: "Send a bridge, a network namespace, a user or a cgroup through the gate.",
    discussion: """
      Prints the rules for nft; --apply sets them, --remove removes them. TCP goes to
      the gate's transparent listener, DNS (port 53, UDP and TCP) to its responder.
      Everything else is refused at once, so that clients fall back fast: TCP by a
      reset, UDP (QUIC) by port unreachable, ICMP and the rest as prohibited. Answers
      to connections that others open to the client pass.

      Give one of --interface, --namespace, --uid and --cgroup. The rules of each
      stand in a table of their own, `inet sluice_...`; applying again replaces it,
      in one transaction. Nothing lasts over a reboot.

        sluice redirect --interface br0 --apply
            the gate listens on br0's address, ports 3129 and 3153
        sluice redirect --uid agent --gate-uid sluice
            print what would be set
        sluice redirect --uid agent --gate-uid sluice --remove

      Exit status: 0 done, also when there was nothing to remove; 1 it could not be
      done; 64 the options are wrong.
      """)

  @OptionGroup(title: "Traffic to send to the gate") var who: WhoseTraffic

  @Option(
    help: ArgumentHelp(
      "The gate's transparent listener: PORT, or ADDRESS:PORT once a family; a family without one is refused.",
      discussion:
        "PORT alone is on loopback for --namespace, --uid and --cgroup, on the interface's address for --interface.",
      valueName: "[addr:]port"))
  var transparent: [String] = ["3129"]

  @Option(
    help: ArgumentHelp("The gate's DNS responder, UDP and TCP, in the same way.", valueName: "[addr:]port"))
  var dns: [String] = ["3153"]

  @Flag(
    help:
      "TPROXY in place of REDIRECT: the gate sees the destination as its own address. Needs `ip` and policy routing.")
  var tproxy = false

  @Flag(name: .customLong("no-ipv6"), help: "The gate does not serve IPv6: refuse all IPv6.")
  var noIPv6 = false

  @Option(
    name: .customLong("gate-uid"),
    help: ArgumentHelp(
      "The user the gate runs as, by number or name. Never caught, and refused as --uid.",
      discussion: "Needed for --namespace and --cgroup when the gate itself runs in there. Default: for --uid, you.",
      valueName: "uid"), completion: .users)
  var gateUID: String?

  @Option(
    name: .customLong("allow-local"),
    help: ArgumentHelp(
      "A TCP port of this machine's loopback that stays reachable for --uid and --cgroup. May repeat.",
      discussion: "By default none does. Name 3128 to keep HTTPS_PROXY=http://127.0.0.1:3128 working.",
      valueName: "port"))
  var allowLocal: [UInt16] = []

  @Flag(name: .customLong("allow-dhcp"), help: "With --interface: let its clients ask this machine for their address.")
  var allowDHCP = false

  @Flag(help: "Use iptables and ip6tables: print, set or remove by a shell script of their commands.")
  var iptables = false

  @Flag(help: "Set the rules. As root.") var apply = false
  @Flag(help: "Remove the rules. As root.") var remove = false

  func run() throws {
    let plan: RedirectPlan
    do {
      if apply && remove { throw RedirectProblem("--apply and --remove exclude each other; give one") }
      plan = try RedirectPlan(try options())
    } catch let problem as RedirectProblem {
      Messages.say("\(problem)")
      throw ExitCode(64)
    }
    do {
      let rules = RuleSetter(plan, usesIPTables: iptables)
      if apply {
        try rules.apply()
      } else if remove {
        try rules.remove()
      } else {
        print(rules.printed, terminator: "")
      }
    } catch let failure as RedirectFailure {
      Messages.say(failure.text)
      throw ExitCode(1)
    }
  }

  private func options() throws(RedirectProblem) -> RedirectOptions {
    var options = RedirectOptions(
      selector: try who.selector(), transparent: try GateAddresses(transparent, option: "--transparent"),
      dns: try GateAddresses(dns, option: "--dns"))
    options.usesTProxy = tproxy
    options.servesIPv6 = !noIPv6
    options.localPorts = allowLocal
    options.allowsDHCP = allowDHCP
    if allowLocal.contains(0) { throw RedirectProblem("--allow-local 0: no port; write 1 to 65535") }
    if let gateUID {
      options.gate = try Users.id(gateUID, option: "--gate-uid")
    } else if case .user(let id) = options.selector, Users.own.contains(id.number) {
      throw RedirectProblem(
        "--uid \(id.number) is your own user: a gate that runs as you would be sent back to itself; name the gate's user"
          + " with --gate-uid if it is another one")
    }
    return options
  }
}

struct WhoseTraffic: ParsableArguments {
  @Option(
    help: ArgumentHelp("Traffic that arrives on a bridge or veth of this machine.", valueName: "name"),
    completion: .shellCommand("ls /sys/class/net"))
  var interface: String?
  @Option(
    help: ArgumentHelp("Traffic sent inside a network namespace, by its name or path.", valueName: "name|path"),
    completion: .shellCommand("ls /run/netns 2>/dev/null"))
  var namespace: String?
  @Option(
    help: ArgumentHelp("Traffic of a user's processes, by number or name.", valueName: "uid"),
    completion: .users)
  var uid: String?
  @Option(
    help: ArgumentHelp("Traffic of the processes in a cgroup v2 and the cgroups below it.", valueName: "path"),
    completion: .directory)
  var cgroup: String?

  func selector() throws(RedirectProblem) -> Selector {
    switch (interface, namespace, uid, cgroup) {
    case (let name?, nil, nil, nil): .interface(try InterfaceName(name))
    case (nil, let path?, nil, nil): .namespace(try NamespacePath(path))
    case (nil, nil, let user?, nil): .user(try Users.id(user, option: "--uid"))
    case (nil, nil, nil, let path?): .cgroup(try CgroupPath(path))
    default: throw RedirectProblem("no traffic is selected; give one of --interface, --namespace, --uid and --cgroup")
    }
  }
}

/// Users by number, or by their name in /etc/passwd: a static binary has no other source of names.
enum Users {
  /// User that runs this, also behind sudo.
  static var own: [UInt32] {
    let asker = Environment.value("SUDO_UID").flatMap { UInt32($0) }
    return [getuid()] + (asker.map { [$0] } ?? [])
  }

  static func id(_ text: String, option: String) throws(RedirectProblem) -> UserID {
    if let number = UInt32(text) { return try UserID(number) }
    guard let fields = entries("/etc/passwd").first(where: { $0.count > 2 && $0[0] == text }),
      let number = UInt32(fields[2])
    else {
      throw RedirectProblem("\(option): no such user in /etc/passwd; write the number that `id -u NAME` prints")
    }
    return try UserID(number)
  }

  static func entry(_ name: String) -> (uid: UInt32, gid: UInt32)? {
    for fields in entries("/etc/passwd") where fields.count > 3 && (fields[0] == name || fields[2] == name) {
      if let uid = UInt32(fields[2]), let gid = UInt32(fields[3]) { return (uid, gid) }
    }
    return nil
  }

  /// A user with subordinate ids can send as one of those, which is no longer the user that was selected.
  static func hasSubordinates(_ id: UserID) -> Bool {
    let names = entries("/etc/passwd").filter { $0.count > 2 && $0[2] == "\(id.number)" }.map { $0[0] }
    return entries("/etc/subuid").contains { $0.first == "\(id.number)" || names.contains($0.first ?? "") }
  }

  private static func entries(_ path: String) -> [[String]] {
    let bytes = FileBytes.read(path, bytesMax: 16 << 20) ?? []
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map { line in
      line.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    }
  }
}

// Setting and removing what a plan says: nf_tables by netlink, routes and iptables by their programs, and what failures
// mean.
// It relies on each set of rules being one transaction of its program; routes come before the rules that need them.
import Gate
import Glibc
import Kernel
import Redirect

/// A failure, and what to do about it.
struct RedirectFailure: Error {
  let text: String
  init(_ text: String) { self.text = text }
}

struct RuleSetter {
  private let plan: RedirectPlan
  private let usesIPTables: Bool

  init(_ plan: RedirectPlan, usesIPTables: Bool) {
    (self.plan, self.usesIPTables) = (plan, usesIPTables)
  }

  /// The rules with comments that say how they get there: fit for `nft -f`, or for `sh`.
  var printed: String {
    let prefix = inside.isEmpty ? "" : inside.joined(separator: " ") + " "
    if usesIPTables {
      return "#!/bin/sh\n# \(plan.table): run with \(prefix)sh\n" + IPTables.script(plan)
    }
    let routes = (plan.routing?.add ?? []).map { "# before: \(prefix)ip \($0.joined(separator: " "))\n" }.joined()
    return "# \(plan.table): load with \(prefix)nft -f FILE; remove with \(prefix)nft delete table inet \(plan.table)\n"
      + routes + NFTables.text(plan)
  }

  func apply() throws {
    try checkRoot("--apply")
    try checkSelector()
    if usesIPTables {
      try script(IPTables.script(plan))
    } else {
      for arguments in plan.routing?.add ?? [] { try route(arguments, unless: ["File exists"]) }
      do throws(SystemError) { try send(NFTables.messages(plan, cgroupID: cgroupID)) } catch {
        throw refused(error)
      }
    }
    Messages.say("set: \(plan.table)")
    warn()
  }

  func remove() throws {
    try checkRoot("--remove")
    try checkNamespace()
    let wasThere = usesIPTables ? try script(IPTables.removal(plan.selector)).hasSuffix("gone\n") : try removeTable()
    Messages.say(wasThere ? "removed: \(plan.table)" : "nothing to remove: there is no \(plan.table)")
  }

  private func removeTable() throws -> Bool {
    var isThere = true
    do throws(SystemError) { try send(NFTables.removalMessages(table: plan.table)) } catch {
      guard error.code == ENOENT else { throw refused(error) }
      isThere = false
    }
    return try removeRoutes() || isThere
  }

  /// Also without --tproxy: an earlier --apply may have had it. The routes go with the last rule that leads to them.
  private func removeRoutes() throws -> Bool {
    guard Programs.hasIP else { return false }
    var wasThere = false
    let absent = ["No such file or directory", "Address family not supported", "FIB table does not exist"]
    for arguments in PolicyRouting(plan).remove where try route(arguments, unless: absent) { wasThere = true }
    if try run(["ip"] + PolicyRouting.list).output.isEmpty {
      for arguments in PolicyRouting.flush { try route(arguments, unless: absent) }
    }
    return wasThere
  }

  // MARK: netlink

  private func send(_ batch: [UInt8]) throws(SystemError) {
    try Netfilter.send(batch, inNamespace: namespacePath)
  }

  private var namespacePath: String? {
    if case .namespace(let namespace) = plan.selector { namespace.path } else { nil }
  }

  /// The kernel's id of the plan's cgroup: the inode of its folder.
  private var cgroupID: UInt64 {
    guard case .cgroup(let cgroup) = plan.selector else { return 0 }
    return FileStamp(path: "/sys/fs/cgroup/\(cgroup.text)")?.identity.inode ?? 0
  }

  private func refused(_ error: SystemError) -> RedirectFailure {
    var advice = ""
    switch error.code {
    case EPERM: advice = "; it takes the capability CAP_NET_ADMIN here"
    case EINVAL: advice = namespacePath.map { "; \($0) must be a network namespace" } ?? ""
    case ENOENT, EOPNOTSUPP, EPROTONOSUPPORT, EAFNOSUPPORT:
      advice = "; this kernel lacks a part of nf_tables that the rules need (modprobe nf_tables), or use --iptables"
    default: break
    }
    return RedirectFailure("nothing was changed: \(error)\(advice)")
  }

  // MARK: programs

  private var inside: [String] {
    guard case .namespace(let namespace) = plan.selector else { return [] }
    return ["nsenter", "--net=\(namespace.path)"]
  }

  private func run(_ arguments: [String], input: String = "") throws -> ChildProcess {
    do throws(SystemError) { return try ChildProcess.run(inside + arguments, input: input) } catch {
      throw RedirectFailure(ChildProcess.isMissing(error) ? Programs.missing(inside.first ?? arguments[0]) : "\(error)")
    }
  }

  /// False when it failed in one of the ways that are as good as done.
  @discardableResult
  private func route(_ arguments: [String], unless reasons: [String]) throws -> Bool {
    let child = try run(["ip"] + arguments)
    if child.status == 0 { return true }
    if reasons.contains(where: { child.errors.contains($0) }) { return false }
    throw RedirectFailure("ip \(arguments.joined(separator: " ")) failed: \(child.errors)")
  }

  @discardableResult
  private func script(_ text: String) throws -> String {
    for program in ["iptables", "ip6tables"] {
      do throws(SystemError) { _ = try ChildProcess.run([program, "--version"]) } catch {
        throw RedirectFailure(ChildProcess.isMissing(error) ? Programs.missing(program) : "\(error)")
      }
    }
    let child = try run(["sh", "-s"], input: text)
    // The removal ends with a test of what was there, the setting with its first failure.
    guard child.status == 0 else {
      throw RedirectFailure("iptables failed; take away what was set with --iptables --remove:\n\(child.errors)")
    }
    return child.output
  }

  // MARK: what can be known before

  private func checkRoot(_ option: String) throws {
    guard geteuid() != 0 else { return }
    throw RedirectFailure(
      "\(option) changes packet rules: run it as root (sudo sluice redirect ...), or print them without it")
  }

  private func checkNamespace() throws {
    guard case .namespace(let namespace) = plan.selector, FileStamp(path: namespace.path) == nil else { return }
    throw RedirectFailure("no namespace \(namespace.path): make it first (ip netns add NAME), or give the path of one")
  }

  /// With br_netfilter a bridge's frames meet the rules before they are packets, and what TPROXY chose is forgotten.
  private func checkBridge() throws {
    guard case .interface(let name) = plan.selector, plan.routing != nil,
      FileStamp(path: "/sys/class/net/\(name.text)/bridge") != nil
    else { return }
    let settings = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"].filter {
      FileBytes.read("/proc/sys/net/bridge/\($0)", bytesMax: 64)?.first == UInt8(ascii: "1")
    }
    guard !settings.isEmpty else { return }
    let commands = settings.map { "net.bridge.\($0)=0" }.joined(separator: " ")
    throw RedirectFailure(
      "--tproxy finds no listener from a bridge under br_netfilter: sysctl -w \(commands), or leave --tproxy out")
  }

  private func checkSelector() throws {
    try checkNamespace()
    try checkBridge()
    guard case .cgroup(let cgroup) = plan.selector, !usesIPTables else { return }
    guard FileStamp(path: "/sys/fs/cgroup/cgroup.controllers") != nil else {
      throw RedirectFailure("no cgroup v2 at /sys/fs/cgroup, where nft looks; mount it there, or select by --uid")
    }
    guard FileStamp(path: "/sys/fs/cgroup/\(cgroup.text)") == nil else { return }
    throw RedirectFailure(
      "no cgroup /sys/fs/cgroup/\(cgroup.text): make it first; the rules hold for the one that is there now")
  }

  private func warn() {
    switch plan.selector {
    case .interface(let name) where FileStamp(path: "/proc/sys/net/ipv4/conf/\(name.text)") == nil:
      Messages.warn("there is no interface \(name.text) now; the rules hold once there is")
    case .user(let id) where Users.hasSubordinates(id):
      Messages.warn(
        "uid \(id.number) has subordinate ids in /etc/subuid, and what it sends as one of those is not caught")
    default: break
    }
  }
}

enum Programs {
  static var hasIP: Bool {
    ["/usr/sbin/ip", "/usr/bin/ip", "/sbin/ip", "/bin/ip"].contains { FileStamp(path: $0) != nil }
  }

  static func missing(_ program: String) -> String {
    switch program {
    case "ip": "ip is not there: apt install iproute2, or leave --tproxy out"
    case "iptables", "ip6tables": "\(program) is not there: apt install iptables, or leave --iptables out"
    case "nsenter": "nsenter is not there: apt install util-linux"
    default: "\(program) is not there"
    }
  }
}

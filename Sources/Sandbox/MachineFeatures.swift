// What this machine offers to a sandbox and to the gate, and what to do about each lack. For `sluice doctor`.
// It relies on trying: what a setting says is told beside what came of it. The caller has one thread.
import CSandbox
import Glibc
import Kernel

package struct MachineFeature: Equatable, Sendable {
  package enum State: String, Sendable {
    case ok
    /// A sandbox with all its limits cannot be had without it.
    case missing
    /// Not here, and something else than a sandbox goes without it.
    case absent
  }
  package let name: String
  package let state: State
  package let found: String
  /// Empty where there is nothing to do.
  package let remedy: String

  package init(_ name: String, _ state: State, _ found: String, remedy: String = "") {
    (self.name, self.state, self.found, self.remedy) = (name, state, found, remedy)
  }
}

package enum MachineFeatures {
  package static func gather() -> [MachineFeature] {
    kernel() + namespaces() + [landlock(), seccomp(), cgroup(), openFiles(), ipv6()] + redirecting()
  }

  // MARK: - What a sandbox is made of

  private static let kernelNeeded = (5, 13)

  private static func kernel() -> [MachineFeature] {
    let release = setting("/proc/sys/kernel/osrelease") ?? "unknown"
    let numbers = release.split { !$0.isNumber }.prefix(2).compactMap { Int($0) }
    let isNew = numbers.count == 2 && (numbers[0], numbers[1]) >= kernelNeeded
    let remedy = isNew ? "" : "a sandbox takes Linux \(kernelNeeded.0).\(kernelNeeded.1) or later"
    return [MachineFeature("kernel", isNew ? .ok : .missing, release, remedy: remedy)]
  }

  /// One attempt tells of user namespaces, of a security module that takes their capabilities, and of a covered /proc.
  private static func namespaces() -> [MachineFeature] {
    var failed = CSANDBOX_OFFER_CLONE
    // SAFETY: a local for the time of the call.
    let code = unsafe csandbox_try_namespaces(&failed)
    let isMade = code == 0 || failed != CSANDBOX_OFFER_CLONE
    let maximum = setting("/proc/sys/user/max_user_namespaces")
    let allowed = setting("/proc/sys/kernel/unprivileged_userns_clone")
    var found = isMade ? "made one" : "\(SystemError("clone", code: code))"
    if let maximum { found += ", at most \(maximum)" }
    if let allowed { found += ", unprivileged_userns_clone \(allowed)" }
    var offers = [
      MachineFeature(
        "user namespaces", isMade ? .ok : .missing, found, remedy: isMade ? "" : LaunchFailure.namespaces(code) ?? "")
    ]
    guard isMade else {
      let unknown = "not known: no user namespace to try it in"
      return offers + [
        MachineFeature("AppArmor", .absent, restriction ?? unknown),
        MachineFeature("/proc", .absent, covers ?? unknown),
      ]
    }
    let isBare = code != 0 && failed == CSANDBOX_OFFER_CAPABILITIES
    offers.append(
      MachineFeature(
        "AppArmor", isBare ? .missing : .ok, restriction ?? "does not restrict user namespaces",
        remedy: isBare ? LaunchFailure.capabilitiesRemedy : ""))
    guard !isBare else {
      return offers + [MachineFeature("/proc", .absent, covers ?? "not known: not tried without capabilities")]
    }
    let isCovered = code != 0 && failed == CSANDBOX_OFFER_PROC
    let proc =
      isCovered ? "a new one is refused; \(covers ?? "it is read-only or covered")" : "a new one can be mounted"
    offers.append(
      MachineFeature("/proc", isCovered ? .missing : .ok, proc, remedy: isCovered ? LaunchFailure.processesRemedy : ""))
    return offers
  }

  private static var restriction: String? {
    let value = setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    return value == "1" ? "kernel.apparmor_restrict_unprivileged_userns is 1" : nil
  }

  /// What a container mounts over parts of its /proc.
  private static var covers: String? {
    let mounts = (setting("/proc/self/mountinfo") ?? "").split(separator: "\n").map { $0.split(separator: " ") }
    let paths = mounts.filter { $0.count > 4 && $0[4].hasPrefix("/proc/") && $0[4] != "/proc/sys/fs/binfmt_misc" }.map {
      String($0[4])
    }
    return paths.isEmpty ? nil : "covered: \(Set(paths).sorted().joined(separator: " "))"
  }

  private static func landlock() -> MachineFeature {
    guard let version = Landlock.version else {
      return MachineFeature(
        "Landlock", .missing, "\(SystemError("landlock_create_ruleset", code: -csandbox_landlock_version()))",
        remedy: LaunchFailure.landlockRemedy)
    }
    let lacks = Landlock.lacks(version: version)
    return MachineFeature(
      "Landlock", .ok, lacks.first ?? "version \(version)", remedy: lacks.isEmpty ? "" : "a later kernel")
  }

  private static func seccomp() -> MachineFeature {
    let code = csandbox_try_seccomp()
    return code == 0
      ? MachineFeature("seccomp", .ok, "filters can be set")
      : MachineFeature(
        "seccomp", .missing, "\(SystemError("seccomp", code: code))", remedy: "a kernel with CONFIG_SECCOMP_FILTER")
  }

  private static func cgroup() -> MachineFeature {
    do throws(LaunchFailure) {
      let base = try CgroupSpec.base(controllers: ["cpu", "memory", "pids"], isRoot: SandboxUser.isRoot)
      // Root's own is made when it is needed; what it can have is what is above it.
      let above = CgroupSpec(base: base, name: "", settings: []).top ?? base
      return MachineFeature("cgroup", .ok, "v2, below \(base): \(setting("\(above)/cgroup.controllers") ?? "")")
    } catch {
      let (text, remedy) = (error.description, CgroupSpec.remedy)
      guard text.hasSuffix(remedy) else { return MachineFeature("cgroup", .missing, text) }
      // "…; " stands between the two.
      let found = String(text.dropLast(remedy.count + 2))
      return MachineFeature(
        "cgroup", .missing, found,
        remedy: isHeldByFirstVersion ? "boot with systemd.unified_cgroup_hierarchy=1; then \(remedy)" : remedy)
    }
  }

  /// proc/cgroups: `memory HIERARCHY …`; version 2 has number 0.
  private static var isHeldByFirstVersion: Bool {
    for line in (setting("/proc/cgroups") ?? "").split(separator: "\n") {
      let words = line.split(separator: "\t")
      if words.count > 1, words[0] == "memory" { return words[1] != "0" }
    }
    return false
  }

  // MARK: - What the gate uses

  private static let openFilesWanted: UInt64 = 4096

  private static func openFiles() -> MachineFeature {
    let files = csandbox_open_files_max()
    let isEnough = files >= openFilesWanted
    return MachineFeature(
      "open files", isEnough ? .ok : .absent, files == UInt64.max ? "no limit" : "\(files), two for each tunnel",
      remedy: isEnough ? "" : "ulimit -Hn 65536 before the gate, or LimitNOFILE=65536 in its unit")
  }

  private static func ipv6() -> MachineFeature {
    HostFile.kind("/proc/sys/net/ipv6") == .folder
      ? MachineFeature("IPv6", .ok, "the kernel has it")
      : MachineFeature("IPv6", .absent, "the kernel has none: a sandbox has only IPv4")
  }

  /// For `sluice redirect`; a sandbox needs neither.
  private static func redirecting() -> [MachineFeature] {
    let nft = version(of: "nft")
    let remedy = "`sluice redirect` writes its rules by it or by iptables: apt-get install nftables"
    return [
      nft.map { MachineFeature("nft", .ok, $0) } ?? MachineFeature("nft", .absent, "no such program", remedy: remedy),
      tproxy(hasNft: nft != nil),
    ]
  }

  private static func tproxy(hasNft: Bool) -> MachineFeature {
    let code = csandbox_try_transparent()
    if code != 0 {
      return MachineFeature(
        "TPROXY", .absent, "\(SystemError("IP_TRANSPARENT", code: code))",
        remedy: "`redirect --tproxy` takes root, or CAP_NET_ADMIN for the gate")
    }
    if !hasNft {
      return MachineFeature("TPROXY", .absent, "sockets may be transparent; its rules were not tried, without nft")
    }
    let rule = """
      table inet sluice-doctor {
        chain c {
          type filter hook prerouting priority mangle
          meta l4proto tcp tproxy ip to :1 accept
        }
      }

      """
    // Checked by the kernel, and not put in force. What cannot be run cannot be used either.
    let check = try? ChildProcess.run(["nft", "--check", "-f", "-"], input: rule)
    if check?.status == 0 { return MachineFeature("TPROXY", .ok, "the kernel takes its rules") }
    return MachineFeature(
      "TPROXY", .absent, "the kernel does not accept its rules",
      remedy: "`redirect --tproxy` takes nft_tproxy in the kernel; without, it redirects by NAT, "
        + "and `run` listens on the policy's ports alone")
  }

  /// First line of `--version`; nil where the program is not there.
  private static func version(of program: String) -> String? {
    // A program that does not start is as good as none.
    guard let run = try? ChildProcess.run([program, "--version"]), run.status == 0 else { return nil }
    return run.output.split(separator: "\n").first.map(String.init)
  }

  /// A small file of the kernel's, without the end of its line.
  private static func setting(_ path: String) -> String? {
    guard let bytes = FileBytes.read(path, bytesMax: 4 << 20) else { return nil }
    let text = String(decoding: bytes, as: UTF8.self)
    return text.hasSuffix("\n") ? String(text.dropLast()) : text
  }
}

// A cgroup v2 of the sandbox's own: limits that hold for all its processes together, and one write that ends them all.
// It relies on root, or on a cgroup that was delegated to this user with nobody else in it (cgroup-v2.rst, delegation).
import CSandbox
import Glibc
import Kernel

package struct CgroupSpec: Equatable, Sendable {
  package struct Setting: Equatable, Sendable {
    package let file: String
    package let value: String

    package init(_ file: String, _ value: String) { (self.file, self.value) = (file, value) }

    var controller: String { String(file.prefix { $0 != "." }) }
  }

  /// The folder that it is made in.
  package let base: String
  package let name: String
  package let settings: [Setting]

  package init(base: String, name: String, settings: [Setting]) {
    (self.base, self.name, self.settings) = (base, name, settings)
  }

  package var path: String { "\(base)/\(name)" }
  package var controllers: [String] { Set(settings.map(\.controller)).subtracting(["cgroup"]).sorted() }

  /// Where this process may make one with these controllers; looks, and changes nothing.
  package static func base(controllers: [String], isRoot: Bool) throws(LaunchFailure) -> String {
    guard let top = CgroupMount.find(), let own = top.own else {
      throw LaunchFailure("process_limits need cgroup v2, which is not mounted here; \(remedy)")
    }
    let base = isRoot ? top.path : own
    let there = Set(TextFile.read("\(base)/cgroup.controllers").split { $0 == " " || $0 == "\n" }.map(String.init))
    let missing = controllers.filter { !there.contains($0) }
    if !missing.isEmpty {
      throw LaunchFailure(
        "process_limits: the cgroup \(base) has no controller \(missing.joined(separator: ", ")): not delegated to this user, "
          + "or held by cgroup v1; \(remedy)")
    }
    guard unsafe access("\(base)/cgroup.procs", W_OK) == 0, unsafe access(base, W_OK) == 0 else {
      throw LaunchFailure("process_limits: the cgroup \(base) is not delegated to this user; \(remedy)")
    }
    return isRoot && isTopOfAll(base) ? "\(base)/\(shared)" : base
  }

  /// Of all runs of root: the top of all lets nobody remove a cgroup without CAP_DAC_OVERRIDE, which the gate gives up.
  private static let shared = "sluice"

  private static func isTopOfAll(_ path: String) -> Bool { HostFile.kind("\(path)/cgroup.type") == .missing }

  /// Where `base` itself has to be made, and its controllers come from.
  var top: String? {
    let top = String(base.dropLast(Self.shared.count + 1))
    return SandboxUser.isRoot && base.hasSuffix("/\(Self.shared)") && Self.isTopOfAll(top) ? top : nil
  }

  static let remedy =
    "start it by `systemd-run --user --scope -p Delegate=yes sluice run …`, or as root; or give --limits best-effort, which "
    + "enforces what rlimits can, and warns about the rest"
}

/// A limit that ended a process of the sandbox, or kept one from starting.
package struct LimitReached: Equatable, Sendable {
  /// The key of `process_limits`.
  package let limit: String
  /// What happened, and what to do where it was not meant to.
  package let text: String

  /// From the counters of a cgroup (cgroup-v2.rst). A process can also be killed since the machine has no memory left:
  /// then no limit of this cgroup was reached.
  static func all(memory: String, processes: String, _ settings: [CgroupSpec.Setting]) -> [LimitReached] {
    func value(_ file: String) -> String { settings.first { $0.file == file }.map { " \($0.value)" } ?? "" }
    var all: [LimitReached] = []
    let killed = CgroupFile.count("oom_kill", in: memory)
    if killed > 0, CgroupFile.count("oom", in: memory) > 0 {
      all.append(
        LimitReached(
          limit: "memory.max",
          text: "out of memory: memory.max\(value("memory.max")) reached, processes killed: \(killed); raise "
            + "process_limits.memory.max"))
    }
    let refused = CgroupFile.count("max", in: processes)
    if refused > 0 {
      all.append(
        LimitReached(
          limit: "pids.max",
          text:
            "pids.max\(value("pids.max")) reached: \(refused) times a process or thread could not be started; raise "
            + "process_limits.pids.max"))
    }
    return all
  }
}

/// Made before the clone, taken away at the end. What a killed `sluice run` left is taken away by the next one.
package final class Cgroup {
  private let spec: CgroupSpec
  /// Where this process had to go, so that its own cgroup may have children with limits.
  private var gate: String?
  private var isMade = false

  init(_ spec: CgroupSpec) throws(LaunchFailure) {
    self.spec = spec
    if let top = spec.top {
      try write("\(top)/cgroup.subtree_control", spec.controllers.map { "+\($0)" }.joined(separator: " "))
      guard HostFile.makeFolder(spec.base, mode: 0o755) else {
        throw LaunchFailure("cgroup \(spec.base): cannot be made; \(CgroupSpec.remedy)")
      }
    }
    unsafe csandbox_sweep(spec.base, "sluice-")
    try enableControllers()
    try make(spec.path)
    isMade = true
    for setting in spec.settings { try write("\(spec.path)/\(setting.file)", setting.value) }
  }

  var processes: String { "\(spec.path)/cgroup.procs" }

  private static let removeMsMax: UInt64 = 1_000

  // A launch that failed: nobody asks what a limit ended.
  deinit { _ = end() }

  /// Ends all that is left, and says what a limit ended.
  func end() -> [LimitReached] {
    var reached: [LimitReached] = []
    if isMade {
      isMade = false
      reached = LimitReached.all(
        memory: TextFile.read("\(spec.path)/memory.events"), processes: TextFile.read("\(spec.path)/pids.events"),
        spec.settings)
      _ = CgroupFile.write("\(spec.path)/cgroup.kill", "1")
      // Processes that were killed may take a moment. A cgroup that stays is empty, and the next run removes it.
      Clock.wait(until: Clock.monotonicMs() + Self.removeMsMax) { CgroupFile.remove(spec.path) != EBUSY }
    }
    goBack()
    return reached
  }

  /// A new one: one that is there already has counters, and maybe processes, of another run.
  private func make(_ path: String) throws(LaunchFailure) {
    var code = CgroupFile.make(path)
    if code == EEXIST, CgroupFile.remove(path) == 0 { code = CgroupFile.make(path) }
    if code != 0 { throw LaunchFailure("cgroup \(path): \(SystemError("mkdir", code: code)); \(CgroupSpec.remedy)") }
  }

  /// A cgroup that has processes hands no controllers down, unless it is the root of all.
  private func enableControllers() throws(LaunchFailure) {
    let control = "\(spec.base)/cgroup.subtree_control"
    let enabled = Set(TextFile.read(control).split { $0 == " " || $0 == "\n" }.map(String.init))
    let wanted = spec.controllers.filter { !enabled.contains($0) }
    if wanted.isEmpty { return }
    let text = wanted.map { "+\($0)" }.joined(separator: " ")
    let code = CgroupFile.write(control, text)
    if code == 0 { return }
    let members = TextFile.read("\(spec.base)/cgroup.procs").split(separator: "\n")
    guard code == EBUSY, members.allSatisfy(Self.isOurs) else {
      throw LaunchFailure(
        "process_limits: \(control): \(SystemError("write", code: code)); other processes are in that cgroup: "
          + CgroupSpec.remedy)
    }
    // No sandbox's name has these brackets.
    let gate = "\(spec.base)/sluice-(gate)-\(getpid())"
    try make(gate)
    self.gate = gate
    for member in members { try write("\(gate)/cgroup.procs", String(member)) }
    try write(control, text)
  }

  /// This process, or one that it started: the one that tidies up behind the sandbox exists by then.
  private static func isOurs(_ member: Substring) -> Bool {
    member == "\(getpid())" || TextFile.read("/proc/\(member)/status").contains("\nPPid:\t\(getpid())\n")
  }

  private func goBack() {
    guard let gate else { return }
    self.gate = nil
    // A controller that is taken away takes its limits away, those of another sandbox too. Then the empty cgroup of
    // this process stays, and the next run's sweep takes it.
    guard CgroupFile.count("nr_descendants", in: TextFile.read("\(spec.base)/cgroup.stat")) == 1 else { return }
    let text = spec.controllers.map { "-\($0)" }.joined(separator: " ")
    _ = CgroupFile.write("\(spec.base)/cgroup.subtree_control", text)
    for member in TextFile.read("\(gate)/cgroup.procs").split(separator: "\n") {
      _ = CgroupFile.write("\(spec.base)/cgroup.procs", String(member))
    }
    _ = CgroupFile.remove(gate)
  }

  private func write(_ path: String, _ text: String) throws(LaunchFailure) {
    let code = CgroupFile.write(path, text)
    if code == 0 { return }
    let remedy =
      path.hasSuffix("/io.max") && code == ENODEV ? "; it takes a whole disk, not a partition: see lsblk" : ""
    throw LaunchFailure("cgroup: \(path) = \(text): \(SystemError("write", code: code))\(remedy)")
  }
}

private struct CgroupMount {
  let path: String
  /// Of this process.
  let own: String?

  /// mountinfo: `36 35 0:31 ROOT PLACE OPTIONS … - cgroup2 …`
  static func find() -> CgroupMount? {
    let mounts = TextFile.read("/proc/self/mountinfo").split(separator: "\n").map {
      $0.split(separator: " ").map(String.init)
    }
    guard
      let mount = mounts.first(where: { fields in
        guard let dash = fields.firstIndex(of: "-") else { return false }
        return fields.count > dash + 1 && fields[dash + 1] == "cgroup2"
      }), mount.count > 4
    else { return nil }
    let line = TextFile.read("/proc/self/cgroup").split(separator: "\n").first { $0.hasPrefix("0::/") }
    let inside = line.map { String($0.dropFirst(3)) }
    let root = mount[3]
    let own = inside.flatMap { inside -> String? in
      if inside == root { return mount[4] }
      return inside.isBelow(root) ? "\(mount[4])/\(inside.dropFirst(root == "/" ? 1 : root.count + 1))" : nil
    }
    return CgroupMount(path: mount[4], own: own)
  }
}

private enum CgroupFile {
  /// errno, or 0.
  static func write(_ path: String, _ text: String) -> CInt { unsafe -csandbox_write_file(path, text) }

  static func make(_ path: String) -> CInt { unsafe -csandbox_make_folder(path, 0o700) }

  /// EBUSY while something is in it.
  static func remove(_ path: String) -> CInt { unsafe -csandbox_remove_folder(path) }

  static func count(_ key: String, in text: String) -> Int {
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ")
      if words.count == 2, words[0] == key { return Int(words[1]) ?? 0 }
    }
    return 0
  }
}

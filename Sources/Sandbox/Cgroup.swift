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
    let there = Set(CgroupFile.read("\(base)/cgroup.controllers").split { $0 == " " || $0 == "\n" }.map(String.init))
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
    + "holds what rlimits can and says what it does not"
}

/// Made before the clone, taken away at the end. What a killed `sluice run` left is taken away by the next one.
package final class Cgroup {
  private let spec: CgroupSpec
  /// Where this process had to go, so that its own cgroup may have children with limits.
  private var gate: String?
  private var hasEnded = false

  init(_ spec: CgroupSpec) throws(LaunchFailure) {
    self.spec = spec
    if let top = spec.top {
      try write("\(top)/cgroup.subtree_control", spec.controllers.map { "+\($0)" }.joined(separator: " "))
      guard HostFile.makeFolder(spec.base, mode: 0o755) else { throw failure("mkdir", EACCES) }
    }
    unsafe csandbox_sweep(spec.base, "sluice-")
    try enableControllers()
    guard HostFile.makeFolder(spec.path) else { throw failure("mkdir", EACCES) }
    for setting in spec.settings { try write("\(spec.path)/\(setting.file)", setting.value) }
  }

  var processes: String { "\(spec.path)/cgroup.procs" }

  // A launch that failed: nobody asks what a limit ended.
  deinit { _ = end() }

  /// Ends all that is left, and says what a limit ended.
  func end() -> [String] {
    if hasEnded { return [] }
    hasEnded = true
    let killed = CgroupFile.count("oom_kill", in: CgroupFile.read("\(spec.path)/memory.events"))
    let refused = CgroupFile.count("max", in: CgroupFile.read("\(spec.path)/pids.events"))
    _ = CgroupFile.write("\(spec.path)/cgroup.kill", "1")
    for _ in 0..<500 where !CgroupFile.remove(spec.path) { Clock.pause(ms: 2) }
    goBack()
    var notes: [String] = []
    if killed > 0 { notes.append("out of memory: memory.max was reached, and \(killed) processes were killed") }
    if refused > 0 { notes.append("pids.max was reached: \(refused) times a process could not be started") }
    return notes
  }

  /// A cgroup that has processes hands no controllers down, unless it is the root of all.
  private func enableControllers() throws(LaunchFailure) {
    let control = "\(spec.base)/cgroup.subtree_control"
    let enabled = Set(CgroupFile.read(control).split { $0 == " " || $0 == "\n" }.map(String.init))
    let wanted = spec.controllers.filter { !enabled.contains($0) }
    if wanted.isEmpty { return }
    let text = wanted.map { "+\($0)" }.joined(separator: " ")
    let code = CgroupFile.write(control, text)
    if code == 0 { return }
    let members = CgroupFile.read("\(spec.base)/cgroup.procs").split(separator: "\n")
    guard code == EBUSY, members == ["\(getpid())"] else {
      throw LaunchFailure(
        "process_limits: \(control): \(SystemError("write", code: code)); other processes are in that cgroup: "
          + CgroupSpec.remedy)
    }
    let gate = "\(spec.base)/sluice-gate-\(getpid())"
    guard HostFile.makeFolder(gate) else { throw failure("mkdir", EACCES) }
    self.gate = gate
    try write("\(gate)/cgroup.procs", "\(getpid())")
    try write(control, text)
  }

  private func goBack() {
    guard let gate else { return }
    // As far as it goes: another sandbox may have come to need the controllers.
    let text = spec.controllers.map { "-\($0)" }.joined(separator: " ")
    _ = CgroupFile.write("\(spec.base)/cgroup.subtree_control", text)
    _ = CgroupFile.write("\(spec.base)/cgroup.procs", "\(getpid())")
    _ = CgroupFile.remove(gate)
  }

  private func write(_ path: String, _ text: String) throws(LaunchFailure) {
    let code = CgroupFile.write(path, text)
    if code != 0 { throw LaunchFailure("cgroup: \(path) = \(text): \(SystemError("write", code: code))") }
  }

  private func failure(_ stage: String, _ code: CInt) -> LaunchFailure {
    LaunchFailure("cgroup \(spec.path): \(SystemError(stage, code: code)); \(CgroupSpec.remedy)")
  }
}

private struct CgroupMount {
  let path: String
  /// Of this process.
  let own: String?

  /// mountinfo: `36 35 0:31 ROOT PLACE OPTIONS … - cgroup2 …`
  static func find() -> CgroupMount? {
    let mounts = CgroupFile.read("/proc/self/mountinfo").split(separator: "\n").map {
      $0.split(separator: " ").map(String.init)
    }
    guard
      let mount = mounts.first(where: { fields in
        guard let dash = fields.firstIndex(of: "-") else { return false }
        return fields.count > dash + 1 && fields[dash + 1] == "cgroup2"
      }), mount.count > 4
    else { return nil }
    let line = CgroupFile.read("/proc/self/cgroup").split(separator: "\n").first { $0.hasPrefix("0::/") }
    let inside = line.map { String($0.dropFirst(3)) }
    let root = mount[3] == "/" ? "" : mount[3]
    let own = inside.flatMap { $0.hasPrefix(root) ? mount[4] + $0.dropFirst(root.count) : nil }
    return CgroupMount(path: mount[4], own: own.map { $0.hasSuffix("/") ? String($0.dropLast()) : $0 })
  }
}

private enum CgroupFile {
  private static let bytesMax = 1 << 20

  /// Empty where there is none.
  static func read(_ path: String) -> String {
    FileBytes.read(path, bytesMax: bytesMax).map { String(decoding: $0, as: UTF8.self) } ?? ""
  }

  /// errno, or 0.
  static func write(_ path: String, _ text: String) -> CInt { unsafe -csandbox_write_file(path, text) }

  /// False while something is in it.
  static func remove(_ path: String) -> Bool { unsafe csandbox_remove_folder(path) != -EBUSY }

  static func count(_ key: String, in text: String) -> Int {
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ")
      if words.count == 2, words[0] == key { return Int(words[1]) ?? 0 }
    }
    return 0
  }
}

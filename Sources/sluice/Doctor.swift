// `sluice doctor`: what this machine offers, what to do about each lack, and whether the walls of a sandbox hold here.
// It relies on the very way that `sluice run` takes, for a temporary sandbox that is probed and never given a command.
import ArgumentParser
import Gate
import Kernel
import Policy
import Sandbox
import Wire

struct Doctor: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Check what this machine can enforce on a sandbox, and how to fix what is missing.",
    discussion: """
      Looks at the kernel, its namespaces, cgroups, Landlock and seccomp, makes a
      temporary sandbox as `sluice run` would for this user, and tests its isolation.
      Nothing is left behind. A feature that is `absent` is not needed by a sandbox.

      Exit status: 0 a sandbox with all limits is possible, 1 something is missing, 2
      an error.
      """)

  @Flag(help: "One JSON object per line.") var json = false

  func run() throws {
    var report = Report(asJSON: json)
    for offer in MachineFeatures.gather() { report.add(offer) }
    do {
      try probe(&report)
    } catch let failure as LaunchFailure {
      let lines = failure.description.split(separator: "\n", maxSplits: 1)
      report.add(
        MachineFeature(
          "sandbox", .missing, String(lines[0]),
          remedy: lines.count > 1 ? lines[1].drop { $0 == " " }.description : "what is missing above"))
    } catch let error as ServerError {
      Messages.say("\(error)")
      throw ExitCode(2)
    }
    report.conclude()
    if !report.isWhole { throw ExitCode(1) }
  }

  // MARK: - A temporary sandbox

  private func probe(_ report: inout Report) throws {
    let user = SandboxUser.isRoot ? SandboxUser.unused() : .caller()
    let folder = "/tmp/sluice-doctor-\(Machine.processID)"
    guard HostFile.makeFolder(folder, of: user) else {
      throw LaunchFailure(
        "cannot make \(folder) for user \(user.uid)\n  /tmp must be writable, and where this is a user namespace it must map that user"
      )
    }
    defer { HostFile.removeFolder(folder) }
    let canaries = try HostProbeListeners()
    let (plan, hasAllLimits) = try plan(folder, user, canaries)
    if plan.user.isOther { try SandboxUser.dropGroups() }
    let sandbox = try Launched.start(plan, reportsProbes: true) { _ in plan.withoutRedirection }
    let sockets = try sandbox.takeListeners().map { BoundSocket($0.spec, raw: $0.raw, sandbox: Self.name) }
    let server = try Server(
      DenyAllSource(name: Self.name),
      ServeOptions(workers: 1, listen: [.connect: [], .transparent: [], .dns: []], logFile: "/dev/null"))
    try server.start(adopting: sockets)
    try sandbox.probe()
    var results: [(probe: Probe, holds: Bool)] = []
    while case .probed(let probe, let holds) = try sandbox.next() { results.append((probe, holds)) }
    let reached = canaries.reached()
    _ = sandbox.end()
    _ = server.finish(graceMs: 0)
    let isWhole = results.count == plan.probeCount
    let made = hasAllLimits ? "made one, with all limits" : "made one, with --limits best-effort"
    report.add(
      isWhole
        ? MachineFeature("sandbox", .ok, made)
        : MachineFeature(
          "sandbox", .missing, "it ended before all probes had run", remedy: "what is missing above"))
    for (probe, holds) in results { report.add(probe, holds: holds && !reached.contains(probe)) }
  }

  private static let name = "sandbox"

  /// With a cgroup where one can be had; that there is none was said.
  private func plan(_ folder: String, _ user: SandboxUser, _ canaries: HostProbeListeners) throws -> (
    SandboxPlan, hasAllLimits: Bool
  ) {
    // Printing goes without warnings of limits that are not held: the cgroup's line says it.
    let more = ["--print-plan"] + (user.isOther ? ["--user", "\(user.uid)"] : [])
    let policy = Policy.denyAll(clients: [Self.name])
    func plan(_ options: [String]) throws -> SandboxPlan {
      let run = try Run.parse(["--workspace", folder] + more + options + ["--", "true"])
      // The sandbox's folder is empty, and gone at the end.
      var files = policy.settings.files
      files.protected = []
      let paths = try SandboxPaths(run, files)
      let request = SandboxRequest(run, policy, trust: nil)
      let user = try request.user(paths)
      return try request.plan(
        paths, user, try request.runFolder(paths, user), terminal: nil, canaries: canaries.probes)
    }
    do { return (try plan(["--limits", "cgroup"]), true) } catch is LaunchFailure {
      return (try plan(["--limits", "best-effort"]), false)
    }
  }
}

private struct DenyAllSource: PolicySource {
  let name: String

  func load(replacing old: Policy?, _ say: (String) -> Void) -> Policy? { Policy.denyAll(clients: [name]) }
}

/// Findings, printed as they come.
private struct Report {
  private let asJSON: Bool
  private var missing: [String] = []

  init(asJSON: Bool) { self.asJSON = asJSON }

  var isWhole: Bool { missing.isEmpty }

  mutating func add(_ offer: MachineFeature) {
    if offer.state == .missing { missing.append(offer.name) }
    if asJSON {
      var pairs = [("check", offer.name), ("state", offer.state.rawValue), ("found", offer.found)]
      if !offer.remedy.isEmpty { pairs.append(("remedy", offer.remedy)) }
      print(JSONText.object(pairs))
    } else {
      print("\(Self.padded(offer.state.rawValue, 8))\(Self.padded(offer.name, 17))\(offer.found)")
      if !offer.remedy.isEmpty { print("\(Self.padded("", 25))to do: \(offer.remedy)") }
    }
  }

  mutating func add(_ probe: Probe, holds: Bool) {
    if !holds { missing.append("a probe: \(probe)") }
    let result = holds ? "HELD" : "BROKEN"
    print(asJSON ? JSONText.object([("probe", "\(probe)"), ("result", result)]) : "\(Self.padded(result, 8))\(probe)")
  }

  func conclude() {
    let verdict =
      isWhole
      ? "a sandbox with all its limits is possible"
      : "missing for a sandbox with all its limits: \(missing.joined(separator: ", "))"
    print(asJSON ? JSONText.object([("verdict", isWhole ? "ok" : "missing"), ("found", verdict)]) : verdict)
  }

  private static func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(1, width - text.utf8.count))
  }
}

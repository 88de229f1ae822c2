// The plan of a sandbox is a value: what is in it, and in which order, is held here without making a sandbox.
import CSandbox
import Kernel
import Testing

@testable import Sandbox

extension String {
  fileprivate func components(_ part: String) -> Int { ranges(of: part).count }
}

@Suite struct PlanTests {
  private static let user = SandboxUser(uid: 1000, gid: 1000, isOther: false)

  private func options(_ change: (inout SandboxOptions) -> Void = { _ in }) -> SandboxOptions {
    var options = SandboxOptions(
      command: ["sh", "-c", "true"], environment: ["PATH=/usr/bin", "TOKEN=secret"], workspace: "/home/u/work",
      user: Self.user)
    change(&options)
    return options
  }

  private func facts(_ change: (inout HostFacts) -> Void = { _ in }) -> HostFacts {
    var facts = HostFacts()
    facts.systemFolders = [.init("/usr", .folder), .init("/bin", .link("usr/bin"))]
    facts.settings = [
      .init("/etc/ssl", source: "/etc/ssl"), .init("/etc/localtime", source: "/usr/share/zoneinfo/UTC"),
    ]
    facts.processMasks = ["/proc/keys"]
    facts.processReadOnly = ["/proc/sys"]
    change(&facts)
    return facts
  }

  private func plan(_ change: (inout SandboxOptions) -> Void = { _ in }) -> SandboxPlan {
    SandboxPlan(options(change), facts())
  }

  private func place(_ steps: [Step], _ matches: (Step) -> Bool) throws -> Int {
    let place = steps.firstIndex(where: matches)
    return try #require(place)
  }

  /// Each of these pairs in another order would leave a door open, or fail.
  @Test func theOrderOfTheSteps() throws {
    let steps = plan { $0.probes = [.rawSockets] }.steps
    let order: [Step] = [
      .namespaces(Namespace.allCases), .mapIDs(uid: 1000, gid: 1000), .dieWithParent, .loopbackUp, .localRoute(.v4),
      .localRoute(.v6), .redirect(port: 3129, hasIPv6: true), .listen(ListenerSpec(.proxy, .v4, port: 3128)),
      .handOut(count: 7),
      .setting("/proc/sys/user/max_user_namespaces", "0"), .newRoot(bytes: 4 << 20, inodes: 4096),
      .temporary("/tmp", mode: "1777", bytes: 512 << 20, inodes: 65_536),
      .bind("/home/u/work", at: "/home/u/work", .writable), .enterRoot, .limit(.coreBytes, 0),
      .dropBoundingCapabilities, .lockSecureBits, .noNewPrivileges, .dropCapabilities, .notDumpable, .reaper,
      .session(isForeground: false), .workIn("/home/u/work"), .seccomp(allows: []), .closeDescriptors,
      .probe(.rawSockets),
      .execute(["sh", "-c", "true"], environment: ["PATH=/usr/bin", "TOKEN=secret"]),
    ]
    var last = -1
    for step in order {
      let place = try place(steps) { $0 == step }
      #expect(place > last, "\(step)")
      last = place
    }
    #expect(last == steps.count - 1)
    let landlock = try place(steps) { if case .landlock = $0 { true } else { false } }
    #expect(try landlock < place(steps) { $0 == .seccomp(allows: []) })
    #expect(try landlock > place(steps) { $0 == .noNewPrivileges })
  }

  @Test func whatIsGivenBackIsInThePlan() {
    let steps = plan { $0.allows = [.userns] }.steps
    #expect(steps.contains(.seccomp(allows: [.userns])) && !steps.contains(.seccomp(allows: [])))
    #expect(!steps.contains(.setting("/proc/sys/user/max_user_namespaces", "0")))
    let tracing = plan { $0.allows = [.ptrace] }.steps
    #expect(tracing.contains(.setting("/proc/sys/user/max_user_namespaces", "0")))
  }

  @Test func rootBecomesAnotherUserBeforeAnythingElse() throws {
    let steps = plan { $0.user = SandboxUser(uid: 5, gid: 6, isOther: true) }.steps
    #expect(steps[2] == .becomeUser(uid: 5, gid: 6))
    // The change takes the wish to die with the parent away.
    #expect(steps[3] == .dieWithParent)
    #expect(!plan().steps.contains { if case .becomeUser = $0 { true } else { false } })
  }

  /// Before a process is there: it has done nothing yet when its limits hold.
  @Test func theCgroupComesFirstAndNothingOfItIsInTheFileSystem() throws {
    let spec = CgroupSpec(
      base: "/sys/fs/cgroup/u", name: "sluice-a-1", settings: [.init("cpu.max", "max 1000"), .init("pids.max", "9")])
    let plan = plan {
      $0.cgroup = spec
      $0.limits = ProcessLimits(processes: nil, dataBytes: nil)
    }
    #expect(plan.steps.first == .cgroup(spec) && plan.cgroup == spec)
    #expect(spec.controllers == ["cpu", "pids"] && spec.path == "/sys/fs/cgroup/u/sluice-a-1")
    #expect(plan.text.components("cgroup /sys/fs") == 1 && !plan.text.contains("limit processes"))
    #expect(self.plan().cgroup == nil && self.plan().text.contains("limit processes to 64"))
  }

  @Test func allPortsHaveOneListenerInEachFamily() {
    let plan = plan { $0.ports = [6333] }
    let redirected = plan.listeners.filter { $0.purpose == .transparent }
    #expect(redirected == [IPFamily.v4, .v6].map { ListenerSpec(.transparent, $0, port: 3129, isRedirected: true) })
    #expect(
      plan.text.contains("listen tcp 127.0.0.1:3129 (transparent)") && plan.text.contains("listen tcp [::1]:3129"))
    // DNS stays on every address: the rule leaves it alone.
    #expect(plan.listeners.filter { $0.purpose == .dns }.count == 4)
  }

  @Test func withoutRedirectionEveryNamedPortHasAListenerOnceInEachFamily() {
    let plan = plan { $0.ports = [6333, 443, 53, 3128] }
    let other = plan.withoutRedirection
    let listeners = other.listeners
    #expect(Set(listeners).count == listeners.count)
    #expect(listeners.filter { $0.purpose == .transparent }.map(\.port).sorted() == [80, 80, 443, 443, 6333, 6333])
    // Ports with a meaning of their own keep it.
    #expect(listeners.filter { $0.port == 53 }.allSatisfy { $0.purpose == .dns })
    #expect(listeners.filter { $0.port == 3128 } == [ListenerSpec(.proxy, .v4, port: 3128)])
    // Nothing else differs.
    func rest(_ plan: SandboxPlan) -> [Step] {
      plan.steps.filter { step in
        switch step {
        case .redirect, .listen, .handOut: false
        default: true
        }
      }
    }
    #expect(rest(plan) == rest(other) && other.withoutRedirection == other)
    #expect(!other.steps.contains { if case .redirect = $0 { true } else { false } })
  }

  @Test func aHostWithoutIPv6HasNoStepsForIt() {
    let plan = SandboxPlan(options(), facts { $0.hasIPv6 = false })
    #expect(plan.listeners.allSatisfy { $0.family == .v4 })
    #expect(!plan.steps.contains(.localRoute(.v6)))
    #expect(!plan.text.contains("ipv6"))
  }

  @Test func onlyTheWorkspaceAndWhatIsAskedForIsWritable() throws {
    let plan = plan {
      $0.readOnly = ["/opt/tool"]
      $0.readWrite = ["/data"]
    }
    let writable = plan.steps.compactMap { step in
      if case .bind(let path, _, .writable) = step { path } else { nil }
    }
    #expect(writable == ["/data", "/home/u/work"])
    #expect(plan.writable == ["/home/u/work", "/data"])
    #expect(plan.steps.contains(.bind("/opt/tool", at: "/opt/tool", .readOnly)))
  }

  @Test func thePrintedPlanHasAllStepsAndNoValuesOfTheEnvironment() {
    let plan = plan { $0.probes = [.name("x.invalid"), .hostStream(.v6, port: 9)] }
    let lines = plan.text.split(separator: "\n")
    #expect(lines.count == plan.steps.count)
    #expect(lines.allSatisfy { $0.split(separator: " ", maxSplits: 1).count == 2 })
    #expect(plan.text.contains("TOKEN") && !plan.text.contains("secret"))
  }

  @Test func theEnvironmentIsAList() {
    let caller = ["TERM": "xterm", "AWS_SECRET_ACCESS_KEY": "secret", "LD_PRELOAD": "x.so", "GITHUB_TOKEN": "t"]
    var environment = SandboxEnvironment()
    environment.pass(SandboxEnvironment.passed) { caller[$0] }
    #expect(environment.entries.contains("TERM=xterm"))
    #expect(environment.entries.contains("HTTPS_PROXY=http://127.0.0.1:3128"))
    #expect(
      !environment.entries.contains { $0.contains("secret") || $0.hasPrefix("LD_") || $0.hasPrefix("GITHUB") })
    environment.pass(["GITHUB_TOKEN", "MISSING"]) { caller[$0] }
    environment.set("A", "b=c")
    environment.set("PATH", "/x")
    #expect(Set(environment.entries).isSuperset(of: ["GITHUB_TOKEN=t", "A=b=c", "PATH=/x"]))
    #expect(!environment.entries.contains { $0.hasPrefix("MISSING") })
  }

  @Test func aCompiledPlanKeepsTheNumbersOfItsSteps() {
    let plan = plan { $0.probes = [.rawSockets, .reading("/etc/shadow")] }
    let compiled = CompiledSandboxPlan(plan)
    #expect(compiled.steps.count == plan.steps.count - 2)
    #expect(compiled.origin == Array(2..<plan.steps.count))
    #expect(compiled.uid == 1000 && compiled.namespaces == 0x7e02_0000)
    #expect(compiled.texts.last == 0)
    #expect(compiled.steps.allSatisfy { $0.op > 0 && Int($0.first) < compiled.texts.count })
  }

  @Test func aFailureNamesItsStep() {
    let failure = LaunchFailure(.processes("/proc"), number: 40, .init("fsmount", code: 1))
    #expect(failure.description.hasPrefix("step 41, proc at /proc, other users' hidden: fsmount: "))
    #expect(failure.description.contains("(errno 1)") && failure.description.contains("systempaths=unconfined"))
  }
}

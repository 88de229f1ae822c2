// Requests of the admin socket to the gate as a process: its state, and changes made on the main thread.
// It relies on AdminListener to identify the caller, and on Survey for the answers of the workers.
import Kernel
import Policy
import Wire

extension Server {
  var openConnections: Int { shared.liveConnections }
  /// Counts of ended workers, plus the kept counts of the gate's earlier runs.
  var retiredCounts: WorkerCounts {
    var counts = main?.survey.retired ?? WorkerCounts()
    if let kept = state?.found?.totals { counts.counters += Counters(kept) }
    return counts
  }

  /// Asks every worker that still runs.
  func survey(_ finish: @escaping (Survey.Answers) -> Void, asking message: (_ token: UInt64) -> WorkerMessage) {
    // Without a main loop, the workers get the message, and nobody waits for their answers.
    guard let main else {
      for mailbox in shared.mailboxes { mailbox.post(message(0)) }
      return finish(Survey.Answers(isWhole: false))
    }
    main.survey.askAll(message, finish: finish)
  }

  /// The counts of all workers, including ended ones.
  func count(_ finish: @escaping (WorkerCounts, _ isWhole: Bool) -> Void) {
    survey { [self] answers in
      var counts = retiredCounts
      for case .counts(let more) in answers.bodies { counts += more }
      finish(counts, answers.isWhole)
    } asking: {
      .question(.counts, token: $0)
    }
  }

  /// The metrics as text for a monitoring system.
  func metrics(_ finish: @escaping ([UInt8]) -> Void) {
    count { [self] counts, isWhole in
      finish(
        GateMetrics(
          status: status(counts, isWhole: isWhole), log: shared.log.backlog(), linesWritten: shared.sequence.count,
          linesLost: shared.log.lostLines,
          reloads: reloads, process: figures, startedWallMs: startedWallMs,
          levels: LimitLevels(policy, nowNs: Clock.monotonicNs())
        ).text)
    }
  }

  /// The reason why new tunnels are refused. Nil if they are not.
  var unready: String? {
    if isDraining { return "the gate drains" }
    if shared.log.isUnwritable && policy.settings.log.refusesWhenUnwritable { return "the log cannot be written" }
    return nil
  }

  var metricsGate: MetricsListener.Gate {
    MetricsListener.Gate(
      metrics: { [unowned self] in metrics($0) }, unready: { [unowned self] in unready },
      hasClient: { [unowned self] in policy.hasClient(at: $0) })
  }

  func status(_ counts: WorkerCounts, isWhole: Bool) -> GateStatus {
    GateStatus(
      startedMs: startedMs, isDraining: isDraining, unready: unready, policy: policy, policyFile: source.file,
      listening: listening,
      adminPath: admin?.path ?? "", metricsAddress: metricsDesk?.address, workers: workers,
      connections: openConnections,
      log: GateStatus.LogState(
        file: shared.log.path, isUnwritable: shared.log.isUnwritable, pendingBytes: shared.log.pendingBytes),
      sandboxes: admin?.sandboxNames ?? [], limits: limits.map { GateStatus.SharedLimits($0.settings, $0.status) },
      counts: counts, isWhole: isWhole || isDraining
    )
  }

  /// Facts for `sluice run` before it makes a sandbox: the client's rules, and the gate's files that the sandbox must
  /// not show.
  func describe(client name: String, probe: HostName, _ taken: [String]) -> JSONValue {
    guard case .client(let client) = policy.identify(source: .v4(0), sandbox: name) else {
      return .failure("no such client")
    }
    let rules = SandboxRules(client.network, probe: probe, nowUnix: Clock.wallMs() / 1000)
    let ports = rules.ports.map { JSONValue.text(PortSet([$0]).description) }
    let files = [source.file, shared.log.path, admin?.path].compactMap { $0.map(absolute) }
    return .success([
      JSONMember("policy", .text(policy.hash)), JSONMember("taken", .bool(taken.contains(name))),
      JSONMember("ports", .list(ports)), JSONMember("refuses_probe", .bool(rules.refusesProbe)),
      JSONMember("files", .list(files.map { .text($0) })),
    ])
  }

  /// The absolute path of the policy file, for other processes.
  var policyPath: String? { source.file.map(absolute) }

  private func absolute(_ path: String) -> String {
    path.hasPrefix("/") ? path : "\(startFolder ?? "")/\(path)"
  }

  /// Replaces the set of sandboxes. Rules of other clients do not change.
  func replaceSandboxes(_ change: (Policy) -> Policy) {
    policy = change(policy)
    for mailbox in shared.mailboxes { mailbox.post(.sandboxes(policy)) }
    limits?.replace(policy, hosts)
  }
}

// What the admin socket asks of the gate as a process: its state, and changes that are made on the main thread.
// It relies on AdminListener for who asks, and on Survey for what only workers know.
import Kernel
import Policy
import Wire

extension Server {
  var openConnections: Int { shared.liveConnections }
  /// With those of the gate before this one, where they were kept.
  var retiredCounts: WorkerCounts {
    var counts = main?.survey.retired ?? WorkerCounts()
    if let kept = state?.found?.totals { counts.counters += Counters(kept) }
    return counts
  }

  /// Asks every worker that is still at work.
  func survey(_ finish: @escaping (Survey.Answers) -> Void, asking message: (_ token: UInt64) -> WorkerMessage) {
    // Of a gate that somebody else looks after, the loops are told, and nobody waits for their answers.
    guard let main else {
      for mailbox in shared.mailboxes { mailbox.post(message(0)) }
      return finish(Survey.Answers(isWhole: false))
    }
    main.survey.askAll(message, finish: finish)
  }

  /// What all workers have counted, with those that have ended.
  func count(_ finish: @escaping (WorkerCounts, _ isWhole: Bool) -> Void) {
    survey { [self] answers in
      var counts = retiredCounts
      for case .counts(let more) in answers.bodies { counts += more }
      finish(counts, answers.isWhole)
    } asking: {
      .question(.counts, token: $0)
    }
  }

  /// As a monitoring system reads it.
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

  /// Why no new tunnel would be let out; nil where it would.
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

  /// What `sluice run` must know of the rules before it makes a sandbox, and which files of the gate it must not show.
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

  /// The policy file as other processes find it.
  var policyPath: String? { source.file.map(absolute) }

  private func absolute(_ path: String) -> String {
    path.hasPrefix("/") ? path : "\(startFolder ?? "")/\(path)"
  }

  /// Sandboxes come and go: no rule of anybody else changes by it.
  func replaceSandboxes(_ change: (Policy) -> Policy) {
    policy = change(policy)
    for mailbox in shared.mailboxes { mailbox.post(.sandboxes(policy)) }
    limits?.replace(policy, hosts)
  }
}

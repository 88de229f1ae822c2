// The metrics for a monitoring system: each family, with samples from figures that were gathered before.
// It relies on docs/metrics.md to say the same; a test compares the two. No host that a client named becomes a label.
import Flow
import Kernel
import Policy

package struct GateMetrics {
  let status: GateStatus
  let log: SharedAppendFile.Backlog
  let linesWritten: UInt64
  let linesLost: UInt64
  let reloads: ReloadCounts
  let process: ProcessFigures?
  let startedWallMs: Int64
  let levels: LimitLevels

  package static let families =
    [
      buildInfo, workers, isWhole, isDraining, connections, connectionsMax, open, sandboxes, tunnels, requests, queries,
      bytes, outcomes, outcomesByVia, wouldDeny, steps, limitLeft, limitCapacity, limitsLeftOut, lookups,
      lookupsUnderWay,
      questions,
      answers, cachedNames, logLines, logWritable, logWaitingLines, logLostLines, logWaitingBytes, logWaitingSeconds,
      loopBusy,
      loopIdle, loopTurns, policyInfo, policyGeneration, policyLoaded, policyReloads, lastReload, cpu, resident,
      openFiles, openFilesMax, started,
    ] + sharedFamilies

  var text: [UInt8] {
    var out = Exposition()
    gate(&out)
    traffic(&out)
    for family in [Self.limitLeft, Self.limitCapacity] { limits(family, &out) }
    plain(Self.limitsLeftOut, .whole(levels.leftOut), &out)
    names(&out)
    logFigures(&out)
    loops(&out)
    policy(&out)
    processFigures(&out)
    sharedLimits(&out)
    return out.bytes
  }

  private var counters: Counters { status.counts.counters }

  private func plain(_ family: MetricFamily, _ value: MetricValue, _ out: inout Exposition) {
    out.begin(family)
    out.sample(family, value)
  }

  // MARK: - The gate as a whole

  private func gate(_ out: inout Exposition) {
    out.begin(Self.buildInfo)
    out.sample(Self.buildInfo, of: [Version.text], .whole(1))
    plain(Self.workers, .whole(status.workers), &out)
    plain(Self.isWhole, .flag(status.isWhole), &out)
    plain(Self.isDraining, .flag(status.isDraining), &out)
    plain(Self.connections, .whole(status.connections), &out)
    plain(Self.connectionsMax, .whole(status.policy.settings.limits.connections), &out)
    plain(Self.open, .whole(status.counts.open), &out)
    plain(Self.sandboxes, .whole(status.sandboxes.count), &out)
  }

  private func traffic(_ out: inout Exposition) {
    out.begin(Self.tunnels)
    for kind in TunnelKind.allCases { out.sample(Self.tunnels, of: [kind.word], .whole(counters.tunnels(kind))) }
    plain(Self.requests, .whole(counters.requests), &out)
    plain(Self.queries, .whole(counters.queries), &out)
    out.begin(Self.bytes)
    out.sample(Self.bytes, of: ["up"], .whole(status.counts.bytesUp))
    out.sample(Self.bytes, of: ["down"], .whole(status.counts.bytesDown))
    outcomes(&out)
    out.begin(Self.wouldDeny)
    for reason in Reason.allCases {
      out.sample(Self.wouldDeny, of: [reason.rawValue], .whole(counters.wouldDeny(reason)))
    }
    out.begin(Self.steps)
    for step in StepTimes.Step.allCases { histogram(step, &out) }
  }

  /// What has not happened yet stands there as zero where it is to be expected: else its first time would be no
  /// increase.
  private func outcomes(_ out: inout Exposition) {
    let events = LogEvent.allCases.filter { $0 != .policy && $0 != .approval && $0 != .limits }
    out.begin(Self.outcomes)
    for event in events {
      for reason in Reason.allCases.map({ Reason?.some($0) }) + [nil] {
        let count = counters.lines(event, reason)
        let isExpected = reason.map { $0.logEvent == event } ?? [.closed, .credential].contains(event)
        guard count > 0 || isExpected else { continue }
        out.sample(Self.outcomes, of: [event.rawValue, reason?.rawValue ?? ""], .whole(count))
      }
    }
    out.begin(Self.outcomesByVia)
    for event in events {
      for via in CountedVia.allCases {
        out.sample(Self.outcomesByVia, of: [event.rawValue, via.word], .whole(counters.lines(event, via: via)))
      }
    }
  }

  private func histogram(_ step: StepTimes.Step, _ out: inout Exposition) {
    let counts = counters.steps.cumulated(step)
    let bounds = StepTimes.boundsMicroseconds.map { MetricValue.microseconds($0).text } + ["+Inf"]
    for (bound, count) in zip(bounds, counts) {
      out.sample(Self.steps, suffix: "_bucket", of: [step.name], more: ("le", bound), .whole(count))
    }
    out.sample(Self.steps, suffix: "_sum", of: [step.name], .nanoseconds(counters.steps.sumNs(step)))
    out.sample(Self.steps, suffix: "_count", of: [step.name], .whole(counts.last ?? 0))
  }

  // MARK: - Limits

  private func limits(_ family: MetricFamily, _ out: inout Exposition) {
    out.begin(family)
    for pair in levels.shown {
      for level in pair.levels {
        let value = family.name == Self.limitLeft.name ? level.left : level.capacity
        out.sample(
          family, of: [pair.client, pair.rule.line.description, pair.rule.text, level.limit.rawValue], .whole(value))
      }
    }
  }

  // MARK: - Names, log, loops

  private func names(_ out: inout Exposition) {
    let names = status.counts.names
    out.begin(Self.lookups)
    let sources = [
      ("hosts", names.fromHosts), ("cache", names.fromCache), ("shared", names.shared), ("servers", names.asked),
    ]
    for (source, count) in sources { out.sample(Self.lookups, of: [source], .whole(count)) }
    plain(Self.lookupsUnderWay, .whole(names.underWay), &out)
    plain(Self.questions, .whole(names.questions), &out)
    out.begin(Self.answers)
    let results = [
      ("found", names.found), ("absent", names.absent), ("timeout", names.timedOut), ("failed", names.failed),
    ]
    for (result, count) in results { out.sample(Self.answers, of: [result], .whole(count)) }
    plain(Self.cachedNames, .whole(names.cachedNames), &out)
  }

  private func logFigures(_ out: inout Exposition) {
    plain(Self.logLines, .whole(linesWritten), &out)
    plain(Self.logWritable, .flag(!status.log.isUnwritable), &out)
    plain(Self.logWaitingLines, .whole(log.lines), &out)
    plain(Self.logLostLines, .whole(linesLost), &out)
    plain(Self.logWaitingBytes, .whole(log.bytes), &out)
    plain(Self.logWaitingSeconds, .milliseconds(log.ageMs), &out)
  }

  private func loops(_ out: inout Exposition) {
    let loops = status.counts.loops.sorted { $0.worker < $1.worker }
    let figures: [(MetricFamily, (LoopUse) -> MetricValue)] = [
      (Self.loopBusy, { .nanoseconds($0.busyNs) }), (Self.loopIdle, { .nanoseconds($0.idleNs) }),
      (Self.loopTurns, { .whole($0.turns) }),
    ]
    for (family, value) in figures {
      out.begin(family)
      for loop in loops { out.sample(family, of: ["\(loop.worker)"], value(loop)) }
    }
  }

  // MARK: - Policy, process

  private func policy(_ out: inout Exposition) {
    out.begin(Self.policyInfo)
    out.sample(Self.policyInfo, of: [status.policy.hash, status.policyFile ?? ""], .whole(1))
    plain(Self.policyGeneration, .whole(reloads.applied + 1), &out)
    plain(Self.policyLoaded, .milliseconds(UInt64(clamping: reloads.loadedWallMs)), &out)
    out.begin(Self.policyReloads)
    out.sample(Self.policyReloads, of: ["applied"], .whole(reloads.applied))
    out.sample(Self.policyReloads, of: ["failed"], .whole(reloads.failed))
    plain(Self.lastReload, .flag(!reloads.didLastFail), &out)
  }

  /// Figures that the kernel does not tell are omitted.
  private func processFigures(_ out: inout Exposition) {
    let figures: [(MetricFamily, MetricValue?)] = [
      (Self.cpu, process.map { .nanoseconds($0.cpuNs) }), (Self.resident, process.map { .whole($0.residentBytes) }),
      (Self.openFiles, process.map { .whole($0.openFiles) }),
      (Self.openFilesMax, process.map { .whole($0.openFilesMax) }),
    ]
    for (family, value) in figures {
      out.begin(family)
      if let value, value != .whole(UInt64(0)) { out.sample(family, value) }
    }
    plain(Self.started, .milliseconds(UInt64(clamping: startedWallMs)), &out)
  }
}

/// Results of reloads since the start.
struct ReloadCounts {
  var applied: UInt64 = 0
  var failed: UInt64 = 0
  var didLastFail = false
  var loadedWallMs: Int64

  mutating func note(isApplied: Bool, wallMs: Int64) {
    didLastFail = !isApplied
    if isApplied {
      applied += 1
      loadedWallMs = wallMs
    } else {
      failed += 1
    }
  }
}

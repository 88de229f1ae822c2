// Each request inside a tunnel is judged: may this log take a line, is it for this target, does the rule let it, is
// there a token. It relies on Policy for the verdict; a refusal costs no token.
import Flow
import Policy
import Wire

/// What is refused, in words for the client and for the log.
struct RefusedRequest {
  var refusal: Refusal
  var outcome: Outcome
}

enum RequestVerdict {
  /// With the path that goes out in place of the client's spelling.
  case allow(path: [UInt8]?)
  case refuse(RefusedRequest)
  /// Ask again then.
  case pace(untilMs: UInt64)
}

struct RequestJudge {
  /// As Flow has it for requests outside of tunnels.
  private static let paceMsMax: UInt64 = 60_000

  let target: Target
  let client: String
  /// All requests are answered with it: the target was refused, or its upstream is not to be trusted.
  var standing: Refusal?
  private(set) var outcomes: [Outcome] = []
  /// Counts the requests of the tunnel.
  private(set) var ordinal: UInt32 = 0
  /// The one that is being judged: with HTTP/2 another one than the last.
  private(set) var judged: UInt32 = 0

  init(target: Target, client: String) {
    self.target = target
    self.client = client
  }

  mutating func takeOutcomes() -> [Outcome] {
    defer { outcomes = [] }
    return outcomes
  }

  mutating func beginRequest() {
    ordinal &+= 1
    judged = ordinal
  }

  /// The request that was judged last is let out by report mode alone.
  private(set) var wouldRefuse = false

  /// `named` is the authority of the request; `path` its request target, in origin form or `*`.
  mutating func judge(
    method: Span<UInt8>, path: Span<UInt8>, named: Target?, pacedSinceMs: UInt64?, ordinal: UInt32,
    _ tick: Tick
  ) -> RequestVerdict {
    wouldRefuse = false
    judged = ordinal
    if let standing { return .refuse(RefusedRequest(refusal: standing, outcome: Outcome(.closed))) }
    guard named == target else {
      return refuse(
        .sniMismatch, tick, ordinal: ordinal, detail: "The request names another authority than the tunnel it is in")
    }
    if tick.isDraining { return refuse(.shutdown, tick, ordinal: ordinal) }
    if tick.isLogUnwritable { return refuse(.logUnwritable, tick, ordinal: ordinal) }
    guard let rule = tick.rule else { return refuse(.notAllowed, tick, ordinal: ordinal) }
    var spelling: [UInt8]?
    if let inspection = rule.inspection {
      switch inspection.judge(method: method, target: path) {
      case .allow(let judged): spelling = judged.map { $0.bytes + path.array(from: $0.queryStart) }
      case .refuse(let reason, let problem):
        guard tick.isReportOnly else { return refuse(reason, tick, ordinal: ordinal, detail: problem.map { "\($0)" }) }
        note(reason, rule)
      }
    }
    return takeToken(rule, path: spelling, pacedSinceMs, tick)
  }

  private mutating func takeToken(
    _ rule: AllowRule, path: [UInt8]?, _ pacedSinceMs: UInt64?, _ tick: Tick
  ) -> RequestVerdict {
    guard let bucket = rule.requests, case .empty(let retryAfterNs) = bucket.take(nowNs: tick.nowNs) else {
      return .allow(path: path)
    }
    if tick.isReportOnly {
      note(.rateLimited, rule)
      return .allow(path: path)
    }
    let waitMs = retryAfterNs / 1_000_000 + 1
    if rule.onLimit == .pace, tick.nowMs + waitMs <= (pacedSinceMs ?? tick.nowMs) + Self.paceMsMax {
      return .pace(untilMs: tick.nowMs + waitMs)
    }
    var verdict = refused(.rateLimited, tick, detail: nil)
    verdict.refusal.retryAfterSeconds = (waitMs + 999) / 1000
    let level = bucket.level(nowNs: tick.nowNs)
    verdict.outcome.bucket = BucketLevel(tokens: level.tokens, capacity: level.capacity, perMinute: level.perMinute)
    return .refuse(record(verdict))
  }

  /// `ordinal`: of a request that was begun before others.
  mutating func refuse(
    _ reason: Reason, _ tick: Tick, ordinal: UInt32? = nil, detail: String? = nil, isHeadTooLarge: Bool = false
  ) -> RequestVerdict {
    judged = ordinal ?? self.ordinal
    var verdict = refused(reason, tick, detail: detail)
    verdict.refusal.isHeadTooLarge = isHeadTooLarge
    return .refuse(record(verdict))
  }

  private func refused(_ reason: Reason, _ tick: Tick, detail: String?) -> RefusedRequest {
    var refusal = Refusal(reason, target: target, client: client)
    refusal.hasRule = tick.rule != nil
    refusal.detail = detail
    if reason == .shutdown || reason == .logUnwritable { refusal.retryAfterSeconds = 1 }
    return RefusedRequest(refusal: refusal, outcome: Outcome(reason.logEvent, reason, line: tick.rule?.line))
  }

  private mutating func record(_ refused: RefusedRequest) -> RefusedRequest {
    var outcome = refused.outcome
    outcome.ordinal = judged
    outcome.explain(refused.refusal.detail)
    outcomes.append(outcome)
    return refused
  }

  /// Report mode lets it out, and writes it down.
  private mutating func note(_ reason: Reason, _ rule: AllowRule) {
    wouldRefuse = true
    var outcome = Outcome(reason == .rateLimited ? .limited : .denied, reason, line: rule.line)
    outcome.wouldDeny = true
    outcome.ordinal = judged
    outcomes.append(outcome)
  }
}

extension Tick {
  func filter(for rule: AllowRule, _ judge: RequestJudge) -> (any RequestFilter)? {
    filters?.filter(
      for: rule,
      FilteredRequest(
        target: judge.target, client: judge.client, ordinal: judge.judged,
        wouldRefuse: judge.wouldRefuse || wouldRefuseTunnel,
        isReportOnly: isReportOnly))
  }
}

extension Span<UInt8> {
  func array(from start: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.append(extracting(droppingFirst: min(start, count)))
    return bytes
  }

  /// Whether these are the bytes of a literal, as they stand.
  func isText(_ literal: StaticString) -> Bool {
    count == literal.utf8CodeUnitCount && equals(literal, at: 0..<count)
  }
}

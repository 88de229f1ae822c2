// A request to the gate itself, answered: what the client may reach, what it was refused, what it asks a person for.
// It relies on GateRequest for what is asked and on GateAnswers for the words.
import Flow
import HTTPService
import Policy
import Wire

extension Connection {
  mutating func answerQuestion() -> Action? {
    guard let question = flow.question else { return flow.handle(.gateFailed, worker.conditions) }
    let answer = self.answer(to: question)
    let bytes = answer.bytes(isHead: question.isHEAD, keepsConnection: question.keepsConnection)
    return flow.answer(question, bytes, worker.conditions)
  }

  private func answer(to question: GateQuestion) -> HTTPAnswer {
    let conditions = worker.conditions.moment
    let owner = worker.conditions.policy.memoryOwner(of: flow.client, source: flow.source)
    switch GateRequest.read(question) {
    case .failure(let problem): return problem.answer
    case .success(let request):
      if let waitMs = worker.shared.refusals.waitMs(of: owner, nowMs: conditions.nowMs) {
        return GateProblem(
          status: 429, code: "rate_limited", message: "Too many questions; ask again later.",
          retryAfterSeconds: Int(clamping: (waitMs + 999) / 1000), wantsText: request.wantsText
        ).answer
      }
      switch request.subject {
      case .guide: return GateAnswers.guide(wantsText: request.wantsText)
      case .policy:
        return GateAnswers.policy(
          flow.client, nowNs: conditions.nowNs, nowUnix: conditions.unixSeconds, waitSeconds: waitSeconds,
          wantsText: request.wantsText)
      case .refusals:
        let notes = worker.shared.refusals.latest(of: owner)
        return GateAnswers.refusals(withStates(notes.map(\.remembered)), wantsText: request.wantsText)
      case .request where waitSeconds == nil, .newRequest where waitSeconds == nil:
        return GateProblem.withoutApprovals(wantsText: request.wantsText).answer
      case .request(let id): return state(of: id, wantsText: request.wantsText)
      case .newRequest(let target, let reason): return ask(for: target, reason, wantsText: request.wantsText)
      }
    }
  }

  /// Nil where nobody is asked.
  private var waitSeconds: Int? {
    worker.conditions.policy.settings.approvals.map { Int(clamping: $0.waitMs / 1000) }
  }

  // MARK: - Requests

  private func ask(for target: Target, _ reason: String?, wantsText: Bool) -> HTTPAnswer {
    switch flow.client.network.judge(target, nowUnix: worker.conditions.unixSeconds) {
    case .allow: return GateAnswers.settled(target, isAllowed: true, nil, wantsText: wantsText)
    case .refuse(.notAllowed, _): break
    case .refuse(let refused, _): return GateAnswers.settled(target, isAllowed: false, refused, wantsText: wantsText)
    }
    let key = ApprovalKey(client: flow.client.name, subject: ApprovalSubject(target))
    let question = ApprovalQuestion(key, reason: .notAllowed, via: "sluice.internal", note: reason)
    let now = ApprovalRegistry.Time.now
    let entry = worker.shared.approvals.change { registry in
      _ = registry.ask(question, by: nil, now)
      return registry.entry(of: key)
    }
    guard let entry else {
      return GateProblem(
        status: 429, code: "too_many", message: "You have as many waiting requests as allowed; ask again later.",
        retryAfterSeconds: 60, wantsText: wantsText
      ).answer
    }
    return GateAnswers.request(entry, status: 202, wantsText: wantsText)
  }

  /// Of this client: to another one an id says nothing.
  private func state(of id: String, wantsText: Bool) -> HTTPAnswer {
    let entry = worker.shared.approvals.change { $0.entry(id) }
    guard let entry, entry.key.client == flow.client.name else {
      return GateProblem(
        status: 404, code: "no_such_request", message: "You have no request with this id, or it ended long ago.",
        wantsText: wantsText
      ).answer
    }
    return GateAnswers.request(entry, status: 200, wantsText: wantsText)
  }

  /// A refused target may wait for an approval, or have one by now.
  private func withStates(_ refusals: [RememberedRefusal]) -> [RememberedRefusal] {
    guard waitSeconds != nil else { return refusals }
    let client = flow.client.name
    return worker.shared.approvals.change { registry in
      refusals.map { refusal in
        guard let target = refusal.target,
          let entry = registry.entry(of: ApprovalKey(client: client, subject: ApprovalSubject(target)))
        else { return refusal }
        var refusal = refusal
        (refusal.request, refusal.state) = (entry.id, entry.state.rawValue)
        return refusal
      }
    }
  }
}

extension GateProblem {
  static func withoutApprovals(wantsText: Bool) -> GateProblem {
    GateProblem(
      status: 404, code: "no_approvals",
      message: "No one can approve: the policy of this gate has no `approvals`. Tell your operator what you need.",
      wantsText: wantsText)
  }
}

extension RefusalMemory.Note {
  var remembered: RememberedRefusal {
    var text: [UInt8] = []
    JSONText.appendHex(flow, to: &text)
    if ordinal > 0 {
      text.append(UInt8(ascii: "-"))
      JSONText.appendDecimal(UInt64(ordinal), to: &text)
    }
    let id = flow == 0 ? "dns" : String(decoding: text, as: UTF8.self)
    return RememberedRefusal(
      id: id, wallMs: wallMs, via: "\(via)", host: host.map { "\($0)" }, port: port, reason: reason,
      target: host.flatMap { host in port.map { Target(host: host, port: $0) } })
  }
}

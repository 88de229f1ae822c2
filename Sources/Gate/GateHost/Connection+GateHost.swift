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
          flow.client, nowNs: conditions.nowNs, nowUnix: conditions.unixSeconds, waitSeconds: nil,
          wantsText: request.wantsText)
      case .refusals:
        let notes = worker.shared.refusals.latest(of: owner)
        return GateAnswers.refusals(notes.map(\.remembered), wantsText: request.wantsText)
      case .request, .newRequest: return GateProblem.withoutApprovals(wantsText: request.wantsText).answer
      }
    }
  }
}

extension GateProblem {
  static func withoutApprovals(wantsText: Bool) -> GateProblem {
    GateProblem(
      status: 404, code: "no_approvals",
      message: "Nobody can be asked: the policy of this gate has no `approvals`. Tell your operator what you need.",
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
      id: id, wallMs: wallMs, via: "\(via)", host: host.map { "\($0)" }, port: port, reason: reason)
  }
}

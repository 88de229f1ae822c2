// What the main thread makes of workers that do not answer: it names them, and does not say that all is well.
import Kernel
import Policy
import Testing
import Wire

@testable import Gate

@Suite struct SilentWorkerTests {
  private func survey(_ workers: Int) throws -> Survey {
    var mailboxes: [Mailbox<WorkerMessage>] = []
    for _ in 0..<workers { mailboxes.append(try Mailbox()) }
    return Survey(mailboxes)
  }

  @Test func aWorkerThatDoesNotAnswerIsNamed() throws {
    let survey = try survey(3)
    var got: Survey.Answers?
    survey.askAll({ .question(.counts, token: $0) }, finish: { got = $0 })
    survey.take(WorkerReport(worker: 1, token: 1, body: .replaced(cut: 2)))
    #expect(got == nil)
    let dueMs = try #require(survey.dueMs)
    survey.runDue(nowMs: dueMs - 1)
    #expect(got == nil, "its time is not over")
    survey.runDue(nowMs: dueMs)
    let answers = try #require(got)
    #expect(answers.silent == [0, 2] && !answers.isWhole && answers.bodies.count == 1)
  }

  @Test func aWorkerThatHasEndedIsNotWaitedForNorNamed() throws {
    let survey = try survey(2)
    var got: Survey.Answers?
    survey.askAll({ .question(.counts, token: $0) }, finish: { got = $0 })
    survey.take(WorkerReport(worker: 0, token: 0, body: .ended(WorkerCounts())))
    survey.take(WorkerReport(worker: 1, token: 1, body: .replaced(cut: 0)))
    let answers = try #require(got)
    #expect(answers.silent.isEmpty)
  }

  @Test func aReloadThatAWorkerDidNotTakeIsNoSuccess() {
    var reloaded = Reloaded(policy: .denyAll, change: ReloadSummary(from: .denyAll, to: .denyAll), messages: [])
    #expect(reloaded.json["ok"]?.asBool == true && reloaded.silence == nil)
    reloaded.silent = [1]
    let json = reloaded.json
    #expect(json["ok"]?.asBool == false)
    #expect(json["error"]?.asText?.hasPrefix("worker 1 did not take policy 0000000000000000 within 5 s") == true)
    #expect(json["silent_workers"]?.asList.count == 1)
  }
}

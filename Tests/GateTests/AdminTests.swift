// Requests of the admin socket, counters, and how answers of workers are put together.

import Flow
import Kernel
import Policy
import Testing
import Wire

@testable import Gate

@Suite struct AdminRequestTests {
  private func parse(_ text: String) throws -> AdminRequest { try AdminRequest.parse(Array(text.utf8)) }

  @Test func everyCommandIsRead() throws {
    #expect(try parse(#"{"command":"status"}"#) == .status)
    #expect(try parse(#"{"command":"metrics"}"#) == .metrics)
    #expect(try parse(#" {"command" : "reload"} "#) == .reload)
    #expect(try parse(#"{"command":"drain"}"#) == .drain)
    #expect(try parse(#"{"command":"detach"}"#) == .detach)
    #expect(try parse(#"{"command":"tunnels"}"#) == .tunnels(max: 1000))
    #expect(try parse(#"{"command":"tunnels","limit":7}"#) == .tunnels(max: 7))
    #expect(try parse(#"{"command":"close","id":"1f"}"#) == .close(id: 31, ordinal: nil))
    #expect(try parse(#"{"command":"close","id":"1f-2"}"#) == .close(id: 31, ordinal: 2))
    #expect(
      try parse(#"{"command":"client","name":"a","probe":"P.example"}"#)
        == .client(name: "a", probe: try HostName("p.example")))
    #expect(
      try parse(#"{"command":"attach","name":"a","listeners":["connect","dns-udp"],"more":true,"probing":true}"#)
        == .attach(
          name: "a", listeners: [AttachedListener(.connect, .stream), AttachedListener(.dns, .datagram)], hasMore: true,
          isProbing: true)
    )
  }

  @Test(arguments: [
    ("", "no JSON"), ("status", "no JSON"), ("[]", "with `command`"), ("{}", "with `command`"),
    (#"{"command":1}"#, "with `command`"), (#"{"command":"stop"}"#, "no such command"),
    (#"{"command":"status","x":1}"#, "takes nothing"), (#"{"command":"tunnels","max":1}"#, "takes limit"),
    (#"{"command":"tunnels","limit":0}"#, "1 to 10000"), (#"{"command":"tunnels","limit":10001}"#, "1 to 10000"),
    (#"{"command":"tunnels","limit":"9"}"#, "1 to 10000"), (#"{"command":"close"}"#, "`id`"),
    (#"{"command":"close","id":31}"#, "`id`"), (#"{"command":"close","id":""}"#, "`id`"),
    (#"{"command":"close","id":"1F"}"#, "`id`"), (#"{"command":"close","id":"-1"}"#, "`id`"),
    (#"{"command":"close","id":"1-"}"#, "`id`"), (#"{"command":"close","id":"1-+1"}"#, "`id`"),
    (#"{"command":"close","id":"11111111111111111"}"#, "`id`"), (#"{"command":"client","name":"a"}"#, "`probe`"),
    (#"{"command":"client","name":"a b","probe":"a"}"#, "`name`"),
    (#"{"command":"client","name":"a","probe":"1"}"#, "`probe`"),
    (#"{"command":"attach","name":"default","listeners":["dns"]}"#, "`name`"),
    (#"{"command":"attach","name":"a","listeners":[]}"#, "`listeners`"),
    (#"{"command":"attach","name":"a","listeners":["udp"]}"#, "a listener is"),
    (#"{"command":"attach","name":"a","listeners":["dns"],"more":1}"#, "`more`"),
    (#"{"command":"attach","name":"a","listeners":["dns"],"probing":"x"}"#, "`probing`"),
  ])
  func aBadRequestSaysWhatIsWrong(text: String, says: String) {
    do {
      Issue.record("read as \(try parse(text))")
    } catch let problem as AdminProblem {
      #expect(problem.text.contains(says), "\(problem.text)")
    } catch {
      Issue.record("another error: \(error)")
    }
  }
}

@Suite struct CountersTests {
  @Test func linesAreCountedByEventAndReasonAndAddedUp() {
    var (one, other) = (Counters(), Counters())
    one.count(.denied, .notAllowed)
    one.count(.denied, .notAllowed)
    one.count(.closed, nil)
    one.count(.closed, .shutdown)
    one.count(.denied, .loop, wouldDeny: true)
    for _ in 0..<3 { one.countTunnel(.connect) }
    other.count(.denied, .logUnwritable)
    other.count(.policy, nil)
    other.requests = 4
    one += other
    #expect(one.lines(.denied) == 3 && one.lines(.closed) == 2 && one.lines(.limited) == 0 && one.lines(.policy) == 1)
    #expect(one.reasons(of: .denied).map(\.reason) == [.notAllowed, .logUnwritable])
    #expect(one.reasons(of: .denied).map(\.count) == [2, 1])
    #expect(one.reasons(of: .closed).map(\.reason) == [.shutdown])
    #expect(one.wouldDeny == 1 && one.tunnels == 3 && one.requests == 4)
  }

  @Test func everyReasonHasAColumnOfItsOwn() {
    #expect(Set(Reason.allCases.map(\.column)) == Set(Reason.allCases.indices))
    for event in LogEvent.allCases {
      for reason in Reason.allCases {
        var counters = Counters()
        counters.count(event, reason)
        #expect(counters.reasons(of: event).map(\.reason) == [reason])
        #expect(LogEvent.allCases.allSatisfy { counters.lines($0) == ($0 == event ? 1 : 0) })
      }
    }
  }
}

@Suite struct SurveyTests {
  private func survey() throws -> (Survey, [Mailbox<WorkerMessage>]) {
    let mailboxes = [try Mailbox<WorkerMessage>(), try Mailbox<WorkerMessage>()]
    return (Survey(mailboxes), mailboxes)
  }

  /// The tokens that a worker was asked under.
  private func tokens(_ mailbox: Mailbox<WorkerMessage>) -> [UInt64] {
    mailbox.drain().compactMap { if case .question(_, let token) = $0 { token } else { nil } }
  }

  @Test func answersOfTwoQuestionsAreNotMixed() throws {
    let (survey, mailboxes) = try survey()
    var said: [String] = []
    for word in ["a", "b"] {
      survey.askAll({ .question(.counts, token: $0) }) { answers in
        said.append("\(word)\(answers.bodies.count)\(answers.isWhole)")
      }
    }
    let (first, second) = (tokens(mailboxes[0]), tokens(mailboxes[1]))
    #expect(first == second && first.count == 2)
    survey.take(WorkerReport(worker: 0, token: first[1], body: .closed(false)))
    survey.take(WorkerReport(worker: 0, token: first[1], body: .closed(true)))
    survey.take(WorkerReport(worker: 0, token: first[0], body: .closed(false)))
    #expect(said == [])
    survey.take(WorkerReport(worker: 1, token: first[1], body: .closed(false)))
    #expect(said == ["b2true"])
    survey.take(WorkerReport(worker: 1, token: first[0], body: .closed(false)))
    survey.take(WorkerReport(worker: 1, token: first[0], body: .closed(false)))
    #expect(said == ["b2true", "a2true"])
  }

  @Test func aWorkerThatHasEndedIsNotWaitedFor() throws {
    let (survey, mailboxes) = try survey()
    var whole: [Int] = []
    survey.askAll({ .question(.counts, token: $0) }) { whole.append($0.bodies.count) }
    let token = try #require(tokens(mailboxes[0]).first)
    survey.take(WorkerReport(worker: 0, token: token, body: .closed(true)))
    var counts = WorkerCounts()
    for _ in 0..<5 { counts.counters.countTunnel(.tls) }
    survey.take(WorkerReport(worker: 1, token: 0, body: .ended(counts)))
    #expect(whole == [1] && survey.retired.counters.tunnels == 5)
    survey.askAll({ .question(.counts, token: $0) }) { whole.append($0.bodies.count) }
    #expect(tokens(mailboxes[1]).count == 1, "only the first question reached it")
    survey.take(WorkerReport(worker: 0, token: 0, body: .ended(WorkerCounts())))
    #expect(whole == [1, 0])
    // Nobody is left to answer.
    survey.askAll({ .question(.counts, token: $0) }) { whole.append($0.isWhole ? 9 : 8) }
    #expect(whole == [1, 0, 8])
  }
}

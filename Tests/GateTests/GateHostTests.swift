// The pages of `sluice.internal`: which requests there are, and that a client hears of itself only.

import Flow
import Foundation
import HTTPService
import Policy
import Testing
import Wire

@testable import Gate

@Suite struct GateHostTests {
  private func question(
    _ method: String, _ path: String, accept: String = "*/*", origin: String? = nil, body: String = ""
  ) -> GateQuestion {
    var question = GateQuestion(keepsConnection: true)
    (question.method, question.path) = (Array(method.utf8), Array(path.utf8))
    (question.accept, question.body) = (Array(accept.utf8), Array(body.utf8))
    question.origin = origin.map { Array($0.utf8) }
    question.isHEAD = method == "HEAD"
    return question
  }

  private func status(_ question: GateQuestion) -> Int {
    switch GateRequest.read(question) {
    case .success: 200
    case .failure(let problem): problem.status
    }
  }

  @Test(arguments: [
    ("GET", "/", 200), ("HEAD", "/policy", 200), ("GET", "/policy?x=1", 200), ("GET", "/refusals", 200),
    ("GET", "/requests/abc", 200), ("POST", "/policy", 405), ("DELETE", "/refusals", 405), ("GET", "/requests", 405),
    ("GET", "/other", 404), ("GET", "/requests/a/b", 404), ("POST", "/requests", 400),
  ])
  func eachPageHasItsMethods(method: String, path: String, expected: Int) {
    #expect(status(question(method, path)) == expected)
  }

  @Test func textIsForWhoAsksForItAlone() throws {
    func isText(_ path: String, _ accept: String) throws -> Bool {
      try GateRequest.read(question("GET", path, accept: accept)).get().wantsText
    }
    #expect(try !isText("/policy", "*/*"))
    #expect(try isText("/policy", "Text/Plain;q=0.5"))
    #expect(try !isText("/policy", "text/plain, application/json"))
    // The guide is a page.
    #expect(try isText("/", "*/*"))
    #expect(try !isText("/", "application/json"))
  }

  @Test(arguments: [
    (#"{"target":"a.example:443","reason":"why"}"#, 200), (#"{"target":"[2001:db8::1]:443"}"#, 200),
    (#"{"target":"a.example"}"#, 400), (#"{"target":"a.example:0"}"#, 400), (#"{"target":1}"#, 400),
    (#"{"target":"a.example:443","reason":1}"#, 400), (#"{"target":"a.example:443","more":"x"}"#, 400),
    (#"{"target":"sluice.internal:80"}"#, 400), ("[]", 400), ("{", 400), ("", 400),
    (#"{"target":"a.example:443","reason":"\#(String(repeating: "x", count: 501))"}"#, 400),
  ])
  func aRequestNamesATargetAndAReason(body: String, expected: Int) {
    #expect(status(question("POST", "/requests", body: body)) == expected)
  }

  @Test func theTargetIsReadAsAConnectReadsIt() throws {
    let body = #"{"target":"A.Example.:443","reason":"\u202Ewhy"}"#
    let request = try GateRequest.read(question("POST", "/requests", body: body)).get()
    guard case .newRequest(let target, let reason) = request.subject else {
      Issue.record("\(request)")
      return
    }
    #expect("\(target)" == "a.example:443" && reason == "\u{202e}why")
  }

  @Test func aPageOfAnotherSiteIsToldNothing() {
    #expect(status(question("GET", "/policy", origin: "http://evil.example")) == 403)
    #expect(status(question("GET", "/policy", origin: "null")) == 403)
    #expect(status(question("GET", "/policy", origin: "http://sluice.internal")) == 200)
  }

  // MARK: - Refusals

  private func note(_ port: UInt16) -> RefusalMemory.Note {
    var note = RefusalMemory.Note(wallMs: 0, via: "connect", reason: .notAllowed)
    (note.flow, note.port) = (UInt64(port), port)
    return note
  }

  @Test func theLatestRefusalsAreKeptForEachClient() {
    let memory = RefusalMemory()
    let (one, other) = (ShareOwner(client: "one"), ShareOwner(client: "other"))
    memory.add(note(9), of: other, nowMs: 0)
    for port in 1...120 { memory.add(note(UInt16(port)), of: one, nowMs: 0) }
    #expect(memory.latest(of: one).map(\.port) == (71...120).reversed().map { UInt16($0) })
    #expect(memory.latest(of: other).map(\.port) == [9])
    memory.forget(one)
    #expect(memory.latest(of: one).isEmpty && memory.latest(of: other).count == 1)
  }

  @Test func clientsAreBoundedAndTheLatestStay() {
    let memory = RefusalMemory()
    for index in 0...RefusalMemory.clientsMax {
      memory.add(note(1), of: ShareOwner(client: "\(index)"), nowMs: UInt64(index))
    }
    #expect(memory.latest(of: ShareOwner(client: "0")).isEmpty)
    #expect(memory.latest(of: ShareOwner(client: "\(RefusalMemory.clientsMax)")).count == 1)
  }

  @Test func questionsAreLimitedForEachClient() {
    let memory = RefusalMemory()
    let (one, other) = (ShareOwner(client: "one"), ShareOwner(client: "other"))
    for _ in 0..<RefusalMemory.questionsAtOnce { #expect(memory.waitMs(of: one, nowMs: 1000) == nil) }
    #expect(memory.waitMs(of: one, nowMs: 1000) == RefusalMemory.questionMs)
    #expect(memory.waitMs(of: other, nowMs: 1000) == nil)
    #expect(memory.waitMs(of: one, nowMs: 1000 + RefusalMemory.questionMs) == nil)
    #expect(memory.waitMs(of: one, nowMs: 1000 + RefusalMemory.questionMs) == RefusalMemory.questionMs)
  }

  // MARK: - Words

  @Test func theGuideIsThePageOfTheDocuments() throws {
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let page = try String(contentsOf: root.appending(path: "docs/for-agents.md"), encoding: .utf8)
    #expect(page == AgentGuide.text, "copy docs/for-agents.md into Sources/Gate/GateHost/AgentGuide.swift")
  }
}

// The page of approvals: who may decide, and that nothing a client wrote passes for the gate's own words.
import Policy
import Testing
import Wire

@testable import Dashboard

@Suite struct ApprovalPageTests {
  private func ask(_ text: String, open: String? = nil) throws -> ApprovalRequest? {
    let bytes = Array(text.replacing("\n", with: "\r\n").utf8)
    var head = RequestHead()
    guard case .complete = head.parse(bytes.span, bytesMax: PageRules.headBytesMax) else {
      Issue.record("malformed: \(text)")
      return nil
    }
    return ApprovalRequest(head, bytes.span) { $0 == open }
  }

  private func request(_ method: String, _ path: String, _ more: String...) -> String {
    "\(method) \(path) HTTP/1.1\nHost: 127.0.0.1:9797\n" + more.map { "\($0)\n" }.joined() + "\n"
  }

  private static let cookie = "Cookie: other=x; sluice_approvals=secret"
  private static let origin = "Origin: http://127.0.0.1:9797"

  private func status(_ request: ApprovalRequest?) -> Int {
    if case .problem(let status, _)? = request { status } else { 200 }
  }

  @Test func aDecisionNeedsASessionAndThePageItself() throws {
    let path = "/approvals/approve?id=abcde&for=once"
    let own = try ask(request("POST", path, Self.cookie, Self.origin, "Sec-Fetch-Site: same-origin"), open: "secret")
    #expect(own == .approve(id: "abcde", grant: "once"))
    #expect(try status(ask(request("POST", path, Self.cookie, Self.origin))) == 403)
    #expect(try status(ask(request("POST", path, Self.origin), open: "secret")) == 403)
    #expect(try status(ask(request("POST", path, Self.cookie), open: "secret")) == 403)
    for origin in ["http://127.0.0.1:9798", "http://evil.example", "https://127.0.0.1:9797", "null"] {
      #expect(try status(ask(request("POST", path, Self.cookie, "Origin: \(origin)"), open: "secret")) == 403)
    }
    #expect(
      try status(ask(request("POST", path, Self.cookie, Self.origin, "Sec-Fetch-Site: same-site"), open: "secret"))
        == 403)
  }

  @Test func nothingIsDecidedByGetAndTheListNeedsASession() throws {
    for path in ["/approvals/approve?id=abcde&for=once", "/approvals/refuse?id=abcde"] {
      #expect(try ask(request("GET", path, Self.cookie), open: "secret") == .wrongMethod(allowed: "POST"))
    }
    #expect(try ask(request("GET", "/approvals/list", Self.cookie), open: "secret") == .list)
    #expect(try status(ask(request("GET", "/approvals/list"), open: "secret")) == 403)
    #expect(try ask(request("GET", "/approvals?token=abc")) == .open(token: "abc"))
    #expect(try ask(request("GET", "/approvals")) == nil && ask(request("GET", "/figures")) == nil)
  }

  @Test func onlyKnownGrantsAndIDsAreTaken() throws {
    for path in [
      "/approvals/approve?id=abcde&for=forever", "/approvals/approve?id=abcde", "/approvals/approve?for=once",
      "/approvals/approve?id=ab%20cd&for=once", "/approvals/refuse?id=",
    ] {
      #expect(try status(ask(request("POST", path, Self.cookie, Self.origin), open: "secret")) == 400, "\(path)")
    }
    #expect(
      try ask(request("POST", "/approvals/refuse?id=abcde&always=1", Self.cookie, Self.origin), open: "secret")
        == .refuse(id: "abcde", isAlways: true))
    #expect(
      try ask(request("POST", "/approvals/release?id=abcde", Self.cookie, Self.origin), open: "secret")
        == .release(id: "abcde"))
  }

  @Test func flaggedContentIsShownInTheGatesOwnWords() throws {
    let line = try JSONValue.parse(
      Array(
        #"{"approval":{"id":"abcde","state":"waiting","content":"answer","host":"x.test","port":443,"found":["a-b"],"excerpt":"a\u001b[2J\u202e"}}"#
          .utf8))
    let entry = try #require(ApprovalWords.entries([line], trusted: []).first)
    #expect(
      entry["allows"]?.asText?.hasPrefix("Lets in an answer that reads like instructions to an agent: a-b.") == true)
    #expect(entry["excerpt"]?.asText == #"a\u{1b}[2J\u{202e}"# && entry["content"]?.asText == "answer")
  }

  // MARK: - Sessions

  @Test func aTokenOpensOneSessionWhichEnds() {
    var count = 0
    var sessions = ApprovalSessions {
      count += 1
      return "text\(count)"
    }
    let first = sessions.token
    #expect(sessions.open(with: "other", nowMs: 0) == nil)
    guard let secret = sessions.open(with: first, nowMs: 0) else {
      Issue.record("the token opens a session")
      return
    }
    #expect(sessions.open(with: first, nowMs: 0) == nil && sessions.token != first)
    #expect(sessions.isOpen(secret, nowMs: ApprovalSessions.sessionMs - 1))
    #expect(!sessions.isOpen(secret, nowMs: ApprovalSessions.sessionMs) && !sessions.isOpen(first, nowMs: 0))
  }

  @Test func tokensAreLongAndDiffer() {
    let all = Set((0..<100).map { _ in ApprovalSessions.random() })
    #expect(all.count == 100 && all.allSatisfy { $0.utf8.count == 64 })
    #expect(ApprovalSessions.value(in: "a=b; sluice_approvals=c=d") == "c=d")
    #expect(ApprovalSessions.value(in: "xsluice_approvals=c") == nil)
  }

  // MARK: - Words

  private func entry(_ text: String, trusted: [String] = []) throws -> JSONValue {
    let line = JSONValue.object([JSONMember("approval", try JSONValue.parse(Array(text.utf8)))])
    return try #require(try ApprovalWords.entries([line], trusted: trusted.map { try HostName($0) }).first)
  }

  @Test func whatAClientWroteIsHarmlessText() throws {
    let shown = try entry(
      #"{"id":"abcde","client":"c","host":"a.example","port":443,"state":"waiting","note":"\u202Egnp.exe\u001b[2J\n<b>\u200b"}"#
    )
    #expect(shown["note"]?.asText == #"\u{202e}gnp.exe\u{1b}[2J\u{a}<b>\u{200b}"#)
    #expect(shown["owner"]?.asText == "a.example" && shown["allows"]?.asText?.contains("does not look inside") == true)
  }

  @Test func lookAlikesOfWhatIsAllowedAreWarnedOf() throws {
    let one = #"{"id":"abcde","client":"c","host":"api.modelhost.example","port":443,"state":"waiting"}"#
    #expect(try entry(one)["warnings"]?.asList == [])
    let warned = try entry(
      one.replacing("modelhost.", with: "mode1host."), trusted: ["api.modelhost.example", "modelhost.example"])
    #expect(warned["warnings"]?.asList.isEmpty == false)
    let address = #"{"id":"abcde","client":"c","host":"93.184.216.34","port":22,"state":"waiting"}"#
    #expect(try entry(address)["warnings"]?.asList.isEmpty == false)
    #expect(try entry(address)["allows"]?.asText?.contains("(SSH)") == true)
  }
}

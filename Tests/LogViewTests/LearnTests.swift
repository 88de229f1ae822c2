// A policy out of a log: what it proposes, what it leaves out, and what it warns of.
import LogView
import Policy
import PolicyFile
import Testing
import Wire

/// A log as lines of `key=value` in short: event, host:port, then further JSON fields.
private func traffic(_ lines: [String]) throws -> Traffic {
  var traffic = Traffic()
  for (index, text) in lines.enumerated() {
    let time = "2026-11-25T13:\(10 + index / 60):\(10 + index % 50).000Z"
    traffic.add(try #require(read(#"{"v":1,"time":"\#(time)",\#(text)}"#), "\(text)"))
  }
  return traffic
}

private func seen(_ event: String, _ host: String, _ port: Int = 443, client: String = "agent", _ more: String = "")
  -> String
{
  #""event":"\#(event)","client":"\#(client)","via":"connect","host":"\#(host)","port":\#(port)\#(more)"#
}

private func closed(_ host: String, _ port: Int = 443, client: String = "agent", at address: String = "93.184.216.34")
  -> String
{
  seen(
    "closed", host, port, client: client, #","address":"\#(address)","bytes_up":100,"bytes_down":2000,"duration_ms":10"#
  )
}

private func refused(_ host: String, _ port: Int = 443, _ reason: String = "not_allowed", _ more: String = "") -> String
{
  seen(reason == "rate_limited" ? "limited" : "denied", host, port, #","reason":"\#(reason)"\#(more)"#)
}

private func policy(_ text: String) throws -> Policy {
  let loaded = PolicyFile.parse(bytes: Array(text.utf8), name: "policy.yaml")
  return try #require(loaded.policy, "\(loaded.problems): \(text)")
}

private func allows(_ policy: Policy, _ target: String) throws -> Bool {
  let target = try Authority.parse(Array(target.utf8).span, defaultPort: nil)
  if case .allow = policy.fallback.network.judge(target, nowUnix: 0) { return true }
  return false
}

@Suite struct LearnTests {
  private func learn(_ lines: [String], _ change: (inout ProposalOptions) throws -> Void = { _ in }) throws -> (
    text: String, policy: Policy
  ) {
    var options = ProposalOptions()
    try change(&options)
    let text = Proposal(try traffic(lines), options, nowUnix: 0).text
    return (text, try policy(text))
  }

  @Test func whatWasSeenIsAllowedAndNothingElse() throws {
    let (text, learned) = try learn([
      closed("api.example.com"), closed("api.example.com"), refused("new.example.com", 8443),
      closed("plain.example.com", 80),
      seen("failed", "down.example.com", 443, #","reason":"connect_failed""#),
    ])
    for target in ["api.example.com:443", "new.example.com:8443", "plain.example.com:80", "down.example.com:443"] {
      #expect(try allows(learned, target), "\(target)\n\(text)")
    }
    for target in [
      "api.example.com:80", "www.example.com:443", "new.example.com:443", "example.com:443", "evil.example:443",
    ] {
      #expect(try !allows(learned, target), "\(target)")
    }
    #expect(text.contains("# seen 2 times from agent; 200B up, 3.9KiB down\n    - api.example.com:443"))
    #expect(text.contains("# seen 1 time from agent; 1 refused\n    - new.example.com:8443"))
  }

  @Test func anEmptyLogIsAPolicyThatDeniesAll() throws {
    let (text, learned) = try learn([])
    #expect(learned.fallback.network.allow.isEmpty && text.contains("allow: []"))
  }

  @Test func ratesHaveHeadroom() throws {
    let (text, learned) = try learn((0..<40).map { _ in closed("api.example.com") } + [closed("b.example.com")])
    #expect(text.contains("requests_per_minute: 80}  # at most 40 in a minute, times 2"))
    #expect(learned.fallback.network.allow.map { $0.requests?.perMinute } == [80, 2])
    #expect(
      try learn([closed("b.example.com")]) { $0.headroom = 5 }.policy.fallback.network.allow[0].requests?.perMinute == 5
    )
    let many = try learn((0..<50).map { _ in closed("a.example.com") }) { $0.headroom = 3 }
    #expect(many.policy.fallback.network.allow[0].requests?.perMinute == 150)
  }

  /// A tunnel counts when it began, a request that report mode let out counts once.
  @Test func requestsCountOnce() throws {
    let note = refused("api.example.com", 443, "not_allowed", #","would_deny":true"#)
    let (text, learned) = try learn([note, note, closed("api.example.com"), closed("api.example.com")])
    #expect(text.contains("seen 2 times from agent") && learned.fallback.network.allow[0].requests?.perMinute == 4)
    // Five tunnels that end in one minute and began an hour apart.
    let long = (0..<5).map {
      closed("b.example.com").replacing(#""duration_ms":10"#, with: #""duration_ms":\#($0 * 3_600_000)"#)
    }
    #expect(try learn(long).policy.fallback.network.allow[0].requests?.perMinute == 2)
  }

  @Test func whatARuleDeniesIsNotProposed() throws {
    let (text, learned) = try learn([
      refused("bad.example.com", 443, "denied_by_rule", #","would_deny":true"#), closed("bad.example.com"),
      refused("old.example.com", 443, "expired"), refused("self.example.com", 3128, "loop"),
      refused("odd.example.com", 443, "sni_mismatch"), closed("good.example.com"),
    ])
    #expect(learned.fallback.network.allow.count == 1)
    for host in ["bad", "old", "self", "odd"] { #expect(text.contains("# \(host).example.com"), "\(host)") }
  }

  @Test func privateAddressesAreListed() throws {
    let (_, learned) = try learn([
      closed("db.corp.example", 5432, at: "10.20.0.7"), closed("store.internal", 6333, at: "10.1.1.1"),
    ])
    let rules = learned.fallback.network.allow
    #expect(rules.map { $0.addresses.map { "\($0)" } } == [["10.20.0.7/32"], []])
  }

  @Test(arguments: [
    ("93.184.216.34", "raw address"), ("[2001:db8::7]", "raw address"), ("dns.google", "resolver over HTTPS"),
    ("x.ngrok-free.app", "tunnelling"), ("abc.oast.fun", "collects requests"), ("pastebin.com", "files or texts"),
    ("a.b.ngrok.dev", "tunnelling"), ("family.adguard-dns.com", "resolver over HTTPS"), ("x.ply.gg", "tunnelling"),
    ("api.openal.com", "looks like openai.com"), ("api.0penai.com", "looks like openai.com"),
    ("g1thub.com", "looks like github.com"),
    ("githb.com", "one letter away from github.com"), ("api.anthorpic.com", "one letter away from anthropic.com"),
    ("xn--penai-iye.com", "looks like openai.com"), ("github.com.evil.example", "begins like github.com"),
    ("nbswy3dpo5xxe3denbswy3dp.example.com", "looks random"),
    ("a94a8fe5ccb19ba61c4c0873d391e987982fbbd3.example.com", "looks random"),
  ])
  func warnings(_ host: String, _ text: String) throws {
    let learned = try learn([closed(host), closed("good.example.com")])
    #expect(learned.text.contains("# WARNING: "), "\(host)")
    #expect(learned.text.contains(text), "\(host): \(learned.text)")
    #expect(learned.policy.fallback.network.allow.count == 1, "commented out")
    let live = try learn([closed(host), closed("good.example.com")]) { $0.includesSuspect = true }
    #expect(live.policy.fallback.network.allow.count == 2 && live.text.contains("# WARNING: "))
    #expect(live.policy.fallback.network.allow.allSatisfy { $0.requests != nil })
  }

  @Test(arguments: [
    "api.openai.com", "www.github.com", "status.anthropic.com", "objects.githubusercontent.com",
    "files-eu-west-1.example.com",
    "my-long-but-plain-service-name.example.com", "example.co.uk", "d2l5kr5qzw.cloudfront.example", "opened.com",
  ])
  func noWarning(_ host: String) throws { #expect(try !learn([closed(host)]).text.contains("WARNING"), "\(host)") }

  @Test func loopbackAndManyNamesAreWarnedOf() throws {
    #expect(try learn([closed("meta.example.com", 80, at: "169.254.169.254")]).text.contains("is link-local"))
    let names = (0..<60).map { closed("n\($0).leak.example") }
    #expect(try learn(names).text.contains("names or more below leak.example"))
  }

  @Test func wildcardsOnlyWhereAsked() throws {
    let lines =
      ["a", "b", "c"].map { closed("\($0).cdn.example.com") } + ["x", "y", "z"].map { closed("\($0).github.io") }
      + ["p", "q", "r"].map { closed("\($0).co.uk") } + ["l", "m"].map { closed("\($0).two.example.com") }
    #expect(try !learn(lines).text.contains("*"))
    let (text, learned) = try learn(lines) { $0.usesWildcards = true }
    #expect(
      learned.fallback.network.allow.filter { "\($0.pattern)".hasPrefix("*") }.map { "\($0.pattern)" } == [
        "*.cdn.example.com"
      ])
    #expect(text.contains("# for a.cdn.example.com, b.cdn.example.com, c.cdn.example.com"))
    #expect(try allows(learned, "d.cdn.example.com:443") && allows(learned, "x.github.io:443"))
    #expect(try !allows(learned, "w.github.io:443") && !allows(learned, "s.co.uk:443"))
  }

  @Test func onlyWhatIsNew() throws {
    let base = try policy(
      """
      network_policy:
        allow: [api.example.com:443, unused.example.com:443]
        rate_limits: [{host: "*", requests_per_minute: 5}]
      clients: [{name: other, source: [10.0.0.0/8], network_policy: {allow: [other.example.com:443]}}]
      """)
    let lines =
      [closed("api.example.com"), refused("api.example.com", 443, "rate_limited"), refused("new.example.com")]
      + [closed("other.example.com", client: "other"), closed("api.example.com", client: "other")]
    let (text, learned) = try learn(lines) { $0.base = base }
    #expect(
      learned.fallback.network.allow.map { "\($0.pattern)" } == ["api.example.com", "new.example.com"], "\(text)")
    #expect(text.contains("limited 1 time for agent, by policy.yaml:3:17 (5 a minute, burst 5)"))
    #expect(text.contains("unused.example.com:443 was not used"))
    // Names that a policy allows are worth imitating too.
    #expect(try learn([refused("unuzed.exarnple.com")]) { $0.base = base }.text.contains("looks like example.com"))
  }

  @Test func namesWithoutAPortAreToldOf() throws {
    let query = #""event":"denied","client":"agent","via":"dns","host":"asked.example","reason":"not_allowed""#
    let (text, learned) = try learn([query, query])
    #expect(
      text.contains("# asked.example: asked for by DNS alone (2 times)") && learned.fallback.network.allow.isEmpty)
  }

  @Test(arguments: TerminalTextTests.hostile) func hostileTextsStayComments(_ bytes: [UInt8]) throws {
    var client: [UInt8] = []
    JSONText.appendString(bytes + Array("\nallow: [evil.example:443]".utf8), to: &client)
    let name = String(decoding: client, as: UTF8.self)
    let (text, learned) = try learn([
      #""event":"closed","client":\#(name),"host":"good.example.com","port":443"#,
      #""event":"closed","host":\#(name),"port":443"#,
    ])
    #expect(learned.fallback.network.allow.count == 1)
    #expect(text.utf8.allSatisfy { $0 == 0x0a || (0x20..<0x7f).contains($0) })
  }
}

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

  @Test func ratesHaveHeadroomAndAFloor() throws {
    let (text, learned) = try learn((0..<40).map { _ in closed("api.example.com") } + [closed("b.example.com")])
    #expect(text.contains("requests_per_minute: 200, burst: 20}  # at most 40 in a minute, 1 in a second"))
    #expect(learned.fallback.network.allow.map { $0.requests?.perMinute } == [200, 60])
    #expect(learned.fallback.network.allow.map { $0.requests?.burst } == [20, 20])
    let many = try learn((0..<50).map { _ in closed("a.example.com") }) { $0.headroom = 3 }
    #expect(many.policy.fallback.network.allow[0].requests?.perMinute == 150)
    // Without much headroom the whole minute may come at once.
    #expect(many.policy.fallback.network.allow[0].requests?.burst == 150)
  }

  @Test func aBurstComesFromTheDensestSecond() throws {
    let note = refused("api.example.com", 443, "not_allowed", #","would_deny":true,"repeated":29"#)
    let bucket = try #require(try learn([note, closed("api.example.com")]).policy.fallback.network.allow[0].requests)
    #expect(bucket.perMinute == 150 && bucket.burst == 150)
    let spread = try learn((0..<2).map { _ in note } + (0..<30).map { _ in closed("api.example.com") })
    #expect(spread.policy.fallback.network.allow[0].requests.map { [$0.perMinute, $0.burst] } == [300, 150])
  }

  /// A tunnel counts when it began, a request that report mode let out counts once.
  @Test func requestsCountOnce() throws {
    let note = refused("api.example.com", 443, "not_allowed", #","would_deny":true"#)
    let (text, _) = try learn((0..<30).flatMap { _ in [note, closed("api.example.com")] })
    #expect(text.contains("seen 30 times from agent"))
    // Fifty tunnels that end in one minute and began an hour apart.
    let long = (0..<50).map {
      closed("b.example.com").replacing(#""duration_ms":10"#, with: #""duration_ms":\#($0 * 3_600_000)"#)
    }
    let (once, learned) = try learn(long)
    #expect(once.contains("at most 1 in a minute") && learned.fallback.network.allow[0].requests?.perMinute == 60)
  }

  @Test func adviceIsNeverLessThanWhatIsSet() throws {
    let limited = refused(
      "api.example.com", 443, "rate_limited", #","tokens":0,"capacity":700,"per_minute":900"#)
    let bucket = try #require(try learn([limited]).policy.fallback.network.allow[0].requests)
    #expect(bucket.perMinute >= 900 && bucket.burst >= 700)
  }

  @Test(arguments: [
    // One second holds more than the burst, and no minute more than the rate: only the burst was too low.
    (rate: 600, burst: 10, inSecond: 30, expected: "requests_per_minute: 600, burst: 150", part: "burst"),
    // A minute holds more than the rate, no second more than the burst.
    (rate: 20, burst: 20, inSecond: 1, expected: "requests_per_minute: 250}", part: "rate"),
    (rate: 20, burst: 15, inSecond: 1, expected: "requests_per_minute: 250, burst: 15", part: "rate"),
    // Neither alone was too low: several dense seconds in a row.
    (rate: 600, burst: 400, inSecond: 30, expected: "requests_per_minute: 600, burst: 800", part: "burst"),
  ])
  func burstAndRateAreTwoThings(rate: Int, burst: Int, inSecond: Int, expected: String, part: String) throws {
    let base = try policy(
      """
      network_policy:
        allow: [api.example.com:443]
        rate_limits: [{host: "*", requests_per_minute: \(rate), burst: \(burst), concurrent: 7}]
      """)
    let repeated = #","repeated":\#(inSecond - 1)"#
    let lines =
      (0..<(50 - inSecond)).map { _ in closed("api.example.com") }
      + [refused("api.example.com", 443, "rate_limited", repeated)]
    let (text, _) = try learn(lines) { $0.base = base }
    #expect(text.contains("by the \(part) of policy.yaml:3:17"), "\(text)")
    #expect(
      text.contains("{host: api.example.com:443, \(expected.dropLast(expected.hasSuffix("}") ? 1 : 0))"), "\(text)")
    // The new entry displaces the old one whole.
    #expect(text.contains("concurrent: 7}"))
  }

  @Test func aWrongPasswordOrAProbeIsNoProposal() throws {
    let (text, learned) = try learn([
      refused("api.example.com", 443, "not_authenticated"),
      refused("probe.example.com", 443, "not_allowed", #","probe":true"#),
      refused("good.example.com"),
    ])
    #expect(learned.fallback.network.allow.map { "\($0.pattern)" } == ["good.example.com"])
    #expect(text.contains("# api.example.com:443: refused for another reason than its rule (not_authenticated)"))
    #expect(!text.contains("probe"))
  }

  @Test(arguments: [
    ("secret_refused", "carried a secret"), ("sni_mismatch", "another server inside"),
    ("authority_mismatch", "another host"),
  ])
  func anAttackOnATargetIsWarnedOf(_ reason: String, _ text: String) throws {
    let learned = try learn([
      closed("api.example.com"), refused("api.example.com", 443, reason), closed("good.example.com"),
    ])
    #expect(learned.text.contains(text) && learned.policy.fallback.network.allow.count == 1, "\(learned.text)")
  }

  @Test func aPortScanIsWarnedOf() throws {
    let scan = (1...20).map { refused("victim.example.com", $0) } + [closed("good.example.com")]
    let (text, learned) = try learn(scan)
    #expect(text.contains("a port scan") && learned.fallback.network.allow.count == 1)
    #expect(try !learn((1...5).map { refused("db.example.com", 5430 + $0) }).text.contains("a port scan"))
  }

  @Test func methodsAndPathsAreProposedWhereTheLogHasThem() throws {
    func request(_ method: String, _ path: String) -> String {
      seen("closed", "api.example.com", 443, #","inspected":true,"method":"\#(method)","status":200,"path":"\#(path)""#)
    }
    let tunnel = seen("closed", "api.example.com", 443, #","inspected":true,"bytes_up":1,"bytes_down":1"#)
    let (text, learned) = try learn([tunnel, request("GET", "/repos/*/issues"), request("HEAD", "/repos/*/issues")])
    #expect(text.contains(#"{host: api.example.com:443, methods: [GET, HEAD], paths: ["/repos/*/issues"]}"#), "\(text)")
    let rule = try #require(learned.fallback.network.allow.first)
    #expect(rule.refusal(method: "GET", path: "/repos/17/issues") == nil)
    #expect(rule.refusal(method: "POST", path: "/repos/17/issues") != nil)
    // Methods with paths of their own are pairs.
    let pairs = try learn([request("GET", "/a/*"), request("POST", "/b")]).policy.fallback.network.allow[0]
    #expect(pairs.refusal(method: "POST", path: "/b") == nil && pairs.refusal(method: "POST", path: "/a/1") != nil)
    // Too many paths become their folders.
    let many = try learn((0..<40).map { request("GET", "/v1/item\($0)") })
    #expect(many.text.contains(#"methods: [GET], paths: ["/v1/**"]"#))
    // A tunnel that nobody looked into might do anything: no rule about requests is proposed for its target.
    #expect(try !learn([request("GET", "/a"), closed("api.example.com")]).text.contains("methods"))
    // A path of somebody else's log is text, and no YAML.
    let odd = try learn([request("GET", #"/a\"], evil: [\""#), request(#"GET\n"#, "/x")])
    #expect(!odd.text.contains("evil") && odd.policy.fallback.network.allow.count == 1)
  }

  @Test func refusedMethodsAndPathsAreNamed() throws {
    let base = try policy("network_policy: {allow: [{host: api.example.com:443, methods: [GET]}]}")
    let line = seen(
      "denied", "api.example.com", 443,
      #","reason":"method_refused","inspected":true,"method":"POST","status":403,"path":"/items/*""#)
    let text = Proposal(try traffic([line]), options(base), nowUnix: 0).text
    #expect(text.contains(#"api.example.com:443: refused for agent: methods: [POST], paths: ["/items/*"]"#), "\(text)")
  }

  @Test func credentialsAreProposedWhereThePolicyHasThem() throws {
    let use = seen("credential", "api.example.com", 443, #","credential":"github","place":"header Authorization""#)
    let lines = [use, closed("api.example.com")]
    #expect(try learn(lines).text.contains("# the gate put in a credential: github; define it"))
    let base = try policy(
      """
      credentials: {github: {file: /dev/null, header: "Authorization: Bearer ${token}"}}
      network_policy: {allow: [other.example.com:443]}
      """)
    #expect(
      Proposal(try traffic(lines), options(base), nowUnix: 0).text.contains(
        "{host: api.example.com:443, credential: github}"))
  }

  private func options(_ base: Policy) -> ProposalOptions {
    var options = ProposalOptions()
    options.base = base
    return options
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
    ("metadata.google.internal", "metadata service"), ("localhost", "own machine"),
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
    #expect(learned.fallback.network.allow.map { "\($0.pattern)" } == ["new.example.com"], "\(text)")
    // A client with rules of its own gets its own proposal.
    let other = try #require(learned.clients.first { $0.name == "other" })
    #expect(other.network.allow.map { "\($0.pattern)" } == ["api.example.com"], "\(text)")
    #expect(text.contains("limited 1 time for agent by the burst of policy.yaml:3:17 (5 a minute, burst 5)"))
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

// Which TLS sessions of upstreams are found again, by whom and for how long.

import COpenSSL
import Policy
import Testing
import Wire

@testable import Intercept

@Suite struct UpstreamSessionsTests {
  private static func rule() throws -> AllowRule {
    let host = try HostName("api.example")
    let spec = AllowSpec(line: SourceLine(file: "test", line: 1), pattern: .exact(.name(host)), ports: .all)
    return AllowRule(spec, limit: nil, usage: RuleUsage())
  }

  private static func key(_ rule: AllowRule, _ host: String, _ client: String = "a") throws -> UpstreamSessions.Key {
    UpstreamSessions.Key(rule: rule, target: Target(host: .name(try HostName(host)), port: 443), client: client)
  }

  private static func session(_ version: Int32 = TLS1_3_VERSION) throws -> UpstreamSession {
    let raw = try #require(unsafe SSL_SESSION_new())
    #expect(unsafe SSL_SESSION_set_protocol_version(raw, version) == 1)
    return unsafe UpstreamSession(owning: raw)
  }

  @Test func aSessionIsFoundByItsRuleTargetAndClientOnly() throws {
    var sessions = UpstreamSessions()
    let (rule, other) = (try Self.rule(), try Self.rule())
    try sessions.put(Self.session(), for: Self.key(rule, "a.example"), nowMs: 0)
    for key in [
      try Self.key(other, "a.example"), try Self.key(rule, "b.example"), try Self.key(rule, "a.example", "b"),
    ] { #expect(sessions.take(key, nowMs: 1) == nil) }
    let found = try sessions.take(Self.key(rule, "a.example"), nowMs: 1)
    #expect(found != nil)
  }

  @Test func aTicketOfTLS13ServesOnceAndASessionOfTLS12Again() throws {
    var sessions = UpstreamSessions()
    let key = try Self.key(Self.rule(), "a.example")
    sessions.put(try Self.session(), for: key, nowMs: 0)
    let (first, second) = (sessions.take(key, nowMs: 1), sessions.take(key, nowMs: 1))
    #expect(first != nil && second == nil)
    sessions.put(try Self.session(TLS1_2_VERSION), for: key, nowMs: 0)
    let (third, fourth) = (sessions.take(key, nowMs: 1), sessions.take(key, nowMs: 1))
    #expect(third != nil && fourth === third)
  }

  @Test func sessionsAreShortLivedAndBounded() throws {
    var sessions = UpstreamSessions()
    let rule = try Self.rule()
    let first = try Self.key(rule, "first.example")
    sessions.put(try Self.session(), for: first, nowMs: 0)
    #expect(sessions.take(first, nowMs: UpstreamSessions.lifetimeMs) == nil)
    for number in 0..<(2 * UpstreamSessions.keysMax) {
      sessions.put(try Self.session(), for: try Self.key(rule, "h\(number).example"), nowMs: UInt64(number))
    }
    #expect(sessions.count == UpstreamSessions.keysMax)
    let newest = try Self.key(rule, "h\(2 * UpstreamSessions.keysMax - 1).example")
    for _ in 0..<10 { sessions.put(try Self.session(), for: newest, nowMs: 1_000) }
    var found = 0
    while sessions.take(newest, nowMs: 1_000) != nil { found += 1 }
    #expect(found == UpstreamSessions.sessionsMax)
  }
}

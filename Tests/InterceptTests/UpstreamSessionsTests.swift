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
    try sessions.put(Self.session(), for: Self.key(rule, "a.example"), verifiedMs: 0, nowMs: 0)
    for key in [
      try Self.key(other, "a.example"), try Self.key(rule, "b.example"), try Self.key(rule, "a.example", "b"),
    ] { #expect(sessions.take(key, nowMs: 1) == nil) }
    let found = try sessions.take(Self.key(rule, "a.example"), nowMs: 1)
    #expect(found != nil)
  }

  @Test func aTicketOfTLS13ServesOnceAndASessionOfTLS12Again() throws {
    var sessions = UpstreamSessions()
    let key = try Self.key(Self.rule(), "a.example")
    sessions.put(try Self.session(), for: key, verifiedMs: 0, nowMs: 0)
    let (first, second) = (sessions.take(key, nowMs: 1), sessions.take(key, nowMs: 1))
    #expect(first != nil && second == nil)
    sessions.put(try Self.session(TLS1_2_VERSION), for: key, verifiedMs: 0, nowMs: 0)
    let (third, fourth) = (sessions.take(key, nowMs: 1), sessions.take(key, nowMs: 1))
    #expect(third != nil && fourth === third)
  }

  @Test func aSessionIsAsOldAsTheLastVerificationOfTheCertificate() throws {
    var sessions = UpstreamSessions()
    let key = try Self.key(Self.rule(), "a.example")
    for version in [TLS1_2_VERSION, TLS1_3_VERSION] {
      // Each resumed handshake brings a new session, long before the one before it is over.
      for nowMs in stride(from: 0, to: UpstreamSessions.lifetimeMs, by: 60_000) {
        sessions.put(try Self.session(version), for: key, verifiedMs: 0, nowMs: nowMs)
        let found = sessions.take(key, nowMs: nowMs)
        #expect(found?.verifiedMs == 0)
      }
      #expect(sessions.take(key, nowMs: UpstreamSessions.lifetimeMs) == nil)
      // A ticket that comes late in a long tunnel vouches for nothing new.
      sessions.put(try Self.session(version), for: key, verifiedMs: 0, nowMs: UpstreamSessions.lifetimeMs)
      #expect(sessions.take(key, nowMs: UpstreamSessions.lifetimeMs) == nil)
    }
  }

  @Test func sessionsAreBounded() throws {
    var sessions = UpstreamSessions()
    let rule = try Self.rule()
    let hosts = 2 * UpstreamSessions.keysMax
    for number in 0..<hosts {
      let key = try Self.key(rule, "h\(number).example", "client \(number % 16)")
      sessions.put(try Self.session(), for: key, verifiedMs: UInt64(number), nowMs: UInt64(number))
    }
    #expect(sessions.count == UpstreamSessions.keysMax)
    let newest = try Self.key(rule, "h\(hosts - 1).example", "client 15")
    for _ in 0..<(2 * UpstreamSessions.sessionsMax) {
      sessions.put(try Self.session(), for: newest, verifiedMs: 1_000, nowMs: 1_000)
    }
    var found = 0
    while sessions.take(newest, nowMs: 1_000) != nil { found += 1 }
    #expect(found == UpstreamSessions.sessionsMax)
  }

  @Test func oneClientPushesOutItsOwnSessionsOnly() throws {
    var sessions = UpstreamSessions()
    let rule = try Self.rule()
    let modest = try Self.key(rule, "a.example", "modest")
    sessions.put(try Self.session(), for: modest, verifiedMs: 0, nowMs: 0)
    for number in 0..<(2 * UpstreamSessions.keysMax) {
      let key = try Self.key(rule, "h\(number).example", "greedy")
      sessions.put(try Self.session(), for: key, verifiedMs: 1, nowMs: 1)
    }
    #expect(sessions.count(of: "greedy") == UpstreamSessions.keysOfClientMax)
    let found = sessions.take(modest, nowMs: 2)
    #expect(found != nil)
  }

  @Test func sessionsThatAreOverLeaveWithoutBeingAskedFor() throws {
    var sessions = UpstreamSessions()
    for _ in 0..<8 {
      sessions.put(try Self.session(), for: try Self.key(Self.rule(), "a.example"), verifiedMs: 0, nowMs: 0)
    }
    let later = UpstreamSessions.lifetimeMs
    sessions.put(try Self.session(), for: try Self.key(Self.rule(), "a.example"), verifiedMs: later, nowMs: later)
    #expect(sessions.count == 1)
  }
}

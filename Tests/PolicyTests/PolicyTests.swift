// Verdicts, buckets and address screening: the promises of Policy that no socket is needed for.

import Policy
import Testing
import Wire

private let line = SourceLine(file: "t", line: 1)

private func name(_ text: String) throws -> HostName { try HostName(text) }

private func target(_ text: String) throws -> Target { try Authority.parse(Array(text.utf8).span, defaultPort: nil) }

@Suite struct BucketTests {
  @Test func aBucketGivesItsBurstAndThenItsRate() {
    let bucket = RequestBucket(perMinute: 60, burst: 10, state: BucketState())
    let start: UInt64 = 1_000_000_000_000
    for _ in 0..<10 { #expect(bucket.take(nowNs: start) == .taken) }
    #expect(bucket.take(nowNs: start) == .empty(retryAfterNs: 1_000_000_000))
    #expect(bucket.take(nowNs: start + 999_999_999) != .taken)
    #expect(bucket.take(nowNs: start + 1_000_000_000) == .taken)
    #expect(bucket.level(nowNs: start + 3_000_000_000).tokens == 2)
    #expect(bucket.level(nowNs: start + 3_600_000_000_000).tokens == 10)
  }

  /// The slowest rate with the largest burst that a policy file may have.
  @Test func theLargestBurstFits() {
    let bucket = RequestBucket(perMinute: 1, burst: RequestBucket.perMinuteMax, state: BucketState())
    for _ in 0..<1000 { #expect(bucket.take(nowNs: 1_000_000_000_000) == .taken) }
    #expect(bucket.level(nowNs: 1_000_000_000_000).tokens > 1_000_000)
  }

  @Test func aBucketIsExactUnderConcurrency() async {
    let bucket = RequestBucket(perMinute: 60, burst: 60, state: BucketState())
    let taken = await withTaskGroup(of: Int.self) { group in
      for _ in 0..<8 {
        group.addTask { (0..<500).reduce(0) { sum, _ in sum + (bucket.take(nowNs: 5_000_000_000) == .taken ? 1 : 0) } }
      }
      return await group.reduce(0, +)
    }
    #expect(taken == 60)
  }

  @Test func bytesComeBackOverAMinute() {
    let bucket = ByteBucket(perMinute: 60_000, state: BucketState())
    let start: UInt64 = 1_000_000_000_000
    #expect(bucket.reserve(upTo: 100_000, nowNs: start).granted == 60_000)
    let empty = bucket.reserve(upTo: 100_000, nowNs: start)
    #expect(empty.granted == 0 && empty.retryAfterNs > 0)
    #expect((999...1001).contains(bucket.reserve(upTo: 100_000, nowNs: start + 1_000_000_000).granted))
    bucket.refund(500)
    #expect((499...501).contains(bucket.reserve(upTo: 100_000, nowNs: start + 1_000_000_000).granted))
  }

  @Test func concurrencyIsBounded() {
    let limit = ConcurrencyLimit(limit: 2, count: LiveCount())
    #expect((0..<3).map { _ in limit.enter() } == [.entered, .entered, .full])
    limit.leave()
    #expect(limit.enter() == .entered)
  }
}

@Suite struct JudgementTests {
  @Test func denyWinsAndTheMostSpecificRuleCounts() throws {
    var spec = NetworkSpec(line: line)
    spec.deny = [DenyRule(line: line, pattern: .exact(.name(try name("bad.a.example"))), ports: .all)]
    let web = PortSet([443...443])
    spec.allow = [
      AllowSpec(line: SourceLine(file: "t", line: 2), pattern: .any, ports: web),
      AllowSpec(line: SourceLine(file: "t", line: 3), pattern: .wildcard(try name("a.example")), ports: web),
      AllowSpec(line: SourceLine(file: "t", line: 4), pattern: .exact(.name(try name("x.a.example"))), ports: .all),
    ]
    let policy = NetworkPolicy(spec)
    func lineOfVerdict(_ text: String) throws -> Int? {
      guard case .allow(let rule) = policy.judge(try target(text), nowUnix: 0) else { return nil }
      return rule.line.line
    }
    #expect(try lineOfVerdict("bad.a.example:443") == nil)
    #expect(try lineOfVerdict("X.a.Example.:443") == 4)
    #expect(try lineOfVerdict("y.z.a.example:443") == 3)
    #expect(try lineOfVerdict("a.example:443") == 2)
    #expect(try lineOfVerdict("xa.example:80") == nil)
    #expect(try lineOfVerdict("93.184.216.34:443") == nil)
  }

  @Test func anExpiredRuleIsGone() throws {
    var spec = NetworkSpec(line: line)
    var rule = AllowSpec(line: line, pattern: .exact(.name(try name("a.example"))), ports: .all)
    rule.expiresAt = 100
    spec.allow = [rule]
    let policy = NetworkPolicy(spec)
    guard case .allow = policy.judge(try target("a.example:1"), nowUnix: 99) else {
      Issue.record("it holds until then")
      return
    }
    guard case .refuse(.expired, line) = policy.judge(try target("a.example:1"), nowUnix: 100) else {
      Issue.record("it is gone from then on")
      return
    }
  }
}

@Suite struct AddressKindTests {
  @Test(arguments: [
    ("127.0.0.1", AddressKind.loopback), ("10.1.2.3", .privateUse), ("172.31.255.255", .privateUse),
    ("172.32.0.0", .global), ("169.254.169.254", .linkLocal), ("100.64.0.1", .shared), ("0.0.0.0", .unspecified),
    ("255.255.255.255", .broadcast), ("224.0.0.1", .multicast), ("192.0.2.1", .documentation),
    ("198.18.0.1", .benchmarking), ("240.0.0.1", .reserved), ("8.8.8.8", .global), ("::1", .loopback),
    ("::", .unspecified),
    ("fd00::1", .privateUse), ("fe80::1", .linkLocal), ("ff02::1", .multicast), ("2001:db8::1", .documentation),
    ("::ffff:127.0.0.1", .embedded), ("64:ff9b::7f00:1", .embedded), ("2002:7f00:1::", .embedded),
    ("2001:0:1::1", .embedded), ("2606:4700::1111", .global), ("4000::1", .reserved),
  ])
  func theRegistriesSayWhatAnAddressIs(text: String, kind: AddressKind) throws {
    #expect(try #require(IPAddress(text)).kind == kind)
  }
}

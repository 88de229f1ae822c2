// Redis as the gate speaks it: replies whole and in pieces, redirections, slots, keys; and the file of kept levels.

import Policy
import Testing
import Wire

@testable import Gate

@Suite struct RedisTests {
  private static let reply = "*5\r\n:3\r\n$2\r\nok\r\n$-1\r\n-NOSCRIPT no\r\n*1\r\n+x\r\n"
  private static let value = RedisValue.list([
    .integer(3), .text(Array("ok".utf8)), .null, .error("NOSCRIPT no"), .list([.text(Array("x".utf8))]),
  ])

  @Test func aReplyIsReadHoweverItIsCut() throws {
    let bytes = Array(Self.reply.utf8)
    for cut in 0...bytes.count {
      let reader = try #require(RedisReader())
      var isTaken = reader.feed(Array(bytes[..<cut]).span)
      if cut < bytes.count { #expect(reader.next() == .incomplete) }
      isTaken = reader.feed(Array(bytes[cut...]).span) && isTaken
      #expect(isTaken)
      #expect(reader.next() == .value(Self.value))
      #expect(reader.next() == .incomplete)
    }
  }

  @Test func whatIsNoReplyEndsTheConnection() throws {
    let reader = try #require(RedisReader())
    _ = reader.feed(Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8).span)
    #expect(reader.next() == .broken("it does not speak Redis' protocol"))
    let other = try #require(RedisReader())
    let isTaken = other.feed([UInt8](repeating: 0x2b, count: 2 << 20).span)
    #expect(!isTaken)
  }

  @Test func aCommandKeepsItsBytes() {
    let bytes = RedisCommand.bytes([Array("AUTH".utf8), [], [0, 13, 10, 255]])
    #expect(bytes == Array("*3\r\n$4\r\nAUTH\r\n$0\r\n\r\n$4\r\n".utf8) + [0, 13, 10, 255] + Array("\r\n".utf8))
  }

  @Test func slotsAreThoseOfTheSpecification() {
    #expect(ClusterSlot.of(Array("123456789".utf8)) == 0x31c3)
    #expect(ClusterSlot.of(Array("foo".utf8)) == 12182)
  }

  @Test func redirectionsNameANode() throws {
    let asked = Host.address(.v4(0x0a00_0005))
    let moved = try #require(Redirection("MOVED 3999 127.0.0.1:6381", asked: asked))
    #expect(!moved.isOnce && moved.slot == 3999 && "\(moved.target)" == "127.0.0.1:6381")
    #expect(Redirection("ASK 1 ::1:7000", asked: asked).map { "\($0.target) \($0.isOnce)" } == "[::1]:7000 true")
    #expect(Redirection("MOVED 1 node.test:7000", asked: asked).map { "\($0.target)" } == "node.test:7000")
    #expect(Redirection("MOVED 1 :7000", asked: asked).map { "\($0.target)" } == "10.0.0.5:7000")
    for text in ["MOVED 16384 a.test:1", "MOVED -1 a.test:1", "MOVED 1 a.test:0", "MOVED 1 a.test", "MOVED 1", "ERR x"]
    {
      #expect(Redirection(text, asked: asked) == nil, "\(text)")
    }
  }

  @Test func errorsSayWhatToDo() {
    let said = [
      ("NOAUTH Authentication required.", "write `password_file`", true),
      ("WRONGPASS invalid username-password pair or user is disabled.", "correct `user`", true),
      ("NOPERM User gate has no permissions to run the 'evalsha' command", "docs/at-scale.md has the rights", true),
      ("ERR The user executing the script can't run this command or subcommand", "docs/at-scale.md", true),
      ("READONLY You can't write against a read only replica.", "it is a replica", false),
      ("ERR Error running script (call to f_1): @user_script:22: -READONLY You can't", "it is a replica", false),
      ("LOADING Redis is loading the dataset in memory", "it is loading its data", false),
      ("OOM command not allowed when used memory > 'maxmemory'.", "raise its maxmemory", false),
      ("MISCONF Redis is configured to save RDB snapshots", "it cannot save to its disk", false),
      ("DENIED Redis is running in protected mode", "it is in protected mode", true),
      ("MOVED 12 127.0.0.1:1", "write redis: {cluster:", true),
      ("CLUSTERDOWN Hash slot not served", "redis-cli --cluster check", false),
      ("ERR max number of clients reached", "raise its maxclients", false),
      ("ERR This instance has cluster support disabled", "it is no node of a cluster", true),
      ("ERR unknown command 'EVALSHA', with args", "it knows no scripts", true),
      ("ERR something new", "it answered: ERR something new", false),
    ]
    for (text, words, isLasting) in said {
      let problem = RedisRefusal.problem(text)
      #expect(problem.text.contains(words) && problem.isLasting == isLasting, "\(text): \(problem)")
    }
    #expect(!RedisRefusal.problem("ODD a secret word", maySay: false).text.contains("secret"))
    #expect(!RedisRefusal.problem("ERR unknown command `AUTH` `secret`", maySay: false).text.contains("secret"))
  }

  @Test func keysAreDigestsAndTellLimitsApart() {
    func key(_ group: String, _ client: String, _ rule: String, _ kind: LeaseKey.Kind) -> [UInt8] {
      LimitsScript.key(group: group, LeaseKey(client: client, rule: rule, kind: kind))
    }
    let keys = [
      key("g", "a", "h:443", .requests), key("g", "a", "h:443", .concurrent), key("g", "ah", ":443", .requests),
      key("ga", "", "h:443", .requests), LimitsScript.key(group: "g", nil), LimitsScript.key(group: "ga", nil),
    ]
    #expect(Set(keys).count == keys.count)
    #expect(keys.allSatisfy { $0.count == 39 && $0.starts(with: Array("sluice:".utf8)) })
  }

  @Test func repliesOfTheScriptAreHeldToTheirForm() {
    let tokens = LeaseCommand.tokens(TokensAsked(limit: LeaseLimit(perMinute: 60, capacity: 60)))
    let good = RedisValue.list([.integer(1), .integer(1_700_000_000_000_000), .integer(1_699_999_999_000_000)])
    #expect(
      LimitsScript.reply(good, to: tokens)
        == .tokens(granted: 1, fullAtUs: 1_700_000_000_000_000, nowUs: 1_699_999_999_000_000))
    let void = RedisValue.list([.integer(-1), .integer(7), .integer(9)])
    #expect(LimitsScript.reply(void, to: tokens) == .tokens(granted: nil, fullAtUs: 7, nowUs: 9))
    #expect(LimitsScript.reply(void, to: .announce(known: "", fresh: "a")) == nil)
    for bad in [
      RedisValue.integer(1), .list([]), .list([.integer(-2), .integer(1), .integer(1)]), .list([.null, .null]),
    ] {
      #expect(LimitsScript.reply(bad, to: tokens) == nil)
    }
  }
}

@Suite struct StateFileTests {
  private static var state: KeptState {
    var state = KeptState(savedMs: 1_700_000_000_000)
    state.buckets = [
      BucketLevelKept(key: LeaseKey(client: "a", rule: "b.test:443", kind: .requests), debtUs: 30_000_000)
    ]
    state.totals.requests = 7
    state.totals.tunnels[0] = 3
    return state
  }

  @Test func whatIsWrittenIsRead() {
    #expect(StateFile.read(StateFile.bytes(Self.state)) == Self.state)
    #expect(Counters(Self.state.totals).kept == Self.state.totals)
  }

  @Test func whatIsDamagedOrForeignIsNot() {
    let bytes = StateFile.bytes(Self.state)
    // The line feed at the end is no part of the value.
    for count in 0..<bytes.count - 1 { #expect(StateFile.read(Array(bytes[..<count])) == nil, "\(count) bytes") }
    let text = String(decoding: bytes, as: UTF8.self)
    for (old, new) in [
      ("30000000", "-1"), ("30000000", "99999999999999999"), ("\"requests\":7", "\"requests\":-7"),
      ("\"sluice_state\":1", "\"sluice_state\":2"), ("\"limit\":\"requests\"", "\"limit\":\"wishes\""),
    ] {
      let changed = text.replacing(old, with: new, maxReplacements: 1)
      #expect(changed != text && StateFile.read(Array(changed.utf8)) == nil, "\(new)")
    }
  }

  @Test func levelsGoOnAndNeverBeyondTheLimit() throws {
    func policy() -> Policy {
      var spec = NetworkSpec(line: SourceLine(file: "", line: 1))
      spec.allow = [AllowSpec(line: spec.line, pattern: .any, ports: .all)]
      var limit = RateLimit(line: spec.line, pattern: .any, ports: .all)
      limit.requestsPerMinute = 60
      spec.rateLimits = [limit]
      return Policy(hash: "", settings: Settings(), network: spec, clients: [])
    }
    func left(_ policy: Policy, _ nowNs: UInt64) -> Int {
      var count = 0
      while policy.fallback.network.allow[0].requests?.take(nowNs: nowNs) == .taken { count += 1 }
      return count
    }
    let (old, nowNs) = (policy(), UInt64(1_000_000_000_000))
    for _ in 0..<50 { _ = old.fallback.network.allow[0].requests?.take(nowNs: nowNs) }
    let kept = old.bucketLevels(nowNs: nowNs)
    #expect(kept.map(\.debtUs) == [50_000_000])
    for (passedUs, expected) in [(UInt64(0), 10), (20_000_000, 30), (90_000_000, 60)] {
      let new = policy()
      new.restore(kept, passedUs: passedUs, nowNs: 5_000_000)
      #expect(left(new, 5_000_000) == expected, "\(passedUs)")
    }
    let new = policy()
    new.restore([BucketLevelKept(key: kept[0].key, debtUs: 1 << 50)], passedUs: 0, nowNs: nowNs)
    #expect(left(new, nowNs) == 0 && left(new, nowNs + 60_000_000_000) == 60)
  }
}

// What a policy file means, and what a wrong one is told: the place, and what to write instead.

import Policy
import PolicyFile
import Testing
import Wire
import YAML

private func load(_ text: String, files: [String: String] = [:]) -> LoadedPolicy {
  PolicyFile.parse(bytes: Array(text.utf8), name: "p.yaml", nowUnix: 1_800_000_000) { path in
    files[path].map { Array($0.utf8) }
  }
}

private func allow(_ rule: String) -> String { "network_policy:\n  allow:\n    - \(rule)\n" }

struct Mistake: Sendable, CustomTestStringConvertible {
  var text: String
  var place: String
  var says: String
  var testDescription: String { says }

  init(_ text: String, _ place: String, _ says: String) {
    self.text = text
    self.place = place
    self.says = says
  }
}

private let limit = "network_policy:\n  allow: [a.example:443]\n  rate_limits:\n    - {host: \"*\", "

private let ruleMistakes: [Mistake] = [
  Mistake(allow("a.example"), "3:7", "write a.example:443"),
  Mistake(allow("https://a.example/x"), "3:7", "without a scheme; write a.example:443"),
  Mistake(allow("http://a.example"), "3:7", "write a.example:80"),
  Mistake(allow("a.example/x"), "3:7", "no path; write a.example:443"),
  Mistake(allow("user@a.example:443"), "3:7", "no user part"),
  Mistake(allow("10.0.0.0/8"), "3:7", "under its `addresses`"),
  Mistake(allow("a.example:0"), "3:7", "1 to 65535"),
  Mistake(allow("a.example:65536"), "3:7", "1 to 65535"),
  Mistake(allow("a.example:https"), "3:7", "write 443"),
  Mistake(allow("\"a.example:\""), "3:7", "port is empty"),
  Mistake(allow("a.example:90-80"), "3:7", "write 80-90"),
  Mistake(allow("\":443\""), "3:7", "host is missing"),
  Mistake(allow("\"\""), "3:7", "rule is empty"),
  Mistake(allow("\"::1:443\""), "3:7", "in brackets"),
  Mistake(allow("\"[::1:443\""), "3:7", "not closed"),
  Mistake(allow("\"[zz::1]:443\""), "3:7", "not an IPv6 address"),
  Mistake(allow("[::1]:443"), "3:8", "in quotes"),
  Mistake(allow("*.a.example:443"), "3:8", "in quotes"),
  Mistake(allow("\"a.*.example:443\""), "3:7", "*.example.com"),
  Mistake(allow("\".a.example:443\""), "3:7", "write *.a.example"),
  Mistake(allow("127.1:443"), "3:7", "ends in a number"),
  Mistake(allow("0x7f.1:443"), "3:7", "ends in a number"),
  Mistake(allow("bücher.example:443"), "3:7", "xn--bcher-kva.example"),
  Mistake(allow("-a.example:443"), "3:7", "hyphen"),
  Mistake(allow("a..example:443"), "3:7", "empty label"),
  Mistake(allow("a.example: 443"), "3:7", "write a.example:443"),
  Mistake(allow("{hots: a.example:443}"), "3:8", "did you mean `host`?"),
  Mistake(allow("{ports: 443}"), "3:7", "`host` is missing"),
  Mistake(allow("{host: a.example:443, ports: 80}"), "3:29", "keep one of the two"),
  Mistake(allow("{host: a.example:443, protocol: ssl}"), "3:39", "tls or tcp or auto"),
  Mistake(allow("{host: a.example:443, expires: tomorrow}"), "3:38", "2027-01-01T00:00:00Z"),
  Mistake(allow("{host: a.example:443, addresses: []}"), "3:29", "can never match"),
  Mistake(allow("{host: a.example:443, addresses: [10.1.2.3/8]}"), "3:41", "the network is 10.0.0.0/8"),
  Mistake(allow("{host: a.example:443, addresses: [10.0.0.0/33]}"), "3:41", "0 to 32"),
  Mistake(allow("{host: 10.0.0.1:443, addresses: [10.2.0.0/16]}"), "3:28", "can never match"),
  Mistake(allow("{host: a.example:443, ech: maybe}"), "3:34", "refuse or allow"),
  Mistake(allow("a.example:443\n    - A.example.:443"), "4:7", "stands in line 3; keep one"),
  Mistake(allow("[a.example:443]"), "3:7", "not a list"),
]

private let limitMistakes: [Mistake] = [
  Mistake(limit + "requests_per_minute: 0}\n", "4:40", "from 1 to"),
  Mistake(limit + "requests_per_minute: \"60\"}\n", "4:40", "without quotes"),
  Mistake(limit + "requests_per_minute: many}\n", "4:40", "whole number"),
  Mistake(limit + "burst: 5}\n", "4:19", "needs `requests_per_minute`"),
  Mistake(limit + "on_limit: pace}\n", "4:7", "limits nothing"),
  Mistake(limit + "upload_bytes_per_minute: 5MB}\n", "4:44", "5MiB"),
  Mistake(limit + "request_per_minute: 5}\n", "4:19", "did you mean `requests_per_minute`?"),
  Mistake(
    "network_policy:\n  allow: [a.example:443]\n  rate_limits: [{host: b.example, concurrent: 1}]\n", "3:17",
    "no allow rule is covered"),
  Mistake(
    "network_policy:\n  allow: [\"*.example:443\"]\n  rate_limits: [{host: b.example, concurrent: 1}]\n", "3:17",
    "an allow rule of its own"),
]

private let fileMistakes: [Mistake] = [
  Mistake("", "1:1", "the file is empty"),
  Mistake("- a\n", "1:1", "a list of rules alone is no policy"),
  Mistake("log: {}\n", "1:1", "`network_policy` is missing"),
  Mistake("network_policy: {}\nnetwork_policy: {}\n", "2:1", "stands twice"),
  Mistake("network_polcy: {}\n", "1:1", "did you mean `network_policy`?"),
  Mistake("network_policy: {default: yes}\n", "1:27", "deny or allow"),
  Mistake("network_policy: {allow: a.example:443}\n", "1:25", "takes a list"),
  Mistake("network_policy:\n\tallow: []\n", "2:1", "not tabs"),
  Mistake("network_policy: &x {}\n", "1:17", "anchors"),
  Mistake("network_policy: !x {}\n", "1:17", "anchors"),
  Mistake("network_policy: {}\n---\na: 1\n", "2:1", "second YAML document"),
  Mistake("network_policy: {}\nlog: x.log\n", "2:6", "write log: {file: x.log}"),
  Mistake("network_policy: {}\nlog: {on_failure: stop}\n", "2:19", "refuse or continue"),
  Mistake("network_policy: {}\nlisten: {connect: 3128}\n", "2:19", "write 127.0.0.1:3128"),
  Mistake("network_policy: {}\nlisten: {connect: localhost:3128}\n", "2:19", "write an address"),
  Mistake("network_policy: {}\nlisten: {admin: sluice.sock}\n", "2:17", "the whole path"),
  Mistake("network_policy: {}\nlisten: {metrics: 127.0.0.1:1}\n", "2:9", "names no listener"),
  Mistake("network_policy: {}\nlisten: {admin: /run/a, metrics: 9798}\n", "2:34", "write 127.0.0.1:9798"),
  Mistake("network_policy: {}\nlisten: {admin: /run/a, metrics: [127.0.0.1:1]}\n", "2:34", "not a list"),
  Mistake(
    "network_policy: {}\nlisten: {connect: 127.0.0.1:1, metrics: 127.0.0.1:1}\n", "2:32", "stands in `connect` too"),
  Mistake("network_policy: {}\nlisten: {admin: /run/}\n", "2:17", "the whole path"),
  Mistake("network_policy: {}\nlisten: {admin: [/run/a]}\n", "2:17", "takes a text"),
  Mistake(
    "network_policy: {}\nlisten: {admin: /\(String(repeating: "x", count: 107))}\n", "2:17", "at most 107 bytes"),
  Mistake("network_policy: {}\nlisten: {}\n", "2:9", "write listen: {connect: 127.0.0.1:3128}"),
  Mistake("network_policy: {}\nlisten: {connect: 127.0.0.1:1, dns: 127.0.0.1:1}\n", "2:32", "give each its own port"),
  Mistake("network_policy: {}\nlisten: {transparent: []}\n", "2:10", "write 127.0.0.1:3129"),
  Mistake("network_policy: {}\nlisten: {connect: {tls: {}}}\n", "2:19", "`address` is missing"),
  Mistake("network_policy: {}\nlisten: {connect: {address: []}}\n", "2:20", "names none; write 127.0.0.1:3128"),
  Mistake("network_policy: {}\nlisten: {connect: {address: 443}}\n", "2:29", "write 127.0.0.1:443"),
  Mistake("network_policy: {}\nlisten: {connect: {address: 127.0.0.1:1, cert: a}}\n", "2:42", "unknown key `cert`"),
  Mistake(
    "network_policy: {}\nlisten: {connect: {address: 127.0.0.1:1, tls: on}}\n", "2:47",
    "takes keys below it (certificate, key)"),
  Mistake(
    "network_policy: {}\nlisten: {connect: {address: 127.0.0.1:1, tls: {key: /k}}}\n", "2:47",
    "`certificate` is missing; write tls: {certificate: /etc/sluice/gate.pem"),
  Mistake(
    "network_policy: {}\nlisten: {connect: {address: 127.0.0.1:1, tls: {certificate: /c, key: /k}}}\n", "2:61",
    "cannot read /c"),
  Mistake("network_policy: {}\nlisten: {connect: [127.0.0.1:1, {address: 127.0.0.1:1}]}\n", "2:43", "stands twice"),
  Mistake("network_policy: {}\nlisten: {transparent: {address: 127.0.0.1:1}}\n", "2:23", "takes a list"),
  Mistake("network_policy: {}\nlisten: {connect: 127.0.0.1:1, proxy_protocol: [lb]}\n", "2:49", "10.0.0.0/8"),
  Mistake("network_policy: {}\ndns: {answers: fake}\n", "2:16", "synthetic or real"),
  Mistake("network_policy: {}\ndns: {ttl: 0}\n", "2:12", "from 1 to 3600"),
  Mistake("network_policy: {}\ndns: {networks: [198.18.0.0/30]}\n", "2:7", "write a larger network"),
  Mistake("network_policy: {}\ndns: {networks: [198.18.0.0/16, 198.19.0.0/16]}\n", "2:7", "two of one family"),
  Mistake("network_policy: {}\nresolver: {servers: [dns.example]}\n", "2:22", "write its address"),
  Mistake("network_policy: {}\ntimeouts: {idle: 1h}\n", "2:18", "without a unit"),
  Mistake("network_policy: {}\ntimeouts: {head: 0}\n", "2:18", "more than 0"),
  Mistake("network_policy: {}\nlimits: {head_bytes: 1}\n", "2:22", "1KiB to 256KiB"),
  Mistake("network_policy: {}\nprocess_limits: {cpu.max: 2}\n", "2:27", "1000 to 1000000"),
  Mistake("network_policy: {}\nprocess_limits: {memory.max: 1M}\n", "2:30", "such as 512M"),
  Mistake("network_policy: {}\nprocess_limits: {memory.max: -1}\n", "2:30", "or max"),
  Mistake("network_policy: {}\nprocess_limits: {pids.max: 1G}\n", "2:28", "from 4 to"),
  Mistake("network_policy: {}\nprocess_limits: {pid.max: 9}\n", "2:18", "pids.max"),
  Mistake("network_policy: {}\nclients: {}\n", "2:10", "takes a list"),
  Mistake("network_policy: {}\nclients: [{source: 10.0.0.0/8}]\n", "2:11", "`name` is missing"),
  Mistake("network_policy: {}\nclients: [{name: default, source: \"::1\"}]\n", "2:18", "choose another"),
  Mistake("network_policy: {}\nclients: [{name: a, proxy_user: a}]\n", "2:33", "needs `password_file`"),
  Mistake("network_policy: {}\nclients: [{name: a, proxy_user: a, password_file: none}]\n", "2:51", "cannot read"),
  Mistake(
    "network_policy: {}\nclients: [{name: a, proxy_user: a, password_file: plain}]\n", "2:51", "openssl passwd -6"),
  Mistake(
    "network_policy: {}\nclients: [{name: a, proxy_user: b, password_file: plain}]\n", "2:51", "no line for this user"),
]

@Suite struct MistakeTests {
  @Test(arguments: ruleMistakes + limitMistakes + fileMistakes + sandboxMistakes)
  func aMistakeSaysWhereItIsAndWhatToWrite(mistake: Mistake) {
    let loaded = load(mistake.text, files: ["plain": "a:secret\n"])
    #expect(loaded.policy == nil)
    let texts = loaded.problems.map { "\($0)" }
    #expect(
      texts.contains { $0.hasPrefix("p.yaml:\(mistake.place): ") && $0.contains(mistake.says) }, "\(texts)")
    #expect(!texts.contains { $0.contains("secret") })
  }

  @Test func aClientThatOnlyASandboxCanBeIsSaid() throws {
    let text = "network_policy: {}\nclients: [{name: a, network_policy: {allow: [x.test:1]}}]\n"
    let loaded = load(text)
    #expect(loaded.policy != nil)
    #expect(loaded.warnings.map { "\($0)" }.contains { $0.contains("sluice run --name a") })
    // The sandbox of that name has its rules; any other has the file's, and a name of its own.
    for (sandbox, rules) in [("a", 1), ("b", 0)] {
      let loaded = PolicyFile.parse(bytes: Array(text.utf8), name: "p.yaml", sandbox: sandbox)
      let policy = try #require(loaded.policy)
      guard case .client(let client) = policy.identify(source: .v4(0x7f00_0001), sandbox: sandbox) else {
        Issue.record("no client for the sandbox \(sandbox)")
        continue
      }
      #expect(client.name == sandbox)
      #expect(client.network.allow.count == rules)
      #expect(loaded.warnings.isEmpty == (sandbox == "a"))
    }
  }

  @Test func processLimitsAreWrittenAsTheKernelWritesThem() throws {
    let text =
      "network_policy: {}\nprocess_limits: {cpu.max: max, memory.max: 2G, memory.swap.max: 64MiB, pids.max: 200}\n"
    let limits = try #require(load(text).policy).settings.process
    #expect(
      limits.cpu == nil && limits.memoryBytes == 2 << 30 && limits.swapBytes == 64 << 20 && limits.processes == 200)
    let plain = try #require(load("network_policy: {}\n").policy).settings.process
    #expect(plain == Settings.Process() && plain.memoryBytes == 512 << 20 && plain.processes == 64)
    let half = try #require(load("network_policy: {}\nprocess_limits: {cpu.max: 50000 100000}\n").policy)
    #expect(half.settings.process.cpu == Settings.Process.CPU(quotaUs: 50_000, periodUs: 100_000))
  }

  @Test func allMistakesOfAFileAreToldAtOnceInItsOrder() {
    let loaded = load(
      "network_policy:\n  alow: []\n  deny: [a]\n  allow: [b.example:0]\nlimits: {connections: no}\nfoo: 1\n")
    #expect(loaded.problems.map(\.mark.line) == [2, 3, 4, 5, 6])
  }

  @Test func aMessageIsOneLineWhateverTheFileSays() {
    let loaded = load("network_policy: {allow: [\"a\\tb\\e[2J\"]}\n")
    #expect(loaded.problems.count == 1)
    #expect(loaded.problems.allSatisfy { problem in !problem.text.utf8.contains { $0 < 0x20 } })
  }

  @Test func deepNestingIsRefused() {
    let loaded = load("network_policy: " + String(repeating: "[", count: 5000))
    #expect(loaded.problems.contains { $0.text.contains("deep") })
  }

  @Test func notUTF8IsRefused() {
    let loaded = PolicyFile.parse(bytes: [0x61, 0xff, 0xfe, 0x3a], name: "p.yaml")
    #expect(loaded.policy == nil && loaded.problems.count == 1)
  }
}

@Suite struct MeaningTests {
  private static let design = """
    network_policy:
      default: deny
      allow:
        - api.openai.com:443
        - api.anthropic.com:443
        - your-vector-store.internal:6333
        - your-tool-api.com:443
      rate_limits:
        - host: "*"
          requests_per_minute: 60
    """

  private func judge(_ policy: Policy, _ target: String) throws -> Verdict {
    let target = try Authority.parse(Array(target.utf8).span, defaultPort: nil)
    return policy.fallback.network.judge(target, nowUnix: 1_800_000_000)
  }

  private func rule(_ policy: Policy, _ target: String) throws -> AllowRule {
    guard case .allow(let rule) = try judge(policy, target) else { throw Missing(target: target) }
    return rule
  }
  private struct Missing: Error { let target: String }

  @Test func theSeedLoadsWordForWord() throws {
    let loaded = load(Self.design)
    let policy = try #require(loaded.policy, "\(loaded.problems)")
    #expect(loaded.warnings.isEmpty)
    let rule = try rule(policy, "your-vector-store.internal:6333")
    #expect(rule.line.line == 6)
    #expect(rule.requests?.perMinute == 60 && rule.requests?.burst == 60)
    guard case .refuse(.notAllowed, nil) = try judge(policy, "openai.com:443") else {
      Issue.record("another name is refused")
      return
    }
  }

  @Test func everyKeyIsRead() throws {
    let loaded = load(
      """
      network_policy:
        mode: report
        allow:
          - {host: "a.example:[80, 443]", expires: 2030-01-01T00:00:00Z, addresses: [10.0.0.0/8], protocol: tcp, ech: refuse}
          - {host: b.example, ports: [8000-8010, 9000]}
        rate_limits:
          - {host: a.example, requests_per_minute: 6, burst: 2, concurrent: 3, upload_bytes_per_minute: 5MiB,
             download_bytes_per_minute: 1GiB, tunnel_lifetime_seconds: 9, on_limit: pace}
      listen: {connect: ["127.0.0.1:1", "[::1]:2"], admin: /run/sluice/admin.sock, metrics: 127.0.0.1:3}
      resolver: {servers: [192.0.2.1, "[2001:db8::1]:5353"], timeout: 0.5, attempts: 1}
      log: {file: /x, on_failure: continue}
      limits: {connections: 5, head_bytes: 8KiB, hello_bytes: 16KiB, dns_cache_names: 16, log_buffer_bytes: 1MiB}
      timeouts: {head: 1, hello: 2, connect: 3, idle: 4, keep_alive: 5, drain: 6.25}
      """)
    let policy = try #require(loaded.policy, "\(loaded.problems)")
    #expect(loaded.warnings.count == 2)
    let rule = try rule(policy, "a.example:80")
    #expect(rule.expiresAt == 1_893_456_000 && rule.addresses.count == 1 && !rule.allowsECH)
    #expect(rule.wireProtocol(port: 443) == .tcp && rule.onLimit == .pace && rule.tunnelLifetimeMs == 9000)
    #expect(rule.requests?.burst == 2 && rule.concurrent?.limit == 3)
    #expect(rule.uploadBytes?.perMinute == 5 << 20 && rule.downloadBytes?.perMinute == 1 << 30)
    #expect(try self.rule(policy, "b.example:8005").ports.count == 12)
    let settings = policy.settings
    #expect(settings.listen.connect.map(\.description) == ["127.0.0.1:1", "[::1]:2"])
    #expect(settings.listen.admin == "/run/sluice/admin.sock")
    #expect(settings.listen.metrics == ListenAddress("127.0.0.1:3"))
    #expect(settings.resolver.servers.map(\.port) == [53, 5353] && settings.resolver.timeoutMs == 500)
    #expect(settings.log.file == "/x" && !settings.log.refusesWhenUnwritable && settings.log.bufferBytes == 1 << 20)
    #expect(settings.limits.headBytes == 8192 && settings.timeouts.drainMs == 6250 && settings.timeouts.idleMs == 4000)
  }

  @Test func clientsHaveTheirOwnRulesAndBuckets() throws {
    let hash = "$6$saltsalt$" + String(repeating: "x", count: 86)
    let loaded = load(
      """
      network_policy: {allow: [a.example:443]}
      clients:
        - {name: builder, source: [10.1.0.0/16], network_policy: {allow: [b.example:443]}}
        - {name: agent, proxy_user: agent, password_file: pw}
      """, files: ["pw": "# users\nother:x\nagent:\(hash)\n"])
    let policy = try #require(loaded.policy, "\(loaded.problems)")
    guard case .client(let builder) = policy.identify(source: .v4(0x0A01_0001)) else {
      Issue.record("a source network identifies")
      return
    }
    #expect(builder.name == "builder" && builder.network.allow.first?.line.line == 3)
    let agent = try #require(policy.client(source: .v4(1), user: Array("agent".utf8)))
    #expect(agent.passwordHash == Array(hash.utf8))
    #expect(agent.network.allow.first?.usage.requests !== policy.fallback.network.allow.first?.usage.requests)
  }

  @Test func whatWeakensTheGuardIsAWarning() {
    let loaded = load(
      """
      network_policy:
        default: allow
        allow: ["*:443", {host: a.example:443, expires: 2020-01-01T00:00:00Z}]
      listen: {connect: 0.0.0.0:3128}
      """)
    #expect(loaded.problems.isEmpty)
    #expect(loaded.warnings.map(\.mark.line) == [2, 3, 3, 4])
  }

  @Test func aReloadKeepsWhatWasUsedUp() throws {
    let first = try #require(load(Self.design).policy)
    let taken = try rule(first, "api.openai.com:443")
    for _ in 0..<60 { #expect(taken.requests?.take(nowNs: 1) == .taken) }
    let again = PolicyFile.parse(bytes: Array((Self.design + "\n").utf8), name: "p.yaml", inheriting: first)
    let rule = try rule(try #require(again.policy), "api.openai.com:443")
    #expect(rule.requests?.take(nowNs: 1) != .taken)
  }

  @Test func tenThousandRulesLoadInTime() throws {
    let rules = (0..<10_000).map { "    - h\($0).example:443" }.joined(separator: "\n")
    let text = "network_policy:\n  deny: [\"*.bad.example:*\"]\n  allow:\n\(rules)\n"
    let clock = ContinuousClock()
    var loaded: LoadedPolicy?
    let time = clock.measure { loaded = load(text) }
    #expect(loaded?.policy?.fallback.network.allow.count == 10_000)
    // A debug build on a busy machine; a quadratic check takes minutes.
    #expect(time < .seconds(20))
  }
}

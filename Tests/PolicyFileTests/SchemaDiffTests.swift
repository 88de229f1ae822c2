// Every key of the schema, changed once: `diff` and a reload must tell the difference.

import Policy
import PolicyFile
import Testing
import YAML

/// `section.key` as the readers name them, and two policies that differ in this key only.
private struct Change: Sendable, CustomTestStringConvertible {
  let key: String
  let before: String
  let after: String
  var testDescription: String { key }

  init(_ key: String, _ before: String, _ after: String) { (self.key, self.before, self.after) = (key, before, after) }
}

private let files = [
  "roots.pem": "-----BEGIN CERTIFICATE-----\nA\n", "other.pem": "-----BEGIN CERTIFICATE-----\nB\n",
  "key.pem": "-----BEGIN PRIVATE KEY-----\nA\n", "key2.pem": "-----BEGIN PRIVATE KEY-----\nB\n",
  "patterns.yaml": "a", "patterns2.yaml": "b",
  "passwords": "u:$6$saltsalt$0123456789abcdef\nv:$6$saltsalt$0123456789abcdef\n",
  "passwords2": "u:$6$saltsalt$fedcba9876543210\n",
  "p": "word\n", "p2": "other\n",
  "team.yaml": "network_policy: {allow: [team.test:443]}\n",
]

private func rule(_ key: String, _ one: String, _ other: String) -> Change {
  let name = String(key.split(separator: ".")[1])
  return Change(
    key, "network_policy: {allow: [{host: a.test:443, \(name): \(one)}]}\n",
    "network_policy: {allow: [{host: a.test:443, \(name): \(other)}]}\n")
}

private func added(_ key: String, _ rule: String) -> Change {
  Change(
    key, "network_policy: {allow: [{host: a.test:443, inspect: true}]}\n",
    "network_policy: {allow: [{host: a.test:443, \(rule)}]}\n")
}

private func limit(_ key: String, _ one: String, _ other: String) -> Change {
  let start = "network_policy:\n  allow: [a.test:443, a.test:80, b.test:443]\n  rate_limits: [{"
  return Change("a rate limit.\(key)", start + one + "}]\n", start + other + "}]\n")
}

private func top(_ key: String, _ section: String, _ one: String, _ other: String) -> Change {
  let start = "network_policy: {allow: [{host: a.test:443, inspect: true}]}\n\(section): "
  return Change(key, start + one + "\n", start + other + "\n")
}

private let redis = "redis: redis://127.0.0.1:6379"
private func store(_ key: String, _ one: String, _ other: String) -> Change {
  top(key, "shared_limits", "{\(one)}", "{\(other)}")
}

private func section(_ section: String, _ keys: [(String, String, String)]) -> [Change] {
  keys.map { top("\(section).\($0.0)", section, "{\($0.0): \($0.1)}", "{\($0.0): \($0.2)}") }
}

private func credential(_ key: String, _ one: String, _ other: String) -> Change {
  func policy(_ text: String) -> String {
    "credentials: {x: {\(text)}}\nnetwork_policy: {allow: [{host: a.test:443, credential: x}]}\n"
  }
  return Change(key, policy(one), policy(other))
}

private let header = #"header: "A: ${token}""#
private let grant = #"token_url: "https://l.test/t", client_id: a, client_secret: {env: S}"#
private func signing(_ more: String) -> String {
  "credentials: {x: {env: A, sigv4: {}}}\nnetwork_policy: {allow: [{host: a.test:443, credential: x\(more)}]}\n"
}
private func oauth(_ key: String, _ one: String, _ other: String) -> Change {
  credential("oauth2.\(key)", "oauth2: {\(one)}, \(header)", "oauth2: {\(other)}, \(header)")
}
private func client(_ key: String, _ one: String, _ other: String) -> Change {
  top(key, "clients", "[{name: c, \(one)}]", "[{name: c, \(other)}]")
}

private let ruleChanges: [Change] = [
  Change(
    "the policy file.network_policy", "network_policy: {allow: [a.test:1]}\n", "network_policy: {allow: [a.test:2]}\n"),
  Change("network_policy.default", "network_policy: {default: deny}\n", "network_policy: {default: allow}\n"),
  Change("network_policy.mode", "network_policy: {mode: enforce}\n", "network_policy: {mode: report}\n"),
  Change("network_policy.allow", "network_policy: {}\n", "network_policy: {allow: [a.test:443]}\n"),
  Change("network_policy.registries", "network_policy: {}\n", "network_policy: {registries: [pip]}\n"),
  Change("network_policy.deny", "network_policy: {}\n", "network_policy: {deny: [\"10.0.0.0/8:*\"]}\n"),
  Change(
    "network_policy.rate_limits", "network_policy: {allow: [a.test:443]}\n",
    "network_policy: {allow: [a.test:443], rate_limits: [{host: \"*\", concurrent: 1}]}\n"),
  Change(
    "a deny rule.host", "network_policy: {allow: [\"*.test:443\"], deny: [{host: a.test:443}]}\n",
    "network_policy: {allow: [\"*.test:443\"], deny: [{host: b.test:443}]}\n"),
  Change(
    "a deny rule.ports", "network_policy: {allow: [\"*.test:*\"], deny: [{host: a.test, ports: 443}]}\n",
    "network_policy: {allow: [\"*.test:*\"], deny: [{host: a.test, ports: 444}]}\n"),
  Change(
    "an allow rule.host", "network_policy: {allow: [{host: a.test:443}]}\n",
    "network_policy: {allow: [{host: b.test:443}]}\n"),
  Change(
    "an allow rule.ports", "network_policy: {allow: [{host: a.test, ports: 443}]}\n",
    "network_policy: {allow: [{host: a.test, ports: [443, 444]}]}\n"),
  rule("an allow rule.expires", "2030-01-01T00:00:00Z", "2031-01-01T00:00:00Z"),
  rule("an allow rule.addresses", "[10.0.0.0/8]", "[10.1.0.0/16]"), rule("an allow rule.protocol", "tls", "tcp"),
  rule("an allow rule.ech", "allow", "refuse"), rule("an allow rule.methods", "[GET]", "[POST]"),
  rule("an allow rule.paths", "[/a]", "[/b]"),
  rule("an allow rule.requests", "[{methods: [GET], paths: [/a]}]", "[{methods: [GET], paths: [/b]}]"),
  rule("an allow rule.dns", "{types: [SRV]}", "{types: [TXT]}"),
  rule("dns of a rule.types", "{types: [SRV]}", "{types: [TXT]}").asDNS,
  rule("a request.methods", "[{methods: [GET]}]", "[{methods: [PUT]}]").asRequests,
  rule("a request.paths", "[{paths: [/a]}]", "[{paths: [/b]}]").asRequests,
  added("an allow rule.content", "content: {secrets: log}"), rule("an allow rule.inspect", "false", "true"),
  added("an allow rule.tls", "tls: {roots: roots.pem}"),
  Change("an allow rule.allow_key_issuing", signing(""), signing(", allow_key_issuing: true")),
  credential("an allow rule.credential", "env: A, \(header)", "env: B, \(header)"),
  added("tls.roots", "tls: {roots: roots.pem}"),
  added("tls.client_certificate", "tls: {client_certificate: {certificate: roots.pem, key: key.pem}}"),
  Change(
    "client_certificate.certificate",
    "network_policy: {allow: [{host: a.test:443, tls: {client_certificate: {certificate: roots.pem, key: key.pem}}}]}\n",
    "network_policy: {allow: [{host: a.test:443, tls: {client_certificate: {certificate: other.pem, key: key.pem}}}]}\n"
  ),
  Change(
    "client_certificate.key",
    "network_policy: {allow: [{host: a.test:443, tls: {client_certificate: {certificate: roots.pem, key: key.pem}}}]}\n",
    "network_policy: {allow: [{host: a.test:443, tls: {client_certificate: {certificate: roots.pem, key: key2.pem}}}]}\n"
  ),
  limit("host", #"host: "a.test:443", concurrent: 1"#, #"host: "b.test:443", concurrent: 1"#),
  limit("ports", "host: a.test, ports: 443, concurrent: 1", "host: a.test, ports: 80, concurrent: 1"),
  limit("requests_per_minute", #"host: "*", requests_per_minute: 1"#, #"host: "*", requests_per_minute: 2"#),
  limit("burst", #"host: "*", requests_per_minute: 9, burst: 1"#, #"host: "*", requests_per_minute: 9, burst: 2"#),
  limit("concurrent", #"host: "*", concurrent: 1"#, #"host: "*", concurrent: 2"#),
  limit(
    "upload_bytes_per_minute", #"host: "*", upload_bytes_per_minute: 1KiB"#,
    #"host: "*", upload_bytes_per_minute: 2KiB"#),
  limit(
    "download_bytes_per_minute", #"host: "*", download_bytes_per_minute: 1KiB"#,
    #"host: "*", download_bytes_per_minute: 2KiB"#),
  limit(
    "tunnel_lifetime_seconds", #"host: "*", tunnel_lifetime_seconds: 1"#, #"host: "*", tunnel_lifetime_seconds: 2"#),
  limit("on_limit", #"host: "*", concurrent: 1, on_limit: refuse"#, #"host: "*", concurrent: 1, on_limit: pace"#),
]

private let content: [(String, String, String)] = [
  ("max_response_bytes", "1KiB", "2KiB"), ("strip_html", "false, secrets: log", "true, secrets: log"),
  ("on_too_large", "cut, max_response_bytes: 1", "truncate, max_response_bytes: 1"),
  ("flag_instructions", "log", "block"),
  ("patterns", "patterns.yaml, flag_instructions: log", "patterns2.yaml, flag_instructions: log"),
  ("threshold", "7, flag_instructions: log", "9, flag_instructions: log"),
  ("muted", "[a], flag_instructions: log", "[b], flag_instructions: log"),
  ("unchecked", "pass, flag_instructions: log", "refuse, flag_instructions: log"),
  ("secrets", "log", "block"),
]

private let sectionChanges: [Change] =
  [
    Change(
      "the policy file.include", "network_policy: {}\n", "include: [team.yaml]\nnetwork_policy: {}\n"),
    top("the policy file.clients", "clients", "[]", "[{name: c, source: [10.0.0.0/8]}]"),
    top("the policy file.listen", "listen", "{connect: 127.0.0.1:1}", "{connect: 127.0.0.1:2}"),
    top("the policy file.resolver", "resolver", "{attempts: 1}", "{attempts: 2}"),
    top("the policy file.dns", "dns", "{ttl: 1}", "{ttl: 2}"),
    top("the policy file.log", "log", "{file: a}", "{file: b}"),
    top("the policy file.limits", "limits", "{connections: 1}", "{connections: 2}"),
    top("the policy file.timeouts", "timeouts", "{idle: 1}", "{idle: 2}"),
    top("the policy file.process_limits", "process_limits", "{pids.max: 4}", "{pids.max: 5}"),
    top("the policy file.filesystem_policy", "filesystem_policy", "{hidden: [.env]}", "{hidden: [.env2]}"),
    top("the policy file.environment", "environment", "{pass: [A]}", "{pass: [B]}"),
    credential("the policy file.credentials", "env: A, \(header)", "env: B, \(header)"),
    top("the policy file.content_policy", "content_policy", "{secrets: log}", "{secrets: block}"),
    top("the policy file.tls", "tls", "{ca: /a}", "{ca: /b}"), top("tls.ca", "tls", "{ca: /a}", "{ca: /b}"),
    top("tls.trust", "tls", "{trust: /a}", "{trust: [/a, /b]}"),
    top("the policy file.explain_denials", "explain_denials", "true", "false"),
    Change(
      "the policy file.approvals", "network_policy: {default: deny}\n",
      "network_policy: {default: deny}\napprovals: {wait_seconds: 120}\n"),
    top(
      "a notifier.webhook", "approvals", "{notify: [{webhook: https://a.test/h}]}",
      "{notify: [{webhook: https://b.test/h}]}"),
    top(
      "a notifier.secret_file", "approvals", "{notify: [{webhook: https://a.test/h}]}",
      "{notify: [{webhook: https://a.test/h, secret_file: patterns.yaml}]}"),
    top("a notifier.command", "approvals", "{notify: [{command: [/a]}]}", "{notify: [{command: [/a, b]}]}"),
    top("the policy file.state", "state", "{folder: /a}", "{folder: /b}"),
    top("state.folder", "state", "{folder: /a}", "{folder: /b}"),
    store("the policy file.shared_limits", "redis: redis://a.test", "redis: redis://b.test"),
    store("shared_limits.redis", "redis: redis://a.test", "redis: rediss://a.test"),
    store(
      "redis.sentinels", "redis: {sentinels: [redis://a.test], master: m}",
      "redis: {sentinels: [redis://b.test], master: m}"),
    store(
      "redis.master", "redis: {sentinels: [redis://a.test], master: m}",
      "redis: {sentinels: [redis://a.test], master: n}"),
    store("redis.cluster", "redis: {cluster: [redis://a.test]}", "redis: {cluster: [redis://b.test]}"),
    store("shared_limits.user", redis + ", password_file: p, user: a", redis + ", password_file: p, user: b"),
    store("shared_limits.password_file", redis + ", password_file: p", redis + ", password_file: p2"),
    store("shared_limits.ca", "redis: rediss://a.test, ca: roots.pem", "redis: rediss://a.test, ca: other.pem"),
    store("shared_limits.group", redis + ", group: a", redis + ", group: b"),
    store("shared_limits.on_loss", redis + ", on_loss: share", redis + ", on_loss: refuse"),
    client("a client.name", "source: [10.0.0.0/8]", "source: [10.0.0.0/8]").renamed,
    client("a client.source", "source: [10.0.0.0/8]", "source: [10.1.0.0/16]"),
    client("a client.proxy_user", "proxy_user: u, password_file: passwords", "proxy_user: v, password_file: passwords"),
    client(
      "a client.password_file", "proxy_user: u, password_file: passwords", "proxy_user: u, password_file: passwords2"),
    client("a client.network_policy", "network_policy: {allow: [b.test:1]}", "network_policy: {allow: [b.test:2]}"),
    top("listen.connect", "listen", "{connect: 127.0.0.1:1}", "{connect: 127.0.0.1:2}"),
    top("connect.address", "listen", "{connect: {address: 127.0.0.1:1}}", "{connect: {address: 127.0.0.1:2}}"),
    top(
      "connect.tls", "listen", "{connect: {address: 127.0.0.1:1}}",
      "{connect: {address: 127.0.0.1:1, tls: {certificate: roots.pem, key: key.pem}}}"),
    top(
      "tls.certificate", "listen", "{connect: {address: 127.0.0.1:1, tls: {certificate: roots.pem, key: key.pem}}}",
      "{connect: {address: 127.0.0.1:1, tls: {certificate: other.pem, key: key.pem}}}"),
    top(
      "tls.key", "listen", "{connect: {address: 127.0.0.1:1, tls: {certificate: roots.pem, key: key.pem}}}",
      "{connect: {address: 127.0.0.1:1, tls: {certificate: roots.pem, key: key2.pem}}}"),
    top("home.size", "filesystem_policy", "{home: {size: 1MiB}}", "{home: {size: 2MiB}}"),
    top("home.folder", "filesystem_policy", "{home: {folder: /a}}", "{home: {folder: /b}}"),
    top("home.persistent", "filesystem_policy", "{home: {persistent: a}}", "{home: {persistent: b}}"),
    top("home.at", "filesystem_policy", "{home: {at: caller}}", "{home: {at: /home/x}}"),
    top("home.read_only", "filesystem_policy", "{home: {read_only: [.a]}}", "{home: {read_only: [.b]}}"),
    top("home.copy", "filesystem_policy", "{home: {copy: [.a]}}", "{home: {copy: [.b]}}"),
    credential("a credential.file", "file: /a, \(header)", "file: /b, \(header)"),
    credential("a credential.env", "env: A, \(header)", "env: B, \(header)"),
    credential("a credential.command", "command: [/a], \(header)", "command: [/b], \(header)"),
    credential("a credential.timeout", "command: [/a], timeout: 1, \(header)", "command: [/a], timeout: 2, \(header)"),
    credential("a credential.header", "file: /a, \(header)", #"file: /a, header: "B: ${token}""#),
    credential("a credential.basic", "file: /a, basic: {user: a}", "file: /a, \(header)"),
    credential("basic.user", "file: /a, basic: {user: a}", "file: /a, basic: {user: b}"),
    credential("a credential.query", "file: /a, query: a", "file: /a, query: b"),
    credential("a credential.sigv4", "file: /a, sigv4: {}", "file: /a, \(header)"),
    credential("sigv4.region", "file: /a, sigv4: {region: a}", "file: /a, sigv4: {region: b}"),
    credential("sigv4.service", "file: /a, sigv4: {service: a}", "file: /a, sigv4: {service: b}"),
    credential(
      "a credential.mode", "file: /a, \(header)", "file: /a, \(header), mode: replace, placeholder: 0123456789abcdef"),
    credential(
      "a credential.placeholder", "file: /a, \(header), placeholder: 0123456789abcdef",
      "file: /a, \(header), placeholder: 0123456789abcdeg"),
    credential(
      "a credential.environment", "file: /a, \(header), placeholder: 0123456789abcdef, environment: A",
      "file: /a, \(header), placeholder: 0123456789abcdef, environment: B"),
    credential("a credential.oauth2", "oauth2: {\(grant)}, \(header)", "file: /a, \(header)"),
    oauth("token_url", grant, grant.replacing("l.test", with: "m.test")),
    oauth("client_id", grant, grant.replacing("client_id: a", with: "client_id: b")),
    oauth("client_secret", grant, grant.replacing("env: S", with: "env: T")),
    oauth("refresh_token", grant, grant + ", refresh_token: {file: /r}"), oauth("scope", grant, grant + ", scope: a"),
    oauth(
      "write_back", grant + ", refresh_token: {file: /r}", grant + ", refresh_token: {file: /r, write_back: true}"
    ).of("refresh_token"),
    oauth("audience", grant, grant + ", audience: a"), oauth("authentication", grant, grant + ", authentication: body"),
    oauth("addresses", grant, grant + ", addresses: [10.0.0.0/8]"),
    oauth("tls", grant, grant + ", tls: {roots: roots.pem}"),
  ]
  + ["client_secret", "refresh_token"].flatMap { name in
    [
      ("file", "/a", "/b"), ("env", "A", "B"), ("command", "[/a]", "[/b]"),
      ("timeout", "1, command: [/a]", "2, command: [/a]"),
    ]
    .map { key, one, other in
      let start =
        #"token_url: "https://l.test/t", client_id: a, "# + (name == "client_secret" ? "" : "client_secret: {env: S}, ")
      return credential(
        "\(name).\(key)", "oauth2: {\(start)\(name): {\(key): \(one)}}, \(header)",
        "oauth2: {\(start)\(name): {\(key): \(other)}}, \(header)")
    }
  }
  + section(
    "listen",
    [
      ("transparent", "127.0.0.1:1", "127.0.0.1:2"), ("dns", "127.0.0.1:1", "127.0.0.1:2"), ("admin", "/a", "/b"),
      ("metrics", "127.0.0.1:1, admin: /a", "127.0.0.1:2, admin: /a"),
      ("proxy_protocol", "[10.0.0.0/8], connect: 127.0.0.1:1", "[10.1.0.0/16], connect: 127.0.0.1:1"),
    ])
  + section("resolver", [("servers", "192.0.2.1", "192.0.2.2"), ("timeout", "1", "2"), ("attempts", "1", "2")])
  + section(
    "dns",
    [
      ("answers", "real", "synthetic"), ("refused", "address", "nxdomain"), ("ttl", "1", "2"),
      ("networks", "[198.18.0.0/16]", "[198.19.0.0/16]"),
    ])
  + section("log", [("file", "/a", "/b"), ("on_failure", "refuse", "continue"), ("paths", "none", "full")])
  + section(
    "limits",
    [
      ("connections", "1", "2"), ("head_bytes", "1KiB", "2KiB"), ("hello_bytes", "1KiB", "2KiB"),
      ("dns_cache_names", "16", "17"), ("synthetic_names", "16", "17"), ("log_buffer_bytes", "1MiB", "2MiB"),
    ])
  + section("timeouts", ["head", "hello", "connect", "idle", "keep_alive", "drain"].map { ($0, "1", "2.5") })
  + section(
    "process_limits",
    [
      ("cpu.max", "max", "200000 100000"), ("memory.max", "1G", "2G"), ("memory.swap.max", "0", "1M"),
      ("pids.max", "4", "5"), ("io.max", "wbps=1M", "wbps=2M"),
    ])
  + section(
    "filesystem_policy",
    [
      ("workspace", "/a", "/b"), ("workspace_mode", "ro", "copy"), ("caches", "[pip]", "[.cache/x]"),
      ("read_only", "[/a]", "[/b]"), ("read_write", "[/a]", "[/b]"),
      ("hidden", "[a]", "[b]"),
      ("protected", "[a]", "[b]"), ("tmp", "1MiB", "2MiB"), ("home", "{size: 1MiB}", "{folder: /a}"),
    ])
  + section(
    "approvals",
    [
      ("wait_seconds", "0", "2.5"), ("per_client", "1", "2"),
      ("notify", "[{command: [/a]}]", "[{webhook: https://a.test/h}]"),
    ])
  + section("environment", [("pass", "[A]", "[B]"), ("set", "{A: one}", "{A: two}")])
  + section("content_policy", content)
  + content.map { key, one, other in rule("content.\(key)", "{\(key): \(one)}", "{\(key): \(other)}").asContent }

extension Change {
  /// The last part of the key stands inside of another one.
  fileprivate var asRequests: Change { inside("requests") }
  fileprivate var asDNS: Change { inside("dns") }
  fileprivate var asContent: Change { inside("content") }

  private func inside(_ name: String) -> Change {
    let last = String(key.split(separator: ".")[1])
    return Change(
      key, before.replacing("443, \(last): ", with: "443, \(name): "),
      after.replacing("443, \(last): ", with: "443, \(name): "))
  }

  fileprivate func of(_ section: String) -> Change {
    Change("\(section).\(key.split(separator: ".")[1])", before, after)
  }

  fileprivate var renamed: Change { Change(key, before, after.replacing("name: c", with: "name: d")) }
}

private func load(_ text: String) -> LoadedPolicy {
  let tools = ToolSettings(variable: { $0 == "PIP_INDEX_URL" ? "https://index.test/" : nil }, read: { _ in nil })
  return PolicyFile.parse(
    bytes: Array(text.utf8), name: "p.yaml", nowUnix: 1_800_000_000, registries: RegistryAnswers(tools.answer)
  ) { files[$0].map { Array($0.utf8) } }
}

@Suite struct SchemaDiffTests {
  @Test(arguments: ruleChanges + sectionChanges)
  fileprivate func aChangeOfAKeyIsTold(change: Change) throws {
    let (one, other) = (load(change.before), load(change.after))
    let before = try #require(one.policy, "\(one.problems)")
    let after = try #require(other.policy, "\(other.problems)")
    #expect(!PolicyDiff(from: before, to: after, nowUnix: 1_800_000_000).changes.isEmpty)
    #expect(!ReloadSummary(from: before, to: after).lines.isEmpty)
    #expect(PolicyDiff(from: before, to: before, nowUnix: 1_800_000_000).changes.isEmpty)
    #expect(ReloadSummary(from: after, to: after).lines.isEmpty)
  }

  /// A key that the readers know and the table above does not would be one that nobody compares.
  @Test func noKeyOfTheSchemaIsForgotten() {
    var schema: Set<SchemaSection> = []
    for change in ruleChanges + sectionChanges {
      schema.formUnion(load(change.before).schema.union(load(change.after).schema))
    }
    let tested = Set((ruleChanges + sectionChanges).map(\.key))
    let known = Set(schema.flatMap { section in section.keys.map { "\(section.name).\($0)" } })
    #expect(known.subtracting(tested).sorted() == [])
    #expect(tested.subtracting(known).sorted() == [])
  }

  @Test func theChangeOfTheIssueIsTold() throws {
    let open = try #require(load("network_policy: {allow: [a.test:443]}\n").policy)
    let narrow = try #require(
      load("network_policy: {allow: [{host: a.test:443, methods: [GET], paths: [/a/**]}]}\n").policy)
    #expect(
      PolicyDiff(from: open, to: narrow, nowUnix: 0).changes.map(\.details) == [
        ["inspected: none -> true", "methods: none -> GET", "paths: none -> /a/**"]
      ])
    #expect(
      ReloadSummary(from: narrow, to: open).lines == [
        "~ allow a.test:443: inspected true -> none, methods GET -> none, paths /a/** -> none"
      ])
  }
}

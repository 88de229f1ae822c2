// What a policy file says of requests, credentials and content: what it means, and what a wrong one is told.

import Policy
import PolicyFile
import Testing
import Wire

private let files = [
  "roots.pem": "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n",
  "key.pem": "-----BEGIN EC PRIVATE KEY-----\nx\n", "empty.pem": "",
]

private func load(_ text: String) -> LoadedPolicy {
  PolicyFile.parse(bytes: Array(text.utf8), name: "p.yaml", nowUnix: 1_800_000_000) { path in
    files[path].map { Array($0.utf8) }
  }
}

private func rule(_ keys: String) -> String {
  "network_policy:\n  allow:\n    - {host: a.example:443, \(keys)}\n"
}

private func credential(_ keys: String, use: String = "host: a.example:443") -> String {
  "credentials:\n  x: {\(keys)}\nnetwork_policy: {allow: [{\(use), credential: x}]}\n"
}

private let header = "header: \"Authorization: Bearer ${token}\""
private let bearer = "file: /t, \(header)"
private let grant = "token_url: \"https://l.example/t\", client_id: a, client_secret: {env: S}"

private let ruleMistakes: [Mistake] = [
  Mistake(rule("methods: []"), "3:29", "no request could match"),
  Mistake(rule("methods: [get]"), "3:39", "write GET"),
  Mistake(rule("methods: [\"GET /\"]"), "3:39", "a word such as GET"),
  Mistake(rule("methods: [GET, GET]"), "3:44", "stands twice"),
  Mistake(rule("methods: [CONNECT]"), "3:39", "no request inside one"),
  Mistake(rule("methods: {a: b}"), "3:38", "takes a list"),
  Mistake(rule("paths: []"), "3:29", "no request could match"),
  Mistake(rule("paths: [repos]"), "3:37", "does not begin with /"),
  Mistake(rule("paths: [/a?b=c]"), "3:37", "no query"),
  Mistake(rule("paths: [/a/b**]"), "3:37", "** is a whole segment"),
  Mistake(rule("paths: [/a/%2e%2e/../..]"), "3:37", "climbs above"),
  Mistake(rule("paths: [/a/%2f..%2f..%2f..]"), "3:37", "climbs above"),
  Mistake(rule("paths: [/a/%25u002e]"), "3:37", "encoded several times"),
  Mistake(rule("paths: [\"/a/．\"]"), "3:37", "turn into a dot"),
  Mistake(rule("paths: [/a, /b/../a]"), "3:41", "stands twice"),
  Mistake(rule("inspect: yes"), "3:38", "true or false"),
  Mistake(rule("inspect: false, methods: [GET]"), "3:29", "needs inspection"),
  Mistake(rule("inspect: true, protocol: tcp"), "3:44", "remove `protocol`"),
  Mistake(rule("credential: x"), "3:41", "write it under `credentials`"),
  Mistake(rule("tls: {}"), "3:34", "says nothing"),
  Mistake(rule("tls: {roots: none.pem}"), "3:42", "cannot read"),
  Mistake(rule("tls: {roots: empty.pem}"), "3:42", "holds no -----BEGIN CERTIFICATE-----"),
  Mistake(rule("tls: {root: roots.pem}"), "3:35", "did you mean `roots`?"),
  Mistake(rule("tls: {client_certificate: {certificate: roots.pem}}"), "3:55", "`key` is missing"),
  Mistake(
    rule("tls: {client_certificate: {certificate: roots.pem, key: roots.pem}}"), "3:85", "no -----BEGIN PRIVATE KEY"),
  Mistake(rule("content: {}"), "3:38", "checks nothing"),
  Mistake(rule("content: {on_too_large: cut, secrets: log}"), "3:39", "needs `max_response_bytes`"),
  Mistake(rule("content: {secrets: hide}"), "3:48", "log or block or review"),
  Mistake(rule("content: {secrets: review}"), "3:39", "the file has no `approvals`"),
  Mistake(rule("content: {flag_instructions: review}"), "3:39", "write `flag_instructions: block`"),
  Mistake("network_policy: {}\ncontent_policy: {flag_instructions: review}\n", "2:18", "waits for a person"),
  Mistake(rule("content: {secrets: log, muted: [a]}"), "3:53", "needs `flag_instructions"),
  Mistake(rule("content: {flag_instructions: log, muted: [a, a]}"), "3:74", "stands twice in `muted`"),
  Mistake(rule("content: {secrets: log, patterns: key.pem}"), "3:53", "needs `flag_instructions"),
  Mistake(rule("content: {flag_instructions: log, patterns: none}"), "3:73", "cannot read"),
  Mistake(
    "network_policy:\n  allow: [{host: 10.0.0.1:443, inspect: true}]\n", "2:32", "addresses: [10.0.0.1]"),
  Mistake(
    "network_policy:\n  deny: [{host: a.example:443, methods: [GET]}]\n", "2:32", "write `methods` at the allow rule"),
  Mistake("network_policy: {}\ntls: {roots: roots.pem}\n", "2:7", "an allow rule's own `tls`"),
  Mistake("network_policy: {}\ntls: {}\n", "2:6", "write tls: {ca: "),
  Mistake("network_policy: {}\nexplain_denials: 1\n", "2:18", "true or false"),
  Mistake("network_policy: {}\ncontent_policy: {strip_htm: true}\n", "2:18", "did you mean `strip_html`?"),
]

private let credentialMistakes: [Mistake] = [
  Mistake("network_policy: {}\ncredentials: [x]\n", "2:14", "takes a mapping"),
  Mistake("network_policy: {}\ncredentials: {\"a b\": {}}\n", "2:15", "made of letters"),
  Mistake(
    "credentials:\n  x: {\(bearer)}\n  x: {\(bearer)}\nnetwork_policy: {}\n", "3:3", "stands in line 2 already"),
  Mistake(credential(header), "2:6", "here is none"),
  Mistake(credential("env: A, \(bearer)"), "2:7", "here are 2"),
  Mistake(credential("file: /t"), "2:6", "one place"),
  Mistake(credential("\(bearer), query: key"), "2:59", "here are 2"),
  Mistake(credential("\(bearer), timeout: 3"), "2:59", "is for `command`"),
  Mistake(credential("env: sk-live-x, \(header)"), "2:12", "never the value"),
  Mistake(credential("command: [], \(header)"), "2:7", "`command` is empty"),
  Mistake(credential("command: [pass, show], \(header)"), "2:16", "the whole path"),
  Mistake(credential("command: [/bin/x], timeout: 1h, \(header)"), "2:35", "without a unit"),
  Mistake(credential("file: /t, header: \"X-Key\""), "2:25", "${token}"),
  Mistake(credential("file: /t, header: \"X Key: ${token}\""), "2:25", "a header's name"),
  Mistake(credential("file: /t, header: \"Host: ${token}\""), "2:25", "carries no credential"),
  Mistake(credential("file: /t, header: \"A: ${token} ${token}\""), "2:25", "once"),
  Mistake(credential("file: /t, basic: {}"), "2:24", "needs the user"),
  Mistake(credential("file: /t, basic: {user: \"a:b\"}"), "2:31", "no colon"),
  Mistake(credential("file: /t, query: \"a&b\""), "2:24", "a parameter's name"),
  Mistake(credential("file: /t, sigv4: {region: EU}"), "2:33", "small letters"),
  Mistake(credential("\(bearer), mode: swap"), "2:65", "inject or replace"),
  Mistake(credential("\(bearer), mode: replace"), "2:6", "needs `placeholder`"),
  Mistake(credential("\(bearer), placeholder: short"), "2:72", "turn up by chance"),
  Mistake(credential("\(bearer), placeholder: \"sk/0123456789abcdef\""), "2:72", "two spellings"),
  Mistake(credential("\(bearer), mode: inject, environment: A"), "2:73", "the client sends nothing"),
  Mistake(credential("\(bearer), placeholder: sk-0123456789abcdef, environment: a-b"), "2:106", "a variable's name"),
  Mistake(credential("file: /t, sigv4: {}, placeholder: sk-0123456789abcdef"), "2:17", "signed anew"),
  Mistake(
    "credentials:\n  x: {\(bearer), placeholder: sk-0123456789abcdef}\n"
      + "  y: {\(bearer), placeholder: sk-0123456789abcdef-y}\nnetwork_policy: {}\n", "3:3", "make them differ"),
  Mistake(
    "credentials: {x: {\(bearer)}}\nnetwork_policy: {allow: [{host: a.example:443, credential: y}]}\n", "2:60",
    "did you mean `x`?"),
  Mistake(credential(bearer, use: "host: \"*.example:443\""), "3:62", "no host but its own"),
  Mistake(credential(bearer, use: "host: \"*:443\""), "3:54", "no host but its own"),
  Mistake(credential(bearer, use: "host: \"a.example:[80, 443]\""), "3:68", "port 80 is plain HTTP"),
  Mistake(credential("oauth2: {}, \(header)"), "2:15", "`token_url` of `oauth2` is missing"),
  Mistake(
    credential("oauth2: {token_url: \"http://l.example/t\", client_id: a, client_secret: {env: S}}, \(header)"), "2:27",
    "over TLS alone"),
  Mistake(
    credential("oauth2: {token_url: \"https://10.0.0.1/t\", client_id: a, client_secret: {env: S}}, \(header)"), "2:27",
    "no URL of a token endpoint"),
  Mistake(
    credential("oauth2: {token_url: \"https://l.example/t\", client_id: a, client_secret: hush}, \(header)"), "2:79",
    "not written here"),
  Mistake(credential("oauth2: {\(grant), authentication: digest}, \(header)"), "2:105", "basic or body"),
  Mistake(credential("oauth2: {\(grant), addresses: [10.0.0.0/33]}, \(header)"), "2:101", "0 to 32"),
]

@Suite struct InspectionMistakeTests {
  @Test(arguments: ruleMistakes + credentialMistakes)
  func aMistakeSaysWhereItIsAndWhatToWrite(mistake: Mistake) {
    let loaded = load(mistake.text)
    #expect(loaded.policy == nil)
    let texts = loaded.problems.map { "\($0)" }
    #expect(texts.contains { $0.hasPrefix("p.yaml:\(mistake.place): ") && $0.contains(mistake.says) }, "\(texts)")
    #expect(texts.count == 1 || mistake.text.contains("oauth2: {}"), "one mistake is one problem: \(texts)")
  }
}

@Suite struct InspectionMeaningTests {
  private func rules(_ text: String) throws -> [AllowRule] {
    let loaded = load(text)
    return try #require(loaded.policy, "\(loaded.problems)").fallback.network.allow
  }

  @Test func aRuleIsInspectedWhereItSaysSomethingOfRequests() throws {
    let keys = ["methods: [GET]", "paths: [/a]", "inspect: true", "content: {secrets: log}", "tls: {roots: roots.pem}"]
    for key in keys { #expect(try rules(rule(key))[0].isInspected, "\(key)") }
    #expect(try rules(credential(bearer))[0].isInspected)
    for key in ["inspect: false", "ech: refuse"] { #expect(try !rules(rule(key))[0].isInspected, "\(key)") }
    // What holds for all that are inspected makes none inspected.
    #expect(try !rules(rule("ech: refuse") + "content_policy: {secrets: block}\n")[0].isInspected)
  }

  @Test func methodsAndPathsAreJudged() throws {
    let inspection = try #require(try rules(rule("methods: [GET, HEAD], paths: [\"/repos/acme/**\"]"))[0].inspection)
    func verdict(_ method: String, _ target: String) -> String {
      switch inspection.judge(method: Array(method.utf8).span, target: Array(target.utf8).span) {
      case .allow(let path): path.map { String(decoding: $0.bytes, as: UTF8.self) } ?? "as it came"
      case .refuse(let reason, _): reason.rawValue
      }
    }
    #expect(verdict("GET", "/repos/acme/x?y=/../z") == "/repos/acme/x")
    #expect(verdict("HEAD", "/repos/acme") == "/repos/acme")
    #expect(verdict("get", "/repos/acme/x") == "method_refused")
    #expect(verdict("POST", "/repos/acme/x") == "method_refused")
    #expect(verdict("GET", "/repos/acme/../other/x") == "path_refused")
    #expect(verdict("GET", "/repos/acme/%2e%2e/acme/x") == "/repos/acme/x")
    #expect(verdict("GET", "/repos/acme/%252e%252e/x") == "path_refused")
    #expect(verdict("GET", "*") == "path_refused")
    let open = try #require(try rules(rule("inspect: true"))[0].inspection)
    guard case .allow(nil) = open.judge(method: Array("X".utf8).span, target: Array("/a//b".utf8).span) else {
      Issue.record("a rule without methods and paths takes any request as it came")
      return
    }
  }

  private func verdict(_ inspection: Inspection, _ method: String, _ target: String, _ fields: [(String, String)] = [])
    -> String
  {
    var overrides = MethodOverrides()
    for (name, value) in fields { overrides.note(name: Array(name.utf8).span, value: Array(value.utf8).span) }
    switch inspection.judge(method: Array(method.utf8).span, target: Array(target.utf8).span, overrides: overrides) {
    case .allow(let path): return path.map { String(decoding: $0.bytes, as: UTF8.self) } ?? "as it came"
    case .refuse(let reason, _): return reason.rawValue
    }
  }

  @Test func methodsAndPathsGoInPairs() throws {
    let keys =
      #"requests: [{methods: [GET], paths: ["/repos/acme/**"]}, {methods: [POST], paths: ["/repos/acme/*/issues"]}]"#
    let inspection = try #require(try rules(rule(keys))[0].inspection)
    #expect(verdict(inspection, "GET", "/repos/acme/x?a") == "/repos/acme/x")
    #expect(verdict(inspection, "POST", "/repos/acme/x/issues") == "/repos/acme/x/issues")
    #expect(verdict(inspection, "GET", "/repos/acme/x/issues") == "/repos/acme/x/issues")
    #expect(verdict(inspection, "POST", "/repos/acme/x") == "path_refused")
    #expect(verdict(inspection, "POST", "/repos/acme/x%2Fissues") == "path_refused")
    #expect(verdict(inspection, "PUT", "/repos/acme/x") == "method_refused")
    let open = try #require(try rules(rule("requests: [{methods: [GET]}, {paths: [/a]}]"))[0].inspection)
    #expect(verdict(open, "GET", "/b//c") == "as it came" && verdict(open, "PUT", "/a") == "/a")
    #expect(verdict(open, "PUT", "/b") == "path_refused")
  }

  /// A framework may carry out another method than the one that was sent: the rule must allow both.
  @Test(arguments: [
    ("X-HTTP-Method-Override", "DELETE"), ("x-http-method-override", " delete "), ("X-HTTP-Method", "PUT"),
    ("X-Method-Override", "PATCH"), ("X_HTTP_METHOD_OVERRIDE", "DELETE"), ("X-HTTP-Method-Override", "GET, DELETE"),
  ])
  func aMethodInAFieldIsHeldToTheRule(name: String, value: String) throws {
    let inspection = try #require(try rules(rule("methods: [GET, POST]"))[0].inspection)
    #expect(verdict(inspection, "POST", "/a", [(name, value)]) == "method_refused")
    #expect(verdict(inspection, "POST", "/a", [(name, "GET")]) == "as it came")
    #expect(verdict(inspection, "POST", "/a", [("X-Other", value)]) == "as it came")
    let open = try #require(try rules(rule("paths: [/a]"))[0].inspection)
    #expect(verdict(open, "POST", "/a", [(name, value)]) == "/a", "a rule without methods allows them all")
  }

  @Test(arguments: [
    "/a?_method=DELETE", "/a?x=1&_method=delete", "/a?x=1;_method=put", "/a?%5fmethod=%44ELETE", "/a?_METHOD=DELETE",
    "/a?X-HTTP-Method-Override=PUT", "/a?_method=GET&_method=PUT", "/a?_method=+PUT",
  ])
  func aMethodInTheQueryIsHeldToTheRule(target: String) throws {
    let inspection = try #require(try rules(rule("methods: [GET, POST]"))[0].inspection)
    #expect(verdict(inspection, "POST", target) == "method_refused")
    for harmless in [
      "/a?method=PUT", "/a?x_method=PUT", "/a?_method=", "/a?_methods=PUT", "/_method=PUT", "/a?_method=get",
    ] {
      #expect(verdict(inspection, "POST", harmless) == "as it came", "\(harmless)")
    }
  }

  /// With pairs, each method is held to its own paths.
  @Test func anOverriddenMethodIsHeldToItsOwnPaths() throws {
    let keys =
      "requests: [{methods: [GET], paths: [/**]}, {methods: [POST], paths: [/items]}, {methods: [PUT], paths: [/own]}]"
    let inspection = try #require(try rules(rule(keys))[0].inspection)
    #expect(verdict(inspection, "POST", "/items", [("X-HTTP-Method-Override", "PUT")]) == "path_refused")
    #expect(verdict(inspection, "POST", "/items", [("X-HTTP-Method-Override", "GET")]) == "/items")
  }

  @Test func contentOfARuleStandsOverThatOfTheFile() throws {
    let rules = try rules(
      """
      content_policy: {max_response_bytes: 5MiB, secrets: block, flag_instructions: annotate}
      network_policy:
        allow:
          - {host: a.example:443, inspect: true}
          - {host: b.example:443, content: {on_too_large: truncate, secrets: log}}
          - {host: c.example:443, content: none}
          - d.example:443
      """)
    let content = rules.map { $0.inspection?.content }
    #expect(content[0]?.maxResponseBytes == 5 << 20 && content[0]?.secrets == .block)
    #expect(content[1]?.maxResponseBytes == 5 << 20 && content[1]?.secrets == .log)
    #expect(content[1]?.onTooLarge == .truncate && content[1]?.flagInstructions == .annotate)
    #expect(content[2] == ContentPolicy() && content[3] == nil)
  }

  @Test func credentialsAreReadWhole() throws {
    let loaded = load(
      """
      credentials:
        a: {file: /run/a, header: "x-api-key: ${token}", placeholder: sk-0123456789abcdef, environment: API_KEY}
        b: {env: B_TOKEN, basic: {user: x-access-token}}
        c: {command: [/usr/bin/pass, show, c], timeout: 2.5, query: key}
        d: {command: [/usr/bin/creds], sigv4: {region: eu-central-1}}
        e:
          oauth2: {token_url: "https://login.internal:8443/o/token?x=1", client_id: me, client_secret: {env: E_SECRET},
                   refresh_token: {file: /run/e}, scope: a b, audience: z, authentication: body, addresses: 10.0.0.0/8}
          header: "Authorization: Bearer ${token}"
      network_policy:
        allow:
          - {host: a.example:443, credential: a}
          - {host: b.example:443, credential: b}
          - {host: c.example:443, credential: c}
          - {host: "*.s3.example:443", credential: d}
          - {host: e.example:443, credential: e}
      explain_denials: true
      tls: {ca: /ca}
      """)
    let policy = try #require(loaded.policy, "\(loaded.problems)")
    #expect(loaded.warnings.isEmpty, "\(loaded.warnings)")
    #expect(policy.settings.explainsDenials == true && policy.settings.caFolder == "/ca")
    let all = policy.credentials
    #expect(all.map(\.name) == ["a", "b", "c", "d", "e"])
    #expect(all[0].placement == .header(name: "x-api-key", prefix: "", suffix: ""))
    #expect(all[0].placeholder == "sk-0123456789abcdef" && all[0].environment == "API_KEY")
    #expect(all[1].placement == .basic(user: "x-access-token") && all[1].secretVariables == ["B_TOKEN"])
    #expect(all[2].source == .command(["/usr/bin/pass", "show", "c"], timeoutMs: 2500))
    #expect(all[3].placement == .sigv4(region: "eu-central-1", service: nil))
    guard case .oauth2(let grant) = all[4].source else {
      Issue.record("e is a grant")
      return
    }
    #expect("\(grant.endpoint)" == "login.internal:8443" && grant.path == "/o/token?x=1" && grant.scope == "a b")
    #expect(all[4].secretVariables == ["E_SECRET"])
    #expect(policy.fallback.network.allow[0].inspection?.credential == all[0])
  }

  @Test func whatIsDoubtfulOfCredentialsIsSaid() {
    let loaded = load(
      "credentials:\n  x: {\(bearer)}\n  y: {\(bearer)}\nnetwork_policy:\n  mode: report\n"
        + "  allow: [{host: a.example:443, credential: x}]\n")
    let texts = loaded.warnings.map { "\($0)" }
    #expect(texts.contains { $0.hasPrefix("p.yaml:3:3: ") && $0.contains("no rule uses the credential y") }, "\(texts)")
    #expect(texts.contains { $0.contains("only into what `mode: enforce` would let out") }, "\(texts)")
  }
}

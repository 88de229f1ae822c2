// `credentials`: each with a name, one source, one placement, and the client's placeholder.
// It relies on the gate to read the values: this file reads only their places.
import Policy
import Wire
import YAML

struct CredentialsSection {
  static let sources = ["file", "env", "command", "oauth2"]
  private static let placements = ["header", "basic", "query", "sigv4"]
  private static let keys = sources + placements + ["timeout", "mode", "placeholder", "environment"]
  /// Shorter texts could occur by chance.
  private static let placeholderBytesMin = 16

  private enum Mode: String, CaseIterable { case inject, replace }

  let findings: Findings
  let files: PolicyFiles

  func read(_ node: YAMLNode, into defaults: inout InspectionDefaults) {
    guard case .mapping(let pairs) = node.content else {
      findings.problem(
        node.mark,
        "`credentials` takes a mapping such as {github: {file: /run/secrets/github, header: \"Authorization: Bearer"
          + " ${token}\"}}, not \(node.kindName)")
      return
    }
    var seen: [String: Mark] = [:]
    for (key, value) in pairs {
      guard let name = readName(key) else { continue }
      if let first = seen.updateValue(key.mark, forKey: name) {
        findings.problem(
          key.mark, "the credential \(name) stands in \(findings.place(first, from: key.mark)) already; keep one")
        continue
      }
      guard let credential = read(one: value, name: name, at: key.mark) else {
        defaults.brokenCredentials.insert(name)
        continue
      }
      checkPlaceholder(credential, among: defaults.credentials, key.mark)
      defaults.credentials[name] = credential
    }
  }

  private func readName(_ key: YAMLNode) -> String? {
    guard case .scalar(let name, _) = key.content, !name.isEmpty, name.utf8.count <= 64,
      name.utf8.allSatisfy({ $0.isUnreserved && $0 != 0x7e })
    else {
      findings.problem(
        key.mark, "a credential's name is made of letters, digits, '-', '_' and '.', at most 64, not \(key.shown)")
      return nil
    }
    return name
  }

  private func read(one node: YAMLNode, name: String, at mark: Mark) -> Credential? {
    guard let fields = Fields(node, of: "a credential", known: Self.keys, findings) else { return nil }
    let source = SecretSource(findings: findings, files: files).read(fields, of: "a credential", oauth2: true)
    let placement = PlacementKeys(findings: findings).read(fields)
    guard let source, let placement else { return nil }
    let line = findings.line(mark)
    var credential = Credential(name: name, line: line, source: source, placement: placement)
    readMode(fields, &credential)
    return credential
  }

  private func readMode(_ fields: Fields, _ credential: inout Credential) {
    let mode = fields.choice("mode", Mode.self) ?? (fields.has("placeholder") ? .replace : .inject)
    guard mode == .replace else {
      for key in ["placeholder", "environment"] where fields.has(key) {
        findings.problem(
          fields.mark(of: key), "`\(key)` is for `mode: replace`; with `inject` the client sends nothing; remove one")
      }
      return
    }
    if case .sigv4 = credential.placement {
      findings.problem(
        fields.mark(of: "sigv4"), "with `sigv4` each request is signed anew, whatever key the client has; remove `mode`"
      )
    }
    credential.environment = fields.text("environment", example: "OPENAI_API_KEY")
    if let name = credential.environment, !name.isVariable {
      findings.problem(
        fields.node("environment")?.mark ?? fields.mark, "`environment` is a variable's name such as OPENAI_API_KEY")
    }
    guard fields.has("placeholder") else {
      findings.problem(
        fields.mark,
        "`mode: replace` needs `placeholder`: a text of the key's form that the client sends, such as"
          + " sk-placeholder-for-the-gate-to-replace")
      return
    }
    guard let text = fields.text("placeholder", example: "sk-placeholder-for-the-gate-to-replace") else { return }
    let mark = fields.node("placeholder")?.mark ?? fields.mark
    let isPlain = text.utf8.allSatisfy { $0.isUnreserved }
    if !isPlain || text.utf8.count < Self.placeholderBytesMin || text.utf8.count > 512 {
      findings.problem(
        mark,
        "`placeholder` is \(Self.placeholderBytesMin) to 512 letters, digits, '-', '_', '.' and '~': a shorter one would"
          + " turn up by chance, and another character has two spellings")
    }
    credential.mode = .replace(placeholder: text)
  }

  private func checkPlaceholder(_ credential: Credential, among others: [String: Credential], _ mark: Mark) {
    for other in others.values.sorted(by: { $0.name < $1.name }) {
      if let one = credential.environment, one == other.environment {
        findings.problem(mark, "`environment: \(one)` is that of \(other.name) too; give each its own")
      }
      guard let one = credential.placeholder, let two = other.placeholder else { continue }
      if one.contains(two) || two.contains(one) {
        findings.problem(
          mark, "its placeholder and that of \(other.name) are the same, or one holds the other; make them differ")
      }
    }
  }

  /// Warns of credentials that no rule uses, and of settings that disagree with those that are used.
  static func warn(_ credentials: [String: Credential], of networks: [NetworkSpec], _ findings: Findings) {
    var used: Set<String> = []
    for network in networks {
      let names = network.allow.compactMap { $0.inspection?.credential?.name }
      used.formUnion(names)
      if network.isReportOnly, let name = names.first {
        findings.warn(
          findings.mark(network.line),
          "in report mode a credential (\(name)) is put only into what `mode: enforce` would let out too")
      }
    }
    for credential in credentials.values where !used.contains(credential.name) {
      findings.warn(
        findings.mark(credential.line),
        "no rule uses the credential \(credential.name); give one `credential: \(credential.name)`")
    }
  }
}

/// Source of a value: file, env, command or, at the top only, oauth2.
struct SecretSource {
  static let plain = ["file", "env", "command", "timeout"]

  let findings: Findings
  let files: PolicyFiles

  func read(_ fields: Fields, of name: String, oauth2: Bool) -> Credential.Source? {
    let keys = oauth2 ? CredentialsSection.sources : ["file", "env", "command"]
    let found = keys.filter(fields.has)
    guard found.count == 1, let key = found.first else {
      let list = keys.map { "`\($0)`" }.joined(separator: ", ")
      findings.problem(
        found.last.map(fields.mark) ?? fields.mark,
        "\(name) has one source out of \(list); here \(found.isEmpty ? "is none" : "are \(found.count)")")
      return nil
    }
    if fields.has("timeout"), key != "command" {
      findings.problem(fields.mark(of: "timeout"), "`timeout` is for `command`; remove it")
    }
    switch key {
    case "file": return fields.text("file", example: "/run/secrets/github").map { .file($0) }
    case "env": return readVariable(fields)
    case "command": return readCommand(fields)
    default: return fields.node("oauth2").flatMap(readGrant).map { .oauth2($0) }
    }
  }

  private func readVariable(_ fields: Fields) -> Credential.Source? {
    guard let name = fields.text("env", example: "GITHUB_TOKEN") else { return nil }
    guard name.isVariable else {
      findings.problem(
        fields.node("env")?.mark ?? fields.mark,
        "`env` is the name of a variable such as GITHUB_TOKEN, never the value: that would stand in this file")
      return nil
    }
    return .env(name)
  }

  private func readCommand(_ fields: Fields) -> Credential.Source? {
    let words = fields.list("command", example: "[/usr/bin/pass, show, github]").compactMap { node -> String? in
      if case .scalar(let text, _) = node.content, !node.isNull, !text.isEmpty, !text.utf8.contains(0) { return text }
      findings.problem(node.mark, "a word of `command` is a text that is not empty, not \(node.kindName)")
      return nil
    }
    guard let program = words.first else {
      if case .sequence? = fields.node("command")?.content {
        findings.problem(fields.mark(of: "command"), "`command` is empty; write [/usr/bin/pass, show, github]")
      }
      return nil
    }
    if !program.hasPrefix("/") {
      findings.problem(
        fields.node("command")?.mark ?? fields.mark,
        "`command` begins with the whole path of a program, such as /usr/bin/pass: no shell and no PATH is asked")
      return nil
    }
    return .command(words, timeoutMs: fields.seconds("timeout", 0...300) ?? 10_000)
  }

  private func readGrant(_ node: YAMLNode) -> OAuth2? {
    let keys = [
      "token_url", "client_id", "client_secret", "refresh_token", "scope", "audience", "authentication", "addresses",
      "tls",
    ]
    guard let fields = Fields(node, of: "oauth2", known: keys, findings) else { return nil }
    for key in ["token_url", "client_id", "client_secret"] where !fields.has(key) {
      findings.problem(node.mark, "`\(key)` of `oauth2` is missing")
    }
    let secret = fields.node("client_secret").flatMap { nested($0, "client_secret") }
    var writesBack = false
    let refresh = fields.node("refresh_token").flatMap { nested($0, "refresh_token", writesBack: &writesBack) }
    guard let url = fields.text("token_url", example: "https://login.example.com/oauth2/token"),
      let id = fields.text("client_id", example: "agent"), let secret,
      let (endpoint, path) = readURL(url, fields.node("token_url")?.mark ?? fields.mark)
    else { return nil }
    var grant = OAuth2(endpoint: endpoint, path: path, clientID: id, clientSecret: secret)
    grant.refreshToken = refresh
    grant.writesBack = writesBack
    grant.scope = fields.text("scope", example: "repo read")
    grant.audience = fields.text("audience", example: "https://api.example.com")
    grant.authentication = fields.choice("authentication", OAuth2.Authentication.self) ?? .basic
    grant.addresses = fields.list("addresses", orSingle: true, example: "[10.20.0.0/16]").compactMap {
      Networks.prefix($0, findings)
    }
    grant.tls = fields.node("tls").map { TLSKeys(findings: findings, files: files).read($0) } ?? UpstreamTLS()
    return grant
  }

  private func nested(_ node: YAMLNode, _ name: String) -> Credential.Source? {
    keys(node, name, known: Self.plain).flatMap { read($0, of: "`\(name)`", oauth2: false) }
  }

  private func nested(_ node: YAMLNode, _ name: String, writesBack: inout Bool) -> Credential.Source? {
    guard let fields = keys(node, name, known: Self.plain + ["write_back"]) else { return nil }
    let source = read(fields, of: "`\(name)`", oauth2: false)
    writesBack = fields.flag("write_back") ?? false
    if writesBack, let source {
      if case .file = source { return source }
      findings.problem(
        fields.mark(of: "write_back"), "`write_back` is for a `file`: a new refresh token replaces its text; remove it")
    }
    return source
  }

  private func keys(_ node: YAMLNode, _ name: String, known: [String]) -> Fields? {
    guard case .scalar = node.content, !node.isNull else { return Fields(node, of: name, known: known, findings) }
    findings.problem(
      node.mark, "`\(name)` is not written here, but where it is: {file: PATH}, {env: NAME} or {command: […]}")
    return nil
  }

  private func readURL(_ url: String, _ mark: Mark) -> (endpoint: Target, path: String)? {
    let advice = "write https://HOST/PATH, such as https://login.example.com/oauth2/token"
    guard url.hasPrefix("https://") else {
      findings.problem(mark, "`token_url` is asked over TLS alone; \(advice)")
      return nil
    }
    let rest = url.dropFirst("https://".count)
    let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
    let path = String(rest.dropFirst(authority.count))
    let isPath = path.hasPrefix("/") && path.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x23 }
    guard let target = try? Authority.parse(Array(authority.utf8).span, defaultPort: 443),  // what it says is below
      case .name = target.host, path.isEmpty || isPath
    else {
      findings.problem(mark, "`\(url.quotable)` is no URL of a token endpoint; \(advice)")
      return nil
    }
    return (target, path.isEmpty ? "/" : path)
  }
}

/// Placement of a value: header, basic, query or sigv4.
struct PlacementKeys {
  private static let keys = ["header", "basic", "query", "sigv4"]

  let findings: Findings

  func read(_ fields: Fields) -> Credential.Placement? {
    let found = Self.keys.filter(fields.has)
    guard found.count == 1, let key = found.first else {
      findings.problem(
        found.last.map(fields.mark) ?? fields.mark,
        "a credential has one place out of `header`, `basic`, `query`, `sigv4`; here \(found.isEmpty ? "is none" : "are \(found.count)")"
      )
      return nil
    }
    switch key {
    case "header": return readHeader(fields)
    case "basic": return readBasic(fields)
    case "query": return readQuery(fields)
    default: return readSigning(fields)
    }
  }

  /// Fields that frame, route or belong to one hop: a credential in one of them would change what the request is.
  private static let taken: Set<String> = [
    "host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect", "via",
    "proxy-authorization", "proxy-connection", "keep-alive", "content-type", "content-encoding",
  ]

  private func readHeader(_ fields: Fields) -> Credential.Placement? {
    let example = "\"Authorization: Bearer ${token}\""
    guard let text = fields.text("header", example: example) else { return nil }
    let mark = fields.node("header")?.mark ?? fields.mark
    guard let colon = text.firstIndex(of: ":"), let token = text.firstRange(of: "${token}") else {
      findings.problem(mark, "`header` is NAME: TEXT with ${token} where the value goes; write \(example)")
      return nil
    }
    let name = String(text[..<colon])
    guard colon < token.lowerBound, !name.isEmpty, name.utf8.allSatisfy({ $0.isUnreserved && $0 != 0x7e && $0 != 0x2e })
    else {
      findings.problem(mark, "a header's name is made of letters, digits, '-' and '_'; write \(example)")
      return nil
    }
    guard !Self.taken.contains(name.lowercased()) else {
      findings.problem(mark, "\(name) frames or routes the request, and carries no credential; write \(example)")
      return nil
    }
    var prefix = text[text.index(after: colon)..<token.lowerBound]
    while prefix.first == " " { prefix = prefix.dropFirst() }
    let suffix = text[token.upperBound...]
    guard suffix.firstRange(of: "${token}") == nil, (prefix + suffix).utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7f })
    else {
      findings.problem(mark, "`header` has ${token} once, in plain ASCII; write \(example)")
      return nil
    }
    return .header(name: name, prefix: String(prefix), suffix: String(suffix))
  }

  private func readBasic(_ fields: Fields) -> Credential.Placement? {
    guard let node = fields.node("basic"), let keys = Fields(node, of: "basic", known: ["user"], findings) else {
      return nil
    }
    guard let user = keys.text("user", example: "x-access-token") else {
      if !keys.has("user") { findings.problem(node.mark, "`basic` needs the user: {user: x-access-token}") }
      return nil
    }
    if user.contains(":") {
      findings.problem(keys.node("user")?.mark ?? node.mark, "a user has no colon (RFC 7617 section 2)")
    }
    return .basic(user: user)
  }

  private func readQuery(_ fields: Fields) -> Credential.Placement? {
    guard let name = fields.text("query", example: "key") else { return nil }
    guard name.utf8.allSatisfy(\.isUnreserved) else {
      findings.problem(
        fields.node("query")?.mark ?? fields.mark,
        "`query` is a parameter's name such as key: letters, digits, '-', '_', '.' and '~'")
      return nil
    }
    return .query(name)
  }

  private func readSigning(_ fields: Fields) -> Credential.Placement? {
    guard let node = fields.node("sigv4"),
      let keys = Fields(node, of: "sigv4", known: ["region", "service"], findings)
    else { return nil }
    for key in ["region", "service"] {
      guard let text = keys.text(key, example: key == "region" ? "eu-central-1" : "s3"),
        !text.utf8.allSatisfy({ $0.isDigit || $0 &- 0x61 < 26 || $0 == 0x2d })
      else { continue }
      findings.problem(keys.node(key)?.mark ?? node.mark, "`\(key)` is made of small letters, digits and '-'")
    }
    return .sigv4(region: keys.text("region", example: "eu-central-1"), service: keys.text("service", example: "s3"))
  }
}

extension String {
  fileprivate var isVariable: Bool {
    guard let first = utf8.first, !first.isDigit else { return false }
    return utf8.allSatisfy { $0.isDigit || ($0 | 0x20) &- 0x61 < 26 || $0 == 0x5f }
  }
}

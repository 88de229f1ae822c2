// The keys of an allow rule that make it inspected: methods, paths, requests, credential, content, tls, inspect.
// It relies on CredentialsSection having been read before, so that a name that is no credential is told at once.
import Policy
import Wire
import YAML

/// Sections at the top of the file that rules refer to.
struct InspectionDefaults {
  var credentials: [String: Credential] = [:]
  /// Credentials with reported problems: rules that name them get no further problem.
  var brokenCredentials: Set<String> = []
  var content = ContentPolicy()
  /// True if the file has `approvals`, so that a person can be asked.
  var hasApprovals = false
}

struct InspectionKeys {
  static let keys = [
    "methods", "paths", "requests", "credential", "allow_key_issuing", "content", "tls", "inspect",
  ]

  let findings: Findings
  let files: PolicyFiles
  let defaults: InspectionDefaults

  /// Nil if the rule has no keys for requests.
  func read(_ fields: Fields, of rule: AllowSpec) -> Inspection? {
    guard let first = Self.keys.first(where: fields.has) else { return nil }
    let others = Self.keys.filter { $0 != "inspect" && fields.has($0) }
    if fields.flag("inspect") == false {
      guard let other = others.first else { return nil }
      findings.problem(
        fields.mark(of: "inspect"), "`inspect: false` beside `\(other)`, which needs inspection; remove one of them")
    }
    checkHost(fields, rule, mark: fields.mark(of: first))
    var inspection = Inspection()
    inspection.methods = readMethods(fields)
    inspection.paths = readPaths(fields)
    inspection.requests = readRequests(fields)
    inspection.content = fields.node("content").map { readContent($0) } ?? defaults.content
    inspection.tls = fields.node("tls").map { TLSKeys(findings: findings, files: files).read($0) } ?? UpstreamTLS()
    inspection.credential = readCredential(fields, rule)
    inspection.allowsKeyIssuing = readKeyIssuing(fields, inspection.credential)
    return inspection
  }

  private func checkHost(_ fields: Fields, _ rule: AllowSpec, mark: Mark) {
    if case .exact(.address(let address)) = rule.pattern {
      findings.problem(
        mark,
        "an inspected rule names its host, since certificates are held to a name; write the name as `host`, with"
          + " addresses: [\(address)]")
    }
    if rule.wireProtocol == .tcp {
      findings.problem(
        fields.mark(of: "protocol"),
        "`protocol: tcp` lets anything pass, and an inspected rule only requests; remove `protocol`")
    }
  }

  private func readMethods(_ fields: Fields) -> [[UInt8]] {
    var methods: [[UInt8]] = []
    for node in fields.list("methods", orSingle: true, example: "[GET, HEAD]") {
      guard case .scalar(let text, _) = node.content, !node.isNull, text.utf8.allSatisfy({ $0.isMethodByte }) else {
        findings.problem(node.mark, "a method is a word such as GET, not \(node.shown)")
        continue
      }
      if text == "CONNECT" {
        findings.problem(node.mark, "CONNECT is what opens a tunnel, and is no request inside one; remove it")
      } else if text != text.uppercased(), Self.usual.contains(text.uppercased()) {
        findings.problem(node.mark, "methods are compared with case; write \(text.uppercased())")
      }
      if methods.contains(Array(text.utf8)) {
        findings.problem(node.mark, "\(text) stands twice in `methods`; keep one")
      }
      methods.append(Array(text.utf8))
    }
    refuseEmpty("methods", fields)
    return methods
  }

  private static let pair = "{methods: [GET], paths: [\"/repos/acme/**\"]}"

  /// Methods and paths as pairs.
  private func readRequests(_ fields: Fields) -> [Inspection.RequestPattern] {
    for key in ["methods", "paths"] where fields.has("requests") && fields.has(key) {
      findings.problem(
        fields.mark(of: key), "`\(key)` beside `requests`, which has its own; write it in the entries of `requests`")
    }
    var requests: [Inspection.RequestPattern] = []
    for node in fields.list("requests", example: "[\(Self.pair)]") {
      guard let entry = Fields(node, of: "a request", known: ["methods", "paths"], findings) else { continue }
      if entry.isEmpty {
        findings.problem(node.mark, "this entry names neither `methods` nor `paths`; write \(Self.pair)")
      }
      let request = Inspection.RequestPattern(methods: readMethods(entry), paths: readPaths(entry))
      if requests.contains(request) {
        findings.problem(node.mark, "the same entry stands twice in `requests`; keep one")
      }
      requests.append(request)
    }
    refuseEmpty("requests", fields)
    return requests
  }

  private static let usual = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"]

  private func refuseEmpty(_ key: String, _ fields: Fields) {
    guard case .sequence(let items)? = fields.node(key)?.content, items.isEmpty else { return }
    findings.problem(
      fields.mark(of: key), "`\(key)` is empty, so no request could match; list some, or remove it for all")
  }

  private func readPaths(_ fields: Fields) -> [PathPattern] {
    var paths: [PathPattern] = []
    for node in fields.list("paths", orSingle: true, example: "[\"/repos/acme/**\"]") {
      guard case .scalar(let text, _) = node.content, !node.isNull else {
        findings.problem(node.mark, "a path is a text such as /repos/acme/**, not \(node.kindName)")
        continue
      }
      do throws(PathPattern.Problem) {
        let pattern = try PathPattern(text)
        if paths.contains(pattern) { findings.problem(node.mark, "\(pattern) stands twice in `paths`; keep one") }
        paths.append(pattern)
      } catch {
        findings.problem(node.mark, "`\(text.quotable)`: \(error)")
      }
    }
    refuseEmpty("paths", fields)
    return paths
  }

  private func readContent(_ node: YAMLNode) -> ContentPolicy {
    if case .scalar("none", _) = node.content { return ContentPolicy() }
    let keys = ContentKeys(findings: findings, files: files, hasApprovals: defaults.hasApprovals)
    return keys.read(node, of: "content", over: defaults.content)
  }

  private func readKeyIssuing(_ fields: Fields, _ credential: Credential?) -> Bool {
    guard fields.has("allow_key_issuing"), let allows = fields.flag("allow_key_issuing") else { return false }
    if case .sigv4? = credential?.placement { return allows }
    // A broken credential has its own problem.
    if credential != nil || !fields.has("credential") {
      findings.problem(
        fields.mark(of: "allow_key_issuing"),
        "`allow_key_issuing` is for a rule with a `sigv4` credential, whose calls may answer with keys; remove it")
    }
    return false
  }

  private func readCredential(_ fields: Fields, _ rule: AllowSpec) -> Credential? {
    guard let name = fields.text("credential", example: "github") else { return nil }
    let mark = fields.node("credential")?.mark ?? fields.mark
    guard let credential = defaults.credentials[name] else {
      if defaults.brokenCredentials.contains(name) { return nil }
      let known = defaults.credentials.keys.sorted()
      let advice =
        known.isEmpty ? "write it under `credentials`" : Suggestion.advice(for: name, among: known)
      findings.problem(mark, "there is no credential `\(name.quotable)`; \(advice)")
      return nil
    }
    if rule.ports.contains(80) {
      findings.problem(
        mark, "port 80 is plain HTTP, and a credential is put in only on verified TLS; leave port 80 out of this rule")
    }
    switch (rule.pattern, credential.placement) {
    case (.exact, _), (.wildcard, .sigv4): break
    case (.wildcard, _), (.network, _), (.any, _):
      findings.problem(
        mark,
        "a credential goes to no host but its own, and \(rule.pattern) is many; give each host that may have it a rule")
    }
    return credential
  }
}

extension UInt8 {
  /// The characters of methods: letters, digits, `-` and `_`.
  fileprivate var isMethodByte: Bool { isDigit || (self | 0x20) &- 0x61 < 26 || self == 0x2d || self == 0x5f }
}

/// Files that a policy names. They are read while it is parsed, so that a bad file never replaces a good policy.
struct PolicyFiles {
  let findings: Findings
  let read: (String) -> [UInt8]?

  func pem(_ key: String, _ fields: Fields, holding kind: String, example: String) -> UpstreamTLS.PEM? {
    guard let (path, bytes, mark) = file(key, fields, example: example) else { return nil }
    let text = String(decoding: bytes, as: UTF8.self)
    guard text.contains("-----BEGIN ") && text.contains("\(kind)-----") else {
      findings.problem(mark, "\(path.quotable) holds no -----BEGIN \(kind)-----; name a PEM file")
      return nil
    }
    return UpstreamTLS.PEM(path: path, bytes: bytes)
  }

  /// Reads `{certificate: FILE, key: FILE}`; both keys are required.
  func identity(
    _ node: YAMLNode, of name: String, example: (certificate: String, key: String)
  ) -> UpstreamTLS.Identity? {
    let keys = ["certificate", "key"]
    guard let fields = Fields(node, of: name, known: keys, findings) else { return nil }
    for key in keys where !fields.has(key) {
      findings.problem(
        node.mark, "`\(key)` is missing; write \(name): {certificate: \(example.certificate), key: \(example.key)}")
    }
    guard let certificate = pem("certificate", fields, holding: "CERTIFICATE", example: example.certificate),
      let key = pem("key", fields, holding: "PRIVATE KEY", example: example.key)
    else { return nil }
    return UpstreamTLS.Identity(certificate: certificate, key: key)
  }

  func file(_ key: String, _ fields: Fields, example: String) -> (path: String, bytes: [UInt8], mark: Mark)? {
    guard let path = fields.text(key, example: example), let node = fields.node(key) else { return nil }
    guard let bytes = read(path) else {
      findings.problem(node.mark, "cannot read \(path.quotable) (it must exist, and be at most 1 MiB)")
      return nil
    }
    return (path, bytes, node.mark)
  }
}

struct TLSKeys {
  let findings: Findings
  let files: PolicyFiles

  func read(_ node: YAMLNode) -> UpstreamTLS {
    var tls = UpstreamTLS()
    guard let fields = Fields(node, of: "tls", known: ["roots", "client_certificate"], findings) else { return tls }
    if fields.isEmpty {
      findings.problem(node.mark, "`tls` says nothing; give it `roots` or `client_certificate`")
    }
    tls.roots = files.pem("roots", fields, holding: "CERTIFICATE", example: "/etc/sluice/roots.pem")
    if let node = fields.node("client_certificate") {
      tls.clientCertificate = files.identity(
        node, of: "client_certificate", example: ("/etc/sluice/client.pem", "/etc/sluice/client.key"))
    }
    return tls
  }
}

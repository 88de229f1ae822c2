// A file of verdicts that a policy is expected to give: YAML in, cases or every problem with its line out.
// It relies on the same readers as the policy file; nothing is judged here.
package import Policy
package import Wire
package import YAML

package struct PolicyCase: Sendable {
  package enum Expected: Hashable, Sendable, CustomStringConvertible {
    case allow
    case refuse(Reason)

    package var description: String {
      switch self {
      case .allow: "allow"
      case .refuse(let reason): reason.rawValue
      }
    }
  }

  package let line: SourceLine
  package let target: Target
  /// Nil for the file's own network_policy.
  package let client: String?
  /// The address that the name resolves to in this case. Nil: addresses are not screened.
  package let address: IPAddress?
  /// A request to the target. Nil: only the target is judged.
  package let request: (method: String, path: String)?
  package let expected: Expected
}

package enum CasesFile {
  private static let keys = ["target", "client", "expect", "address", "method", "path"]
  private static let reasons: [Reason] = [
    .notAllowed, .deniedByRule, .expired, .addressRefused, .methodRefused, .pathRefused,
  ]

  package static func parse(bytes: [UInt8], name: String) -> (cases: [PolicyCase], problems: [Problem]) {
    let findings = Findings(file: name)
    let cases = read(bytes, findings)
    let problems = findings.sorted().problems
    return (problems.isEmpty ? cases : [], problems)
  }

  private static func read(_ bytes: [UInt8], _ findings: Findings) -> [PolicyCase] {
    let root = YAMLDocument.parse(bytes, findings)
    guard findings.problems.isEmpty else { return [] }
    let example = "- {target: api.example.com:443, expect: allow}"
    guard let root, !root.isNull, case .sequence(let items) = root.content, !items.isEmpty else {
      findings.problem(root?.mark ?? Mark(line: 1, column: 1), "a file of cases is a list; write \(example)")
      return []
    }
    return items.compactMap { read(one: $0, findings) }
  }

  private static func read(one node: YAMLNode, _ findings: Findings) -> PolicyCase? {
    guard let fields = Fields(node, of: "a case", known: keys, findings) else {
      return nil
    }
    for key in ["target", "expect"] where !fields.has(key) {
      findings.problem(node.mark, "`\(key)` is missing; write {target: api.example.com:443, expect: allow}")
    }
    let target = readTarget(fields)
    let client = fields.text("client", example: "builder")
    let address = readAddress(fields)
    guard let expected = readExpected(fields), let target else { return nil }
    let request = readRequest(fields)
    if expected == .refuse(.methodRefused) || expected == .refuse(.pathRefused), request == nil {
      findings.problem(node.mark, "`\(expected)` needs `method` or `path` beside it: the request that would be made")
    }
    if expected == .refuse(.addressRefused), address == nil {
      findings.problem(node.mark, "`address_refused` needs `address` beside it: what the name would resolve to")
    }
    return PolicyCase(
      line: findings.line(node.mark), target: target,
      client: client == Policy.fallbackName ? nil : client, address: address, request: request,
      expected: expected)
  }

  private static func readTarget(_ fields: Fields) -> Target? {
    guard let text = fields.text("target", example: "api.example.com:443") else { return nil }
    do throws(AuthorityProblem) { return try Authority.parse(Array(text.utf8).span, defaultPort: nil) } catch {
      findings(fields, "target", "`\(text.quotable)`: \(error)")
      return nil
    }
  }

  private static func readAddress(_ fields: Fields) -> IPAddress? {
    guard let text = fields.text("address", example: "192.0.2.1") else { return nil }
    if let address = IPAddress(text) { return address }
    findings(
      fields, "address", "`address` takes an IP address such as 192.0.2.1 or 2001:db8::1, not `\(text.quotable)`")
    return nil
  }

  /// GET where only a path is given, and `/` where only a method is.
  private static func readRequest(_ fields: Fields) -> (method: String, path: String)? {
    guard fields.has("method") || fields.has("path") else { return nil }
    let path = fields.text("path", example: "/repos/acme/x") ?? "/"
    if !path.hasPrefix("/") { findings(fields, "path", "`path` begins with /, such as /repos/acme/x") }
    return (fields.text("method", example: "GET") ?? "GET", path)
  }

  private static func readExpected(_ fields: Fields) -> PolicyCase.Expected? {
    let words = "allow, \(reasons.map(\.rawValue).joined(separator: ", "))"
    guard let text = fields.text("expect", example: "allow") else { return nil }
    if text == "allow" { return .allow }
    if let reason = Reason(rawValue: text) {
      if reasons.contains(reason) { return .refuse(reason) }
      findings(fields, "expect", "`\(text)` is not for a policy alone to say; a case expects one of \(words)")
      return nil
    }
    findings(fields, "expect", "`expect` is one of \(words), not `\(text.quotable)`")
    return nil
  }

  private static func findings(_ fields: Fields, _ key: String, _ text: String) {
    fields.findings.problem(fields.node(key)?.mark ?? fields.mark, text)
  }
}

// Files of expected verdicts: what is read, and what is said of mistakes.
import Policy
import PolicyFile
import Testing
import Wire

@Suite struct CasesFileTests {
  private func parse(_ text: String) -> (cases: [PolicyCase], problems: [String]) {
    let parsed = CasesFile.parse(bytes: Array(text.utf8), name: "cases.yaml")
    return (parsed.cases, parsed.problems.map { "\($0)" })
  }

  @Test func cases() throws {
    let (cases, problems) = parse(
      """
      # comment
      - {target: "api.example.com:443", expect: allow}
      - target: "[2001:db8::1]:443"
        client: builder
        expect: denied_by_rule
      - {target: db.example:5432, client: default, address: 10.0.0.7, expect: address_refused}
      """)
    #expect(problems.isEmpty && cases.map(\.line.line) == [2, 3, 6])
    #expect(cases.map { "\($0.target)" } == ["api.example.com:443", "[2001:db8::1]:443", "db.example:5432"])
    #expect(cases.map(\.client) == [nil, "builder", nil] && cases[2].address == IPAddress("10.0.0.7"))
    let (requests, none) = parse(
      """
      - {target: a.example:443, method: POST, expect: method_refused}
      - {target: a.example:443, path: /a, expect: path_refused}
      - {target: a.example:443, expect: allow}
      """)
    #expect(
      none.isEmpty
        && requests.map { "\($0.request?.method ?? "-") \($0.request?.path ?? "-")" } == ["POST /", "GET /a", "- -"])
    #expect(cases.map(\.expected) == [.allow, .refuse(.deniedByRule), .refuse(.addressRefused)])
  }

  @Test(arguments: [
    ("", "1:1: a file of cases is a list"), ("a: b", "1:1: a file of cases is a list"),
    ("[]", "a file of cases is a list"),
    ("- allow", "a case takes keys below it"), ("- {target: a.example:443}", "`expect` is missing"),
    ("- {expect: allow}", "`target` is missing"),
    ("- {target: a.example, expect: allow}", "port is missing; write HOST:PORT"),
    (
      "- {target: a.example:443, expect: allowed}",
      "`expect` is one of allow, not_allowed, denied_by_rule, expired, address_refused"
    ),
    ("- {target: a.example:443, expect: rate_limited}", "is not for a policy alone to say"),
    ("- {target: a.example:443, expect: address_refused}", "needs `address` beside it"),
    ("- {target: a.example:443, expect: path_refused}", "needs `method` or `path` beside it"),
    ("- {target: a.example:443, path: a, expect: path_refused}", "`path` begins with /"),
    ("- {target: a.example:443, adress: 10.0.0.1, expect: allow}", "did you mean `address`?"),
    ("- {target: a.example:443, address: 10.0.0.0/8, expect: allow}", "`address` takes an IP address"),
  ])
  func mistakes(_ text: String, _ expected: String) {
    let (cases, problems) = parse(text)
    #expect(cases.isEmpty && problems.contains { $0.contains(expected) }, "\(problems)")
  }
}

// `sluice test`: a policy held to the verdicts that a file of cases expects, for a CI.
// It relies on the same judging as the gate; nothing is looked up, and no token is taken.
import ArgumentParser
import Gate
import Kernel
import Policy
import PolicyFile
import Wire

struct TestCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "test",
    abstract: "Test a policy against a file of expected verdicts.",
    discussion: """
      The cases are a YAML list:

        - {target: api.example.com:443, expect: allow}
        - {target: example.com:443, client: builder, expect: not_allowed}
        - {target: db.corp.example:5432, address: 10.20.0.7, expect: allow}
        - {target: api.example.com:443, method: PUT, path: /x, expect: path_refused}

      `expect` is allow, not_allowed, denied_by_rule, expired, with `address`
      address_refused, with `method` or `path` method_refused or path_refused. Prints
      one line for each case that fails. A policy in `mode: report` is judged as with
      `mode: enforce`.

      Exit status: 0 all cases pass, 1 a case fails, 2 an error.
      """)

  @Argument(help: "The policy file.", completion: .policy) var policy: String
  @Argument(help: "The file of cases (YAML).", completion: .policy) var cases: String
  @Flag(help: "One JSON object per line and case.") var json = false

  private static let bytesMax = 16 << 20

  func run() throws {
    let loaded = PolicyOnDisk.load(policy)
    guard let bytes = FileBytes.read(cases, bytesMax: Self.bytesMax) else {
      try fail("\(cases): cannot be read (it must exist, be readable, and be at most 16 MiB)")
    }
    let parsed = CasesFile.parse(bytes: bytes, name: cases)
    for problem in parsed.problems { Messages.say("\(problem)") }
    guard let loaded, parsed.problems.isEmpty else { throw ExitCode(2) }
    let nowUnix = Clock.wallMs() / 1000
    let results = try parsed.cases.map { try CaseResult(of: $0, policy: loaded, nowUnix: nowUnix) }
    for result in results {
      if json { print(result.json) } else if !result.holds { print(result.text) }
    }
    let failed = results.count { !$0.holds }
    if !json { print("\(results.count) cases, \(failed) failed") }
    if failed > 0 { throw ExitCode(1) }
  }
}

private struct CaseResult {
  private let wanted: PolicyCase
  private let got: PolicyCase.Expected
  /// The rule that decided.
  private let rule: SourceLine?

  var holds: Bool { got == wanted.expected }

  init(of wanted: PolicyCase, policy: Policy, nowUnix: Int64) throws {
    self.wanted = wanted
    var network = policy.fallback.network
    if let name = wanted.client {
      guard let client = policy.clients.first(where: { $0.name == name }) else {
        let names = policy.clients.map(\.name).joined(separator: ", ")
        try fail("\(wanted.line): client \(name): no such client; the policy has \(names.isEmpty ? "none" : names)")
      }
      network = client.network
    }
    switch network.judge(wanted.target, nowUnix: nowUnix) {
    case .refuse(let reason, let line): (got, rule) = (.refuse(reason), line)
    case .allow(let allowing):
      let nowhere = GateAddresses(listeners: [], interfaces: [])
      let refusal = wanted.address.flatMap {
        Screening.check($0, port: wanted.target.port, host: wanted.target.host, rule: allowing, gate: nowhere)
      }
      let request = wanted.request.flatMap { allowing.refusal(method: $0.method, path: $0.path) }
      got = (refusal ?? request?.reason).map { .refuse($0) } ?? .allow
      if let refusal, let address = wanted.address {
        rule = Screening.line(refusal, address, port: wanted.target.port, rule: allowing)
      } else {
        rule = allowing.line
      }
    }
  }

  var text: String {
    let client = wanted.client.map { " for client \($0)" } ?? ""
    let by = rule.map { " by \($0)" } ?? ""
    let request = wanted.request.map { " \($0.method) \($0.path)" } ?? ""
    return "\(wanted.line): \(wanted.target)\(request)\(client): expected \(wanted.expected), got \(got)\(by)"
  }

  var json: String {
    var line: [UInt8] = Array(#"{"holds":\#(holds)"#.utf8)
    line += JSONText.field("case", "\(wanted.line)")
    line += JSONText.field("target", "\(wanted.target)")
    if let client = wanted.client { line += JSONText.field("client", client) }
    if let request = wanted.request {
      line += JSONText.field("method", request.method)
      line += JSONText.field("path", request.path)
    }
    line += JSONText.field("expected", "\(wanted.expected)")
    line += JSONText.field("got", "\(got)")
    if let rule { line += rule.logField }
    return String(decoding: line, as: UTF8.self) + "}"
  }
}

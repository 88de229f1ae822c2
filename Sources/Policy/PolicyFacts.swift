// A policy as facts, names and values in the words of the policy file: `check` prints facts, `diff` and a reload
// compare them. It relies on a test that changes every key of the schema: a key without a fact fails there.
import Wire

/// One statement of a policy.
package struct PolicyFact: Sendable {
  package let name: String
  /// The value to show. Never a value that may be secret.
  package let value: String
  /// The values that decide equality, including values that are never shown.
  fileprivate let compared: [ComparedValue]

  init(_ name: String, _ value: String, comparing compared: ComparedValue...) {
    (self.name, self.value, self.compared) = (name, value, compared)
  }

  /// Facts that differ, in the order of the two lists. A missing fact is `none`.
  static func changes(_ before: [PolicyFact], _ after: [PolicyFact]) -> [(name: String, change: String)] {
    let old = Dictionary(before.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    let new = Dictionary(after.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    let names = before.map(\.name) + after.map(\.name).filter { old[$0] == nil }
    return names.compactMap { name in
      let (was, now) = (old[name], new[name])
      let (from, to) = (was?.value ?? "none", now?.value ?? "none")
      if from != to { return (name, "\(from) -> \(to)") }
      return was?.compared == now?.compared ? nil : (name, "\(to), with other content")
    }
  }
}

/// A value that is compared and never shown.
struct ComparedValue: Equatable, Sendable {
  private let isSame: @Sendable (Any) -> Bool
  private let value: any Sendable

  init<Value: Equatable & Sendable>(_ value: Value) {
    self.value = value
    isSame = { ($0 as? Value) == value }
  }

  static func == (one: ComparedValue, other: ComparedValue) -> Bool { one.isSame(other.value) }
}

extension AllowRule {
  package var text: String { "\(pattern):\(ports)" }

  /// The rule's limits; absent limits are left out. `port`: nil for all ports of the rule.
  package func facts(port: UInt16? = nil) -> [PolicyFact] {
    var facts: [PolicyFact] = []
    func add(_ name: String, _ value: String?) { if let value { facts.append(PolicyFact(name, value)) } }
    add("protocol", (port.map(wireProtocol) ?? statedProtocol)?.rawValue)
    add("ech", allowsECH ? nil : "refuse")
    add("dns.types", dnsTypes.isEmpty ? nil : dnsTypesText)
    add("expires", expiresAt.map(Timestamp.text))
    add("addresses", addresses.isEmpty ? nil : addresses.map { "\($0)" }.sorted().joined(separator: " "))
    add("requests_per_minute", requests.map { "\($0.perMinute)" })
    add("burst", requests.map { "\($0.burst)" })
    add("concurrent", concurrent.map { "\($0.limit)" })
    add("upload_bytes_per_minute", uploadBytes.map { "\($0.perMinute)" })
    add("download_bytes_per_minute", downloadBytes.map { "\($0.perMinute)" })
    add("tunnel_lifetime_seconds", tunnelLifetimeMs.map { "\($0 / 1000)" })
    add("on_limit", onLimit == .pace ? onLimit.rawValue : nil)
    return facts + (inspection?.facts ?? [])
  }
}

extension AllowSpec {
  /// Compares two entries without their lines.
  package func saysTheSame(as other: AllowSpec) -> Bool {
    func facts(_ rule: AllowSpec) -> [PolicyFact] { AllowRule(rule, limit: nil, usage: RuleUsage()).facts() }
    return PolicyFact.changes(facts(self), facts(other)).isEmpty
  }
}

extension Inspection {
  package var facts: [PolicyFact] {
    var facts = [PolicyFact("inspected", "true")]
    func add(_ name: String, _ value: String) { if !value.isEmpty { facts.append(PolicyFact(name, value)) } }
    add("methods", Self.text(methods))
    add("paths", Self.text(paths))
    add("requests", requests.map(\.description).joined(separator: ", "))
    if let credential {
      facts.append(PolicyFact("credential", credential.name, comparing: ComparedValue(credential.said)))
    }
    if allowsKeyIssuing { facts.append(PolicyFact("allow_key_issuing", "true")) }
    if let roots = tls.roots { facts.append(PolicyFact("roots", roots.path, comparing: ComparedValue(roots))) }
    if let identity = tls.clientCertificate {
      facts.append(PolicyFact("client_certificate", identity.certificate.path, comparing: ComparedValue(identity)))
    }
    return facts + content.facts
  }

  fileprivate static func text(_ methods: [[UInt8]]) -> String {
    methods.map { String(decoding: $0, as: UTF8.self) }.joined(separator: " ")
  }

  fileprivate static func text(_ paths: [PathPattern]) -> String { paths.map(\.description).joined(separator: " ") }
}

extension Inspection.RequestPattern: CustomStringConvertible {
  package var description: String {
    let parts = [methods.isEmpty ? "any method" : Inspection.text(methods), Inspection.text(paths)]
    return parts.filter { !$0.isEmpty }.joined(separator: " ")
  }
}

extension ContentPolicy {
  var facts: [PolicyFact] {
    var facts: [PolicyFact] = []
    if let bytes = maxResponseBytes {
      facts.append(PolicyFact("max_response_bytes", "\(bytes)"))
      facts.append(PolicyFact("on_too_large", onTooLarge.rawValue))
    }
    if stripsHTML { facts.append(PolicyFact("strip_html", "true")) }
    if let action = flagInstructions {
      facts.append(PolicyFact("flag_instructions", action.rawValue))
      if threshold != ContentPolicy().threshold { facts.append(PolicyFact("threshold", "\(threshold)")) }
    }
    if onUnchecked == .refuse { facts.append(PolicyFact("unchecked", "refuse")) }
    if let patterns { facts.append(PolicyFact("patterns", patterns.path, comparing: ComparedValue(patterns))) }
    if !muted.isEmpty { facts.append(PolicyFact("muted", muted.sorted().joined(separator: " "))) }
    if let action = secrets { facts.append(PolicyFact("secrets", action.rawValue)) }
    return facts
  }
}

extension Credential {
  /// An entry without its line in the file.
  fileprivate struct Said: Equatable {
    let source: Source
    let placement: Placement
    let mode: Mode
    let environment: String?
  }

  fileprivate var said: Said { Said(source: source, placement: placement, mode: mode, environment: environment) }

  package var facts: [PolicyFact] {
    let mode = placeholder == nil ? "inject" : "replace"
    let text = "\(source.word), \(placement.description), \(mode)"
    return [PolicyFact("credentials.\(name)", text, comparing: ComparedValue(said))]
  }
}

extension Timestamp {
  package static func text(_ unixSeconds: Int64) -> String {
    var text: [UInt8] = []
    append(unixMilliseconds: unixSeconds.multipliedReportingOverflow(by: 1000).partialValue, to: &text)
    return String(decoding: text, as: UTF8.self)
  }
}

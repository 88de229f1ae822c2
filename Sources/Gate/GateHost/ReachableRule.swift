// One allow rule as its client sees it: hosts, ports, methods, paths, limits, and how much of them is left.
// It relies on the deny rules of the same policy: what they cover is not shown as reachable.
import Policy
import Wire

struct ReachableRule {
  private static let exceptionsMax = 20
  /// More deny rules are not compared one by one.
  private static let denyRulesMax = 1000

  private let rule: AllowRule
  /// Hosts that deny rules take away from the rule.
  private let exceptions: [String]

  /// nil: a deny rule covers it.
  init?(_ rule: AllowRule, _ network: NetworkPolicy, nowUnix: Int64) {
    self.rule = rule
    if case .exact(let host) = rule.pattern, let port = rule.ports.ranges.first?.lowerBound, rule.ports.count == 1 {
      exceptions = []
      guard case .allow = network.judge(Target(host: host, port: port), nowUnix: nowUnix) else { return nil }
      return
    }
    var found: [String] = []
    for deny in network.deny.prefix(Self.denyRulesMax) {
      guard deny.pattern.overlaps(rule.pattern), deny.ports.overlaps(rule.ports) else { continue }
      if deny.pattern.covers(rule.pattern) && deny.ports.covers(rule.ports) { return nil }
      if found.count < Self.exceptionsMax { found.append("\(deny.pattern):\(deny.ports)") }
    }
    exceptions = found
  }

  // MARK: - JSON

  func json(nowNs: UInt64) -> JSONValue {
    var members = [
      JSONMember("host", .text("\(rule.pattern)")), JSONMember("ports", .text("\(rule.ports)")),
      JSONMember("inspected", .bool(rule.isInspected)),
    ]
    if let port = rule.ports.ranges.first?.lowerBound, rule.ports.count == 1 {
      members.append(JSONMember("protocol", .text(rule.wireProtocol(port: port).rawValue)))
    }
    if let inspection = rule.inspection { members += Self.requests(inspection) }
    if !exceptions.isEmpty { members.append(JSONMember("except", .list(exceptions.map { .text($0) }))) }
    if let expiry { members.append(JSONMember("expires", .text(expiry))) }
    let limits = limits(nowNs: nowNs)
    if !limits.isEmpty { members.append(JSONMember("limits", .object(limits))) }
    return .object(members)
  }

  private static func requests(_ inspection: Inspection) -> [JSONMember] {
    func members(_ pattern: Inspection.RequestPattern) -> [JSONMember] {
      let methods = pattern.methods.map { JSONValue.text(String(decoding: $0, as: UTF8.self)) }
      let paths = pattern.paths.map { JSONValue.text($0.description) }
      return (methods.isEmpty ? [] : [JSONMember("methods", .list(methods))])
        + (paths.isEmpty ? [] : [JSONMember("paths", .list(paths))])
    }
    if inspection.requests.isEmpty { return inspection.patterns.flatMap(members) }
    return [JSONMember("requests", .list(inspection.patterns.map { .object(members($0)) }))]
  }

  /// Each limit with what is left of it now.
  private func limits(nowNs: UInt64) -> [JSONMember] {
    var members: [JSONMember] = []
    func add(_ name: String, _ value: Int) { members.append(JSONMember(name, .number(value))) }
    if let requests = rule.requests {
      let level = requests.level(nowNs: nowNs)
      add("requests_per_minute", level.perMinute)
      add("burst", level.capacity)
      add("requests_left", max(0, level.tokens))
    }
    for (name, bucket) in [("upload_bytes", rule.uploadBytes), ("download_bytes", rule.downloadBytes)] {
      guard let bucket else { continue }
      add("\(name)_per_minute", Int(clamping: bucket.perMinute))
      add("\(name)_left", Int(clamping: bucket.level(nowNs: nowNs)))
    }
    if let concurrent = rule.concurrent {
      add("concurrent", concurrent.limit)
      add("concurrent_left", max(0, concurrent.limit - concurrent.live))
    }
    if let lifetimeMs = rule.tunnelLifetimeMs { add("tunnel_lifetime_seconds", lifetimeMs / 1000) }
    if !members.isEmpty { members.append(JSONMember("on_limit", .text(rule.onLimit.rawValue))) }
    return members
  }

  private var expiry: String? {
    rule.expiresAt.map { seconds in
      var out: [UInt8] = []
      Timestamp.append(unixMilliseconds: seconds.multipliedReportingOverflow(by: 1000).partialValue, to: &out)
      return String(decoding: out, as: UTF8.self)
    }
  }

  // MARK: - Text

  func text(nowNs: UInt64) -> String {
    var parts = [rule.text]
    if let inspection = rule.inspection {
      let requests = inspection.patterns.map(\.description).filter { $0 != "any method" }
      if !requests.isEmpty { parts.append(requests.joined(separator: "; ")) }
    }
    if !exceptions.isEmpty { parts.append("except \(exceptions.joined(separator: ", "))") }
    if let expiry { parts.append("until \(expiry)") }
    let limits = limits(nowNs: nowNs).map {
      "\($0.name) \($0.value.asNumber.map(String.init) ?? $0.value.asText ?? "")"
    }
    if !limits.isEmpty { parts.append("(\(limits.joined(separator: ", ")))") }
    return parts.joined(separator: "  ")
  }
}

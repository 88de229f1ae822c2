// An operator's rules: allow, deny, and limits on the rate of allowed requests.
// It relies on HostPattern and the buckets; a rule is immutable, and its counters are shared by all threads.
package import Wire

package enum WireProtocol: String, CaseIterable, Sendable {
  /// The first bytes of a tunnel are a ClientHello whose SNI is the target.
  case tls
  /// Any bytes; the server may speak first.
  case tcp
  /// Any bytes, but a tunnel that starts with TLS must pass the SNI check.
  case auto
}

/// DNS record types beyond addresses that a rule may allow. Off by default, since such records can carry any data.
package enum DNSRecordType: String, CaseIterable, Sendable {
  case srv = "SRV"
  case txt = "TXT"

  package init?(_ type: DNSType) {
    switch type {
    case .srv: self = .srv
    case .txt: self = .txt
    default: return nil
    }
  }
}

package enum OnLimit: String, CaseIterable, Sendable { case refuse, pace }

package struct DenyRule: Sendable {
  package var line: SourceLine
  package var pattern: HostPattern
  package var ports: PortSet

  package init(line: SourceLine, pattern: HostPattern, ports: PortSet) {
    self.line = line
    self.pattern = pattern
    self.ports = ports
  }
}

/// One entry of `allow` as written in the file.
package struct AllowSpec: Sendable {
  package var line: SourceLine
  package var pattern: HostPattern
  package var ports: PortSet
  /// Unix seconds.
  package var expiresAt: Int64?
  package var addresses: [AddressPrefix] = []
  package var wireProtocol: WireProtocol?
  package var allowsECH = true
  package var dnsTypes: Set<DNSRecordType> = []
  /// Set on a rule with keys for requests: its TLS is terminated.
  package var inspection: Inspection?
  /// Set on a rule that a person approved.
  package var approval: Approval?
  var approvedRequests: [ApprovedRequest] = []

  package init(line: SourceLine, pattern: HostPattern, ports: PortSet) {
    self.line = line
    self.pattern = pattern
    self.ports = ports
  }
}

/// One entry of `rate_limits`, which applies to the allow rules that it fully covers.
package struct RateLimit: Sendable {
  package var line: SourceLine
  package var pattern: HostPattern
  package var ports: PortSet
  package var requestsPerMinute: Int?
  package var burst: Int?
  package var uploadBytesPerMinute: UInt64?
  package var downloadBytesPerMinute: UInt64?
  package var concurrent: Int?
  package var tunnelLifetimeSeconds: Int?
  package var onLimit = OnLimit.refuse

  package init(line: SourceLine, pattern: HostPattern, ports: PortSet) {
    self.line = line
    self.pattern = pattern
    self.ports = ports
  }

  /// The kinds of limits that the entry sets.
  fileprivate var kinds: [LeaseKey.Kind] {
    let limits: [(kind: LeaseKey.Kind, isThere: Bool)] = [
      (.requests, requestsPerMinute != nil), (.uploadBytes, uploadBytesPerMinute != nil),
      (.downloadBytes, downloadBytesPerMinute != nil), (.concurrent, concurrent != nil),
    ]
    return limits.filter(\.isThere).map(\.kind)
  }

  package func covers(_ rule: AllowSpec) -> Bool { pattern.covers(rule.pattern) && ports.covers(rule.ports) }

  package func isMoreSpecific(than other: RateLimit) -> Bool {
    if pattern.specificity != other.pattern.specificity { return pattern.specificity > other.pattern.specificity }
    return ports.count < other.ports.count
  }
}

/// Usage per client and rule; it passes to the policy that replaces this one.
package struct RuleUsage: Sendable {
  package let requests = BucketState()
  package let upload = BucketState()
  package let download = BucketState()
  package let live = LiveCount()
  /// Replaces the other counters if a group of gates shares limits.
  package private(set) var shared: SharedUsage?

  package init() {}

  func sharing(_ limit: RateLimit?, _ rule: AllowSpec, _ scope: SharedScope?) -> RuleUsage {
    guard let scope else { return self }
    var usage = self
    usage.shared = (shared ?? SharedUsage()).with(limit?.kinds ?? [], rule: "\(rule.pattern):\(rule.ports)", scope)
    return usage
  }
}

package final class AllowRule: Sendable {
  package let line: SourceLine
  package let pattern: HostPattern
  package let ports: PortSet
  /// Unix seconds at which the rule expires.
  package let expiresAt: Int64?
  /// The only addresses allowed for its targets. Empty: Screening decides by the kind of address.
  package let addresses: [AddressPrefix]
  package let allowsECH: Bool
  package let dnsTypes: Set<DNSRecordType>
  /// Keys for requests. Nil: the rule's tunnels are opaque.
  package let inspection: Inspection?
  package let requests: RequestBucket?
  package let uploadBytes: ByteBucket?
  package let downloadBytes: ByteBucket?
  package let concurrent: ConcurrencyLimit?
  package let tunnelLifetimeMs: Int?
  package let onLimit: OnLimit
  /// The entry of `rate_limits` that applies to the rule.
  package let limitLine: SourceLine?
  package let usage: RuleUsage
  /// Set on a rule that a person approved.
  package let approval: Approval?
  /// Approved requests in addition to those that `inspection` allows.
  let approvedRequests: [ApprovedRequest]
  /// Addresses that the policy denies: an allowed name may resolve to one of them.
  let denied: DeniedAddresses
  let statedProtocol: WireProtocol?

  package init(_ spec: AllowSpec, limit: RateLimit?, usage: RuleUsage, denied: DeniedAddresses = .none) {
    self.denied = denied
    line = spec.line
    pattern = spec.pattern
    ports = spec.ports
    expiresAt = spec.expiresAt
    addresses = spec.addresses
    allowsECH = spec.allowsECH
    dnsTypes = spec.dnsTypes
    inspection = spec.inspection
    statedProtocol = spec.wireProtocol
    approval = spec.approval
    approvedRequests = spec.approvedRequests
    self.usage = usage
    limitLine = limit?.line
    requests = limit?.requestsPerMinute.map {
      RequestBucket(perMinute: $0, burst: limit?.burst ?? $0, state: usage.requests, leased: usage.shared?.requests)
    }
    uploadBytes = limit?.uploadBytesPerMinute.map {
      ByteBucket(perMinute: $0, state: usage.upload, leased: usage.shared?.upload)
    }
    downloadBytes = limit?.downloadBytesPerMinute.map {
      ByteBucket(perMinute: $0, state: usage.download, leased: usage.shared?.download)
    }
    concurrent = limit?.concurrent.map {
      ConcurrencyLimit(limit: $0, count: usage.live, leased: usage.shared?.concurrent)
    }
    tunnelLifetimeMs = limit?.tunnelLifetimeSeconds.map { $0 * 1000 }
    onLimit = limit?.onLimit ?? .refuse
  }

  /// The record types as text, sorted; empty if there are none.
  package var dnsTypesText: String { dnsTypes.map(\.rawValue).sorted().joined(separator: " ") }

  package var isInspected: Bool { inspection != nil }
  /// True if bodies are checked, also in plain HTTP.
  package var checksContent: Bool { inspection?.content.checksNothing == false }

  package func wireProtocol(port: UInt16) -> WireProtocol { statedProtocol ?? (port == 443 ? .tls : .auto) }

  package func isExpired(nowUnix: Int64) -> Bool {
    guard let expiresAt else { return false }
    return nowUnix >= expiresAt
  }

  /// The key that identifies the same rule in another policy: its pattern and ports in canonical form.
  var key: RuleKey { RuleKey(pattern: pattern, ports: ports) }
}

struct RuleKey: Hashable {
  var pattern: HostPattern
  var ports: PortSet
}

package enum Verdict: Sendable {
  case allow(AllowRule)
  case refuse(Reason, SourceLine?)
}

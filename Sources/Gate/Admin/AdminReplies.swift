// Replies of the gate on its admin socket, as JSON: docs/admin.md names each member.
// It relies on values that were gathered before; it asks nobody.
import Flow
import Kernel
import Policy
import Wire

extension TunnelFacts {
  var json: JSONValue {
    var id: [UInt8] = []
    JSONText.appendHex(self.id, to: &id)
    var members = [
      JSONMember("id", .text(String(decoding: id, as: UTF8.self) + (ordinal > 0 ? "-\(ordinal)" : ""))),
      JSONMember("client", .text(client.name)), JSONMember("via", .text(via.rawValue)),
      JSONMember("host", .text("\(target.host)")), JSONMember("port", .number(Int(target.port))),
    ]
    if let address { members.append(JSONMember("address", .text("\(address)"))) }
    if let rule { members.append(JSONMember("rule", .text("\(rule)"))) }
    members += [
      JSONMember("state", .text(isOpen ? "open" : "opening")), JSONMember("bytes_up", .number(Int(clamping: bytesUp))),
      JSONMember("bytes_down", .number(Int(clamping: bytesDown))), JSONMember("age_ms", .number(Int(clamping: ageMs))),
      JSONMember("idle_ms", .number(Int(clamping: idleMs))),
    ]
    return .object([JSONMember("tunnel", .object(members))])
  }
}

/// The result of a reload.
struct Reloaded {
  private static let changesMax = 200

  /// In force now.
  let policy: Policy
  /// nil: the file has problems, and the policy stays as it was.
  var change: ReloadSummary?
  var cut = 0
  /// Messages printed for the operator.
  var messages: [String]
  /// Workers that have not said that they have the policy.
  var silent: [Int] = []

  /// nil where every worker has the policy.
  var silence: String? {
    if silent.isEmpty { return nil }
    let names = silent.map { "\($0)" }.joined(separator: ", ")
    return
      "worker \(names) did not take policy \(policy.hash) within \(Survey.waitMs / 1000) s, and decides by the one before until it answers; `sluice status` says whether it does"
  }

  var json: JSONValue {
    guard let change else {
      return .failure(
        "the policy was not replaced; \(policy.hash) stays in force",
        [JSONMember("problems", .list(messages.map { .text($0) }))])
    }
    if let silence {
      return .failure(
        silence,
        [
          JSONMember("policy", .text(policy.hash)), JSONMember("silent_workers", .list(silent.map { .number($0) })),
          JSONMember("cut", .number(cut)), JSONMember("problems", .list(messages.map { .text($0) })),
        ])
    }
    let shown = change.lines.prefix(Self.changesMax)
    return .success([
      JSONMember("policy", .text(policy.hash)), JSONMember("changes", .list(shown.map { .text($0) })),
      JSONMember("more_changes", .number(change.lines.count - shown.count)), JSONMember("cut", .number(cut)),
      JSONMember("notes", .list(messages.map { .text($0) })),
    ])
  }
}

struct GateStatus {
  let startedMs: UInt64
  let isDraining: Bool
  /// Why no new tunnel would be let out; nil where it would.
  let unready: String?
  let policy: Policy
  let policyFile: String?
  let listening: [Listening]
  let adminPath: String
  let metricsAddress: SocketAddress?
  let workers: Int
  let connections: Int
  let log: LogState
  let sandboxes: [String]
  /// nil where this gate counts for itself.
  let limits: SharedLimits?
  let counts: WorkerCounts
  /// False where a worker did not answer: the figures lack its own.
  let isWhole: Bool

  struct LogState {
    let file: String?
    let isUnwritable: Bool
    let pendingBytes: Int
  }

  var json: JSONValue {
    let counters = counts.counters
    return .success(
      [
        JSONMember("version", .text(Version.text)), JSONMember("pid", .number(Int(Machine.processID))),
        JSONMember("uptime_ms", .number(Int(clamping: Clock.monotonicMs() - startedMs))),
        JSONMember("draining", .bool(isDraining)), JSONMember("unready", unready.map { .text($0) } ?? .null),
        JSONMember(
          "policy",
          .object([
            JSONMember("file", policyFile.map { .text($0) } ?? .null), JSONMember("hash", .text(policy.hash)),
          ])),
        JSONMember("listeners", .list(listening.map(Self.listener))), JSONMember("admin", .text(adminPath)),
        JSONMember("metrics", metricsAddress.map { .text("\($0)") } ?? .null),
        JSONMember("shared_limits", limits?.json ?? .null),
        JSONMember("workers", .number(workers)), JSONMember("whole", .bool(isWhole)),
        JSONMember("connections", .number(connections)),
        JSONMember("connections_max", .number(policy.settings.limits.connections)),
        JSONMember("open", .number(counts.open)), JSONMember("tunnels", Self.number(counters.tunnels)),
        JSONMember("requests", Self.number(counters.requests)), JSONMember("queries", Self.number(counters.queries)),
        JSONMember("bytes_up", Self.number(counts.bytesUp)), JSONMember("bytes_down", Self.number(counts.bytesDown)),
      ] + lines(counters) + [
        JSONMember("would_deny", Self.number(counters.wouldDeny)), JSONMember("log", logJSON),
        JSONMember("sandboxes", .list(sandboxes.map { .text($0) })),
      ])
  }

  private static func number(_ value: UInt64) -> JSONValue { .number(Int(clamping: value)) }

  private static func listener(_ one: Listening) -> JSONValue {
    .object([
      JSONMember("door", .text(one.door.rawValue)), JSONMember("address", .text("\(one.address)")),
      JSONMember("tls", .bool(one.speaksTLS)),
    ])
  }

  /// By event, and by reason within it: the lines of the log.
  private func lines(_ counters: Counters) -> [JSONMember] {
    let events: [LogEvent] = [.denied, .limited, .failed, .revoked, .closed]
    return events.map { event in
      let reasons = counters.reasons(of: event).map { JSONMember($0.reason.rawValue, Self.number($0.count)) }
      return JSONMember(event.rawValue, .object([JSONMember("all", Self.number(counters.lines(event)))] + reasons))
    }
  }

  private var logJSON: JSONValue {
    .object([
      JSONMember("file", log.file.map { .text($0) } ?? .null), JSONMember("writable", .bool(!log.isUnwritable)),
      JSONMember("waiting_bytes", .number(log.pendingBytes)),
    ])
  }
}

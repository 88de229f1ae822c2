// Refusals on their way into the memory of their client: `sluice.internal` tells the client of them.
// It relies on the log to have each of them too; a sandbox's own check leaves none here.
import Flow
import Kernel
import Policy
import Wire

extension Worker {
  func remember(_ outcome: borrowing Outcome, of flow: borrowing Flow, _ id: UInt64) {
    guard !outcome.wouldDeny, outcome.event.isForMemory, let reason = outcome.reason else { return }
    let client = flow.client
    // A client without a password is nobody yet, and hears nothing of what others at its address were refused.
    guard reason != .notAuthenticated, !audit.isProbe(client.name, id) else { return }
    var note = RefusalMemory.Note(wallMs: loop.wallMs, via: flow.via.word, reason: reason)
    (note.flow, note.ordinal) = (id, outcome.ordinal)
    (note.host, note.port) = (flow.target?.host, flow.target?.port)
    shared.refusals.add(
      note, of: conditions.policy.memoryOwner(of: client, source: flow.source), nowMs: conditions.nowMs)
  }

  func remember(_ outcome: DNSOutcome, client: Client, from source: IPAddress) {
    guard !outcome.wouldDeny, outcome.event.isForMemory, !audit.isProbe(client.name, nil) else { return }
    var note = RefusalMemory.Note(wallMs: loop.wallMs, via: "dns", reason: outcome.reason)
    note.host = outcome.host.map(Host.name)
    shared.refusals.add(note, of: conditions.policy.memoryOwner(of: client, source: source), nowMs: conditions.nowMs)
  }
}

extension LogEvent {
  /// The policy refused something; what an upstream did is no refusal.
  fileprivate var isForMemory: Bool { self == .denied || self == .limited || self == .flagged || self == .revoked }
}

extension Via {
  fileprivate var word: StaticString {
    switch self {
    case .connect: "connect"
    case .http: "http"
    case .tls: "tls"
    case .address: "address"
    }
  }
}

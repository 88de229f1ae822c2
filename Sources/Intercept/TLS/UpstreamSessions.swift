// TLS sessions that upstreams offered, for the next connection of the same client to the same target under the same
// rule. It relies on its key: a resumed session repeats what was verified for that target, with the roots and the
// client certificate of that rule. A reload makes new rules, and so forgets all of them.
import COpenSSL
import Policy
import Wire

/// SAFETY: one reference to OpenSSL's object is owned here and freed in deinit.
@safe final class UpstreamSession {
  let raw: OpaquePointer
  /// When the upstream's certificate was verified. A resumed handshake verifies nothing, so the sessions that it brings
  /// inherit the time: else a server could be taken for good on the strength of a certificate that has expired.
  fileprivate(set) var verifiedMs: UInt64 = 0

  init(owning raw: OpaquePointer) { unsafe self.raw = unsafe raw }

  deinit { unsafe SSL_SESSION_free(raw) }

  /// RFC 8446 appendix C.4: a ticket that is used twice links the two connections.
  var servesOnce: Bool { unsafe SSL_SESSION_get_protocol_version(raw) >= TLS1_3_VERSION }

  fileprivate func isOver(atMs nowMs: UInt64) -> Bool { nowMs >= verifiedMs + UpstreamSessions.lifetimeMs }
}

/// Of one loop.
struct UpstreamSessions {
  struct Key: Hashable {
    let rule: AllowRule
    let target: Target
    let client: String

    static func == (one: Key, other: Key) -> Bool {
      one.rule === other.rule && one.target == other.target && one.client == other.client
    }

    func hash(into hasher: inout Hasher) {
      hasher.combine(ObjectIdentifier(rule))
      hasher.combine(target)
      hasher.combine(client)
    }
  }

  /// Oldest first.
  private struct Entry {
    var sessions: [UpstreamSession]
    var storedMs: UInt64
  }

  static let keysMax = 128
  /// Tunnels to many hosts under one wildcard must not push out the sessions of other clients.
  static let keysOfClientMax = 32
  /// A package manager opens that many connections at once, and each takes a ticket before the first brings new ones.
  static let sessionsMax = 16
  /// Counted from the handshake that verified the certificate, over all the sessions that came of it.
  static let lifetimeMs: UInt64 = 5 * 60_000

  private var entries: [Key: Entry] = [:]
  private var sweepAtMs: UInt64 = 0

  var count: Int { entries.count }

  func count(of client: String) -> Int { entries.keys.count { $0.client == client } }

  mutating func take(_ key: Key, nowMs: UInt64) -> UpstreamSession? {
    guard var entry = entries[key] else { return nil }
    entry.sessions.removeAll { $0.isOver(atMs: nowMs) }
    let session = entry.sessions.last
    if session?.servesOnce == true { entry.sessions.removeLast() }
    entries[key] = entry.sessions.isEmpty ? nil : entry
    return session
  }

  /// `verifiedMs`: when the certificate was verified on whose strength the upstream was taken.
  mutating func put(_ session: UpstreamSession, for key: Key, verifiedMs: UInt64, nowMs: UInt64) {
    session.verifiedMs = verifiedMs
    sweep(nowMs)
    guard !session.isOver(atMs: nowMs) else { return }
    if entries[key] == nil { makeRoom(for: key) }
    var entry = entries[key] ?? Entry(sessions: [], storedMs: nowMs)
    entry.sessions.append(session)
    if entry.sessions.count > Self.sessionsMax { entry.sessions.removeFirst() }
    entry.storedMs = nowMs
    entries[key] = entry
  }

  /// The handshake that it was offered in failed.
  mutating func forget(_ key: Key) { entries[key] = nil }

  /// Nobody asks again under the rules of a policy that was replaced: those sessions leave here.
  private mutating func sweep(_ nowMs: UInt64) {
    guard nowMs >= sweepAtMs else { return }
    sweepAtMs = nowMs + Self.lifetimeMs
    entries = entries.filter { entry in !entry.value.sessions.allSatisfy { $0.isOver(atMs: nowMs) } }
  }

  private mutating func makeRoom(for key: Key) {
    if count(of: key.client) >= Self.keysOfClientMax {
      dropOldest { $0.client == key.client }
    } else if entries.count >= Self.keysMax {
      dropOldest { _ in true }
    }
  }

  private mutating func dropOldest(of isCandidate: (Key) -> Bool) {
    let candidates = entries.filter { isCandidate($0.key) }
    guard let oldest = candidates.min(by: { $0.value.storedMs < $1.value.storedMs })?.key else { return }
    entries[oldest] = nil
  }
}

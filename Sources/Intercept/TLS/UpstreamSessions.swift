// TLS sessions that upstreams offered, for the next connection of the same client to the same target under the same
// rule. It relies on its key: a resumed session repeats what was verified for that target, with the roots and the
// client certificate of that rule. A reload makes new rules, and so forgets all of them.
import COpenSSL
import Policy
import Wire

/// SAFETY: one reference to OpenSSL's object is owned here and freed in deinit.
@safe final class UpstreamSession {
  let raw: OpaquePointer

  init(owning raw: OpaquePointer) { unsafe self.raw = unsafe raw }

  deinit { unsafe SSL_SESSION_free(raw) }

  /// RFC 8446 appendix C.4: a ticket that is used twice links the two connections.
  var servesOnce: Bool { unsafe SSL_SESSION_get_protocol_version(raw) >= TLS1_3_VERSION }
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

  private struct Entry {
    var sessions: [UpstreamSession]
    var storedMs: UInt64
  }

  static let keysMax = 256
  /// A client often opens some connections at once.
  static let sessionsMax = 4
  static let lifetimeMs: UInt64 = 5 * 60_000

  private var entries: [Key: Entry] = [:]

  var count: Int { entries.count }

  mutating func take(_ key: Key, nowMs: UInt64) -> UpstreamSession? {
    guard var entry = entries[key] else { return nil }
    guard nowMs < entry.storedMs + Self.lifetimeMs, let session = entry.sessions.last else {
      entries[key] = nil
      return nil
    }
    if session.servesOnce {
      entry.sessions.removeLast()
      entries[key] = entry.sessions.isEmpty ? nil : entry
    }
    return session
  }

  mutating func put(_ session: UpstreamSession, for key: Key, nowMs: UInt64) {
    var entry = entries[key] ?? Entry(sessions: [], storedMs: nowMs)
    entry.sessions.append(session)
    if entry.sessions.count > Self.sessionsMax { entry.sessions.removeFirst() }
    entry.storedMs = nowMs
    entries[key] = entry
    if entries.count > Self.keysMax { makeRoom(nowMs) }
  }

  /// The handshake that it was offered in failed.
  mutating func forget(_ key: Key) { entries[key] = nil }

  private mutating func makeRoom(_ nowMs: UInt64) {
    entries = entries.filter { nowMs < $0.value.storedMs + Self.lifetimeMs }
    guard entries.count > Self.keysMax, let oldest = entries.min(by: { $0.value.storedMs < $1.value.storedMs }) else {
      return
    }
    entries[oldest.key] = nil
  }
}

// The protocol in which a client gets its refusal: HTTP, SOCKS 5, a TLS alert, or the client's own.
// It relies on the client's first bytes if nothing else tells the protocol; a silent client is waited for.
import Policy
import Wire

enum ReplyForm {
  case http, tls, ssh, postgreSQL, redis
  /// A PostgreSQL client that asks for TLS or GSSAPI first. Most ask again without, and show an error only then.
  case postgreSQLNegotiation
  /// An unknown protocol: the connection can only be cut.
  case unknown

  private static let startupBytesMax: UInt32 = 10_000
  static let negotiationBytes = 8

  /// Requests begin with a letter, TLS records with a content type, the hello of SSL 2 with its high bit set, a command
  /// of Redis with an asterisk. Nil: more bytes have to come.
  init?(_ opening: Span<UInt8>) {
    guard opening.count > 0 else { return nil }
    switch opening[0] {
    case UInt8(ascii: "S"):
      let banner = "SSH-".utf8.span
      let count = min(opening.count, banner.count)
      guard (0..<count).allSatisfy({ opening[$0] == banner[$0] }) else {
        self = .http
        return
      }
      if count < banner.count { return nil }
      self = .ssh
    case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"): self = .http
    case 20...24, 0x80...0xff: self = .tls
    case UInt8(ascii: "*"): self = .redis
    case 0:
      // PostgreSQL: a length of four bytes, then version 3, or a number that asks for TLS or GSSAPI.
      guard opening.count >= Self.negotiationBytes else { return nil }
      switch (opening.number(at: 0, as: UInt32.self), opening.number(at: 4, as: UInt32.self)) {
      case (8, 80_877_103...80_877_104): self = .postgreSQLNegotiation
      case (9...Self.startupBytesMax, 3 << 16...(3 << 16 | 0xffff)): self = .postgreSQL
      default: self = .unknown
      }
    default: self = .unknown
    }
  }

  /// True for a protocol in which the refusal reads like an error of its server.
  var isNative: Bool { self == .ssh || self == .postgreSQL || self == .redis }
}

extension RequestBuffers {
  /// Nil until the first bytes show the protocol.
  var replyForm: ReplyForm? { read { ReplyForm($0) } }
}

extension Flow {
  /// Time limit for the first bytes of a refused client.
  private static var languageMs: UInt64 { 2_000 }

  /// Writes the refusal in the client's protocol. False if the protocol is not known yet.
  func say(_ refusal: Refusal) -> Bool {
    guard let buffers else { return true }
    if buffers.socks != nil {
      sayInSOCKS(refusal)
    } else if opening == .proxy || via == .http {
      buffers.write(refusal)
    } else {
      guard let form = buffers.replyForm, form != .postgreSQLNegotiation else { return false }
      say(refusal, in: form)
    }
    return true
  }

  func say(_ refusal: Refusal, in form: ReplyForm) {
    switch form {
    case .http: buffers?.write(refusal)
    case .tls: buffers?.reply(refusal.reason.alert)
    case .ssh: buffers?.reply(refusal.inSSH)
    case .postgreSQL: buffers?.reply(refusal.inPostgreSQL)
    case .redis: buffers?.reply(refusal.inRedis)
    case .postgreSQLNegotiation, .unknown: break
    }
  }

  /// Resets a redirected client of an unknown protocol: an orderly end could pass for the upstream's.
  var refusedEnding: Ending {
    guard opening != .proxy, via != .http, buffers?.replyForm == .unknown else {
      return .graceful
    }
    return .cut
  }

  /// Waits for the client's first bytes, which show the protocol for the refusal. The outcome is recorded already.
  mutating func awaitLanguage(for refusal: Refusal, _ conditions: borrowing Conditions) -> Action {
    state = .refusing(refusal)
    deadlineMs = conditions.nowMs + Self.languageMs
    return hasInput ? onRefusing(refusal, .clientSent, conditions) : .wait
  }

  mutating func onRefusing(_ refusal: Refusal, _ event: Event, _ conditions: borrowing Conditions) -> Action {
    switch event {
    case .clientSent:
      guard let form = buffers?.replyForm else { return .wait }
      if form == .postgreSQLNegotiation {
        buffers?.drop(ReplyForm.negotiationBytes)
        // `N` refuses both TLS and GSSAPI; the running deadline bounds how often.
        buffers?.reply([UInt8(ascii: "N")])
        return .reply
      }
      if mayExplain(refusal, conditions) { return explainInTunnel(refusal, conditions) }
      say(refusal, in: form)
      let ending = refusedEnding
      end()
      return .close(ending)
    case .clientEnded, .deadlinePassed, .drainEnded, .upstreamReset, .clientReset, .gateFailed:
      end()
      return .close(.cut)
    default: return .wait
    }
  }
}

extension Reason {
  /// A fatal TLS alert (RFC 8446 section 6).
  var alert: [UInt8] { [0x15, 0x03, 0x01, 0x00, 0x02, 0x02, row.alert] }
}

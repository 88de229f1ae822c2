// In which language a client is told that it is refused: HTTP, SOCKS 5, a TLS alert, or its own protocol.
// Relies on the client's first bytes where nothing else tells; a client that has said nothing is waited for.
import Policy
import Wire

enum ReplyForm {
  case http, tls, ssh, postgreSQL, redis
  /// A PostgreSQL client that asks for TLS or GSSAPI first. Most ask once more without, and show only then what they
  /// are told.
  case postgreSQLNegotiation
  /// None of these: it can only be cut off.
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
      switch (Self.number(opening, at: 0), Self.number(opening, at: 4)) {
      case (8, 80_877_103...80_877_104): self = .postgreSQLNegotiation
      case (9...Self.startupBytesMax, 3 << 16...(3 << 16 | 0xffff)): self = .postgreSQL
      default: self = .unknown
      }
    default: self = .unknown
    }
  }

  private static func number(_ bytes: Span<UInt8>, at offset: Int) -> UInt32 {
    (0..<4).reduce(0) { $0 << 8 | UInt32(truncatingIfNeeded: bytes[offset + $1]) }
  }

  /// A protocol in which a refusal reads as its server's own.
  var isNative: Bool { self == .ssh || self == .postgreSQL || self == .redis }
}

extension RequestBuffers {
  /// Nil until the first bytes tell.
  var replyForm: ReplyForm? { read { ReplyForm($0) } }
}

extension Flow {
  /// How long a refused client has to say its first word.
  private static var languageMs: UInt64 { 2_000 }

  /// Puts the refusal into words; false: it cannot be told yet in which.
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

  /// A redirected client in whose protocol nothing can be said is reset: an orderly end could pass for an upstream's.
  var refusedEnding: Ending {
    guard opening != .proxy, via != .http, buffers?.replyForm == .unknown else {
      return .graceful
    }
    return .cut
  }

  /// The outcome is recorded; a client that speaks soon still hears why.
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
        // Neither of the two: the deadline that runs bounds how often.
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

// In which language a client is told that it is refused: HTTP, SOCKS 5, or a TLS alert.
// It relies on the client's first byte where nothing else tells; a client that has said nothing is waited for.
import Policy
import Wire

enum ReplyForm {
  case http, socks, tls
  /// Neither: it can only be cut off.
  case unknown

  /// Requests begin with a letter, TLS records with a content type, and the hello of SSL 2 with its high bit set.
  init(_ firstByte: UInt8) {
    switch firstByte {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"): self = .http
    case 20...24, 0x80...0xff: self = .tls
    default: self = .unknown
    }
  }
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
      guard let first = buffers.firstByte else { return false }
      say(refusal, in: ReplyForm(first))
    }
    return true
  }

  private func say(_ refusal: Refusal, in form: ReplyForm) {
    switch form {
    case .http: buffers?.write(refusal)
    case .tls: buffers?.reply(refusal.reason.alert)
    case .socks, .unknown: break
    }
  }

  /// A redirected client that speaks neither HTTP nor TLS is reset: an orderly end could pass for an upstream's.
  var refusedEnding: Ending {
    guard opening != .proxy, via != .http, let first = buffers?.firstByte, case .unknown = ReplyForm(first) else {
      return .graceful
    }
    return .cut
  }

  /// The outcome is recorded; a client that speaks soon still hears why.
  mutating func awaitLanguage(for refusal: Refusal, _ conditions: borrowing Conditions) -> Action {
    state = .refusing(refusal)
    deadlineMs = conditions.nowMs + Self.languageMs
    return .wait
  }

  mutating func onRefusing(_ refusal: Refusal, _ event: Event, _ conditions: borrowing Conditions) -> Action {
    switch event {
    case .clientSent:
      guard let first = buffers?.firstByte else { return .wait }
      if mayExplain(refusal, conditions) { return explainInTunnel(refusal, conditions) }
      say(refusal, in: ReplyForm(first))
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

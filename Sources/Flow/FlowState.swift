// The states of a flow, each with its own data, and the invariants between two events.
// It relies on Flow for the transitions: see the diagram there.

extension Flow {
  package enum State {
    case readingProxyHeader, readingRedirected, readingHead
    case readingSOCKS(SOCKSStep)
    /// The body of a request to the gate itself.
    indirect case readingQuestion(GateQuestion)
    case authenticating
    /// `sinceMs`: when the request first found no token.
    case pacing(sinceMs: UInt64)
    /// No rule matches the request, and a person is asked.
    case awaiting
    case dialling(Dial)
    /// The upstream is connected, and gets nothing before the ClientHello is checked. `isAnswered`: the CONNECT has
    /// its 200.
    case readingHello(isAnswered: Bool)
    /// As `readingHello`, but the client may send any bytes or none, and the server may speak meanwhile.
    case peeking(isAnswered: Bool, openedMs: UInt64)
    case relaying(Tunnel)
    case exchanging(Exchange)
    /// The outcome is recorded; the client's first bytes will show its protocol for the refusal.
    indirect case refusing(Refusal)
    /// The outcome is recorded; the refusal is sent inside the client's TLS.
    indirect case explaining(Refusal)
    case ended
  }

  /// An open tunnel.
  package struct Tunnel {
    package enum Content {
      /// Spliced. `isHeldToTLS`: its ClientHello was checked against the target.
      case opaque(isHeldToTLS: Bool)
      /// Requests inside the tunnel are visible and judged one by one.
      case inspected
      /// A plain request that became a WebSocket: a reload judges its method and path again.
      indirect case upgraded(RequestLine)
    }

    package let content: Content
    let openedMs: UInt64
  }

  /// The attempts to reach the upstream of one target. A class, so that the enum stays small: most flows spend their
  /// life in smaller states.
  package final class Dial {
    @safe @exclusivity(unchecked) var attempts: Dialling
    let deadlineMs: UInt64
    /// True for the second try of a request whose kept upstream broke before any answer. No third try follows.
    let isSecond: Bool
    /// A reload came while attempts were under way: their addresses are screened again.
    @safe @exclusivity(unchecked) var isRuleReplaced = false

    /// SAFETY of `@exclusivity(unchecked)`: as that of RequestBuffers.
    init(_ attempts: Dialling, deadlineMs: UInt64, isSecond: Bool = false) {
      self.attempts = attempts
      self.deadlineMs = deadlineMs
      self.isSecond = isSecond
    }
  }
}

extension Flow.State {
  /// True if client bytes are read. Bytes sent before a verdict otherwise wait in the kernel.
  package var wantsClientBytes: Bool {
    switch self {
    case .readingProxyHeader, .readingRedirected, .readingHead, .readingSOCKS, .readingQuestion, .readingHello,
      .peeking,
      .refusing:
      true
    default: false
    }
  }

  /// The flow waits for something, and its client is not read meanwhile.
  package var isUndecided: Bool {
    switch self {
    case .authenticating, .pacing, .awaiting, .dialling: true
    default: false
    }
  }

  package var isReadingHead: Bool { if case .readingHead = self { true } else { false } }
  package var isReadingHello: Bool { if case .readingHello = self { true } else { false } }
  package var isReadingRedirected: Bool { if case .readingRedirected = self { true } else { false } }
  package var isReadingProxyHeader: Bool { if case .readingProxyHeader = self { true } else { false } }
  package var isDialling: Bool { if case .dialling = self { true } else { false } }
  package var isAwaiting: Bool { if case .awaiting = self { true } else { false } }
  package var isPacing: Bool { if case .pacing = self { true } else { false } }
  package var isRelaying: Bool { if case .relaying = self { true } else { false } }
  package var isExchanging: Bool { if case .exchanging = self { true } else { false } }
  package var isEnded: Bool { if case .ended = self { true } else { false } }
  var isPeeking: Bool { if case .peeking = self { true } else { false } }

  /// The target was allowed, and has an upstream or is dialling one.
  var isLetOut: Bool {
    switch self {
    case .dialling, .readingHello, .peeking, .relaying, .exchanging: true
    default: false
    }
  }

  /// The client has its answer to CONNECT: a refusal in HTTP would be taken for the upstream's bytes.
  var hasAnsweredConnect: Bool {
    switch self {
    case .readingHello(let isAnswered), .peeking(let isAnswered, _): isAnswered
    case .relaying, .explaining: true
    default: false
    }
  }

  /// The time since which bytes may be forwarded; zero if none may.
  var openedMs: UInt64 {
    switch self {
    case .peeking(_, let openedMs): openedMs
    case .relaying(let tunnel): tunnel.openedMs
    case .exchanging(let exchange): exchange.openedMs
    default: 0
    }
  }
}

// MARK: - Invariants

extension Flow {
  /// The first violated invariant after an event; nil if all hold. Debug builds check after each event.
  package var brokenInvariant: String? {
    if state.isEnded != (deadlineMs == .max) { return "a deadline stands exactly until the end" }
    if state.isLetOut && (target == nil || rule == nil) { return "what is let out has a target and a rule" }
    if !state.isLetOut && heldConcurrency != nil && !state.isPacing { return "a slot is held for nothing" }
    switch state {
    case .readingHead, .readingRedirected, .readingProxyHeader, .readingSOCKS, .readingQuestion, .authenticating,
      .pacing, .awaiting, .dialling, .refusing:
      return buffers == nil ? "bytes are read without a buffer" : nil
    case .readingHello, .peeking:
      if buffers == nil || address == nil { return "a hello is awaited without an upstream" }
      return via == .http ? "a plain request opens no tunnel" : nil
    case .relaying: return address == nil ? "a tunnel without an upstream" : nil
    case .exchanging:
      if buffers == nil || address == nil { return "an exchange without an upstream" }
      return via == .http ? nil : "an exchange outside of plain HTTP"
    case .explaining, .ended: return nil
    }
  }
}

// One request and its answer as a credential goes with them: put in on the way out, scrubbed on the way back.
// It relies on its caller for what must agree: the rule, the SNI, the authority, the gate's own resolution, and an
// upstream whose certificate was verified. A request of which any of that is not so has no filter of this kind.
import Content
import Kernel
package import Policy
package import Wire

/// What one request came to, for the log.
package enum CredentialUse: Equatable, Sendable {
  /// Put in: which, and where.
  case used(credential: String, place: String)
  /// The answer echoed it, and that was taken out.
  case scrubbed(credential: String)
}

package final class CredentialFilter: RequestFilter {
  /// What has to be kept whole to be signed; S3 signs no body over TLS.
  private static let signedBodyBytesMax = 1 << 20

  private var credential: Credential?
  private let placeholders: Placeholders
  private let store: CredentialStore
  private let host: [UInt8]
  private let allowsKeyIssuing: Bool
  private let wake: @Sendable () -> Void
  private let report: (CredentialUse) -> Void
  private let wallSeconds: () -> Int64
  private var value: CredentialValue?
  private var echoes: EchoSearch?
  /// Messages of gRPC: each is a text of its own, and its end is not waited behind.
  private var messages: MessageFrames?
  private var isCompressedAllowed = false
  /// Messages of a WebSocket, and whether the request asks for one in HTTP/2.
  private var frames: WebSocketEchoes?
  private var isWebSocketStream = false
  private var hasNamedEcho = false
  private var hasReportedEcho = false

  /// `credential` is the rule's; nil: the request must hold no placeholder, and that is all.
  package init(
    _ credential: Credential?, placeholders: Placeholders, store: CredentialStore, target: Target,
    allowsKeyIssuing: Bool = false,
    wallSeconds: @escaping () -> Int64 = { Clock.wallMs() / 1000 }, wake: @escaping @Sendable () -> Void,
    report: @escaping (CredentialUse) -> Void
  ) {
    self.credential = credential
    self.placeholders = placeholders
    self.store = store
    self.allowsKeyIssuing = allowsKeyIssuing
    var host: [UInt8] = []
    target.host.append(to: &host)
    if target.port != 443 { host += ":\(target.port)".utf8 }
    self.host = host
    (self.wallSeconds, self.wake, self.report) = (wallSeconds, wake, report)
  }

  package var changesRequestLength: Bool { false }
  package var changesAnswerLength: Bool { false }

  /// Report mode alone lets the request out: no value goes with it, and its placeholder goes nowhere.
  func withhold() { credential = nil }

  /// True if the rule puts in the same credential.
  func isFor(_ rule: AllowRule) -> Bool {
    rule.inspection?.credential == credential && rule.inspection?.allowsKeyIssuing == allowsKeyIssuing
  }

  // MARK: - Out

  package func requestHead(_ head: inout MessageHead, hasBody: Bool) -> FilterVerdict {
    if placeholders.find(in: head.texts, except: credential?.name) != nil {
      return .refuse(
        .secretRefused, detail: "The request carries the placeholder of a credential that is for another target")
    }
    guard let credential else { return .pass }
    // RFC 8441: no other CONNECT comes here.
    isWebSocketStream = head.method.elementsEqual("CONNECT".utf8)
    switch store.value(of: credential, for: self, wake: wake) {
    case .waiting: return .wait
    case .failed:
      // Why is the operator's to know: the store tells it.
      return .refuse(.credentialFailed, detail: "Credential \(credential.name) could not be read or renewed")
    case .ready(let value): return put(credential, value, into: &head, hasBody: hasBody)
    }
  }

  private func put(
    _ credential: Credential, _ value: CredentialValue, into head: inout MessageHead, hasBody: Bool
  ) -> FilterVerdict {
    if case .sigv4(let region, let service) = credential.placement {
      do throws(SigV4.Problem) {
        let signer = try SigV4(region: region, service: service, client: head["authorization"])
        if !allowsKeyIssuing {
          let call = KeyIssuing(service: signer.service, host: host)
          if call.needsBody, hasBody, head.body == nil { return .collect(bytesMax: Self.signedBodyBytesMax) }
          if let action = call.issuing(head) { return issuesKeys(action, credential) }
        }
        let payload: [UInt8]
        switch (try signer.payload(of: head, hasBody: hasBody), head.body) {
        case (.stated(let text), _): payload = text
        case (.ofBody, let body?): payload = Digest.hexadecimal(Digest.sha256(body))
        case (.ofBody, nil): return .collect(bytesMax: Self.signedBodyBytesMax)
        }
        signer.sign(&head, host: host, payload: payload, value: value, unixSeconds: wallSeconds())
        isCompressedAllowed = true
      } catch {
        return .refuse(.badRequest, detail: "The request cannot be signed: \(error)")
      }
    } else {
      switch CredentialPlacement(credential: credential, value: value).put(into: &head) {
      case .placed: askForPlainAnswer(&head)
      case .absent: return absent(credential, head)
      case .foreign: return foreign(credential)
      }
    }
    self.value = value
    echoes = EchoSearch(value)
    report(.used(credential: credential.name, place: credential.placement.place))
    return .pass
  }

  private func issuesKeys(_ action: String, _ credential: Credential) -> FilterVerdict {
    .refuse(
      .secretRefused,
      detail: "\(action) may answer with keys, which credential \(credential.name) must not hand out; a rule that wants"
        + " this says `allow_key_issuing: true`")
  }

  /// The placeholder somewhere else: the upstream would refuse it, and nobody would know why.
  private func absent(_ credential: Credential, _ head: MessageHead) -> FilterVerdict {
    guard placeholders.find(in: head.texts) != nil else { return .pass }
    return .refuse(
      .secretRefused,
      detail: "The request carries the placeholder of credential \(credential.name), but not where its value goes"
        + " (\(credential.placement.place)); have the policy name the place that the client uses")
  }

  private func foreign(_ credential: Credential) -> FilterVerdict {
    .refuse(
      .secretRefused,
      detail: "The request carries something else where the gate puts credential \(credential.name)"
        + " (\(credential.placement.place)); send its placeholder there in the form of the policy, and nothing beside it"
    )
  }

  /// What is compressed cannot be looked through, and a part of a text may be half of an echo.
  private func askForPlainAnswer(_ head: inout MessageHead) {
    for name in ["accept-encoding", "range", "if-range"] as [StaticString] { head.remove(name) }
    head.add("accept-encoding", Array("identity".utf8))
    if head["grpc-accept-encoding"] != nil {
      head.remove("grpc-accept-encoding")
      head.add("grpc-accept-encoding", Array("identity".utf8))
    }
    // Frames that are compressed could not be looked through either (RFC 7692).
    head.remove("sec-websocket-extensions")
  }

  package func requestBody(_ chunk: inout [UInt8], isLast: Bool) -> FilterVerdict { .pass }

  // MARK: - Back

  package func answerHead(_ head: inout MessageHead, hasBody: Bool) -> FilterVerdict {
    guard let credential, let value else { return .pass }
    if head.status == 401 { store.refused(credential, value) }
    scrub(&head)
    let isWebSocket = head.status == 101 || isWebSocketStream && head.status == 200
    if isWebSocket, !isCompressedAllowed { frames = echoes.map(WebSocketEchoes.init) }
    guard hasBody, !isCompressedAllowed else { return .pass }
    // Of two fields, and of two codings in one field, each counts.
    guard BodyCodings(head) == .plain else {
      return .refuse(
        .contentRefused,
        detail:
          "The answer is compressed, though the gate asked for a plain one, and cannot be searched for the credential")
    }
    if BodyKind(contentType: head["content-type"]).form == .rpc { messages = MessageFrames() }
    return .pass
  }

  package func answerBody(_ chunk: inout [UInt8], isLast: Bool) -> FilterVerdict {
    if frames != nil { return relayed(&chunk, fromClient: false) }
    if messages != nil { return answerMessages(&chunk, isLast: isLast) }
    echoes?.scrub(&chunk, isLast: isLast)
    reportEchoes()
    return .pass
  }

  /// A caller may wait for the end of a message before it sends the next one.
  private func answerMessages(_ chunk: inout [UInt8], isLast: Bool) -> FilterVerdict {
    let came = chunk
    chunk = []
    for piece in messages?.split(came) ?? [] {
      if piece.isCompressed {
        return .refuse(
          .contentRefused, detail: "A message of the answer is compressed, and cannot be searched for the credential")
      }
      var part = Array(came[piece.range])
      echoes?.scrub(&part, isLast: piece.isEnd)
      chunk += part
    }
    if isLast {
      var rest: [UInt8] = []
      echoes?.scrub(&rest, isLast: true)
      chunk += rest
    }
    reportEchoes()
    return .pass
  }

  package var watchesRelay: Bool { frames != nil }

  package func relayed(_ bytes: inout [UInt8], fromClient: Bool) -> FilterVerdict {
    guard !fromClient, frames != nil else { return .pass }
    guard frames?.take(&bytes) == true else {
      return .refuse(
        .contentRefused,
        detail: "A frame of the WebSocket is compressed or malformed, and cannot be searched for the credential")
    }
    echoes = frames?.search
    reportEchoes()
    return .pass
  }

  package func interimHead(_ head: inout MessageHead) { scrub(&head) }

  package func answerTrailers(_ trailers: inout MessageHead) { scrub(&trailers) }

  package func requestTrailers(_ trailers: MessageHead) -> FilterVerdict {
    guard placeholders.find(in: trailers.texts) != nil else { return .pass }
    return .refuse(
      .secretRefused,
      detail: "The fields behind its body carry the placeholder of a credential, which no value replaces there")
  }

  /// Reason phrase, names and values of all fields. Names are in lower case, whatever the upstream wrote.
  private func scrub(_ head: inout MessageHead) {
    guard var values = echoes, let value else { return }
    var names = EchoSearch(value.spelled, ignoresCase: true)
    values.scrubWhole(&head.reason)
    for index in head.fields.indices {
      names.scrubWhole(&head.fields[index].name)
      values.scrubWhole(&head.fields[index].value)
    }
    echoes = values
    if names.count > 0 { hasNamedEcho = true }
    reportEchoes()
  }

  /// Once an answer.
  private func reportEchoes() {
    guard let credential, let echoes, echoes.count > 0 || hasNamedEcho, !hasReportedEcho else { return }
    hasReportedEcho = true
    report(.scrubbed(credential: credential.name))
  }

  package func ended() {}
}

extension Credential.Placement {
  /// The fields that the gate writes, whatever the client sent there.
  package var fields: [[UInt8]] {
    switch self {
    case .header(let name, _, _): [Array(name.lowercased().utf8)]
    case .basic: [Array("authorization".utf8)]
    case .query: []
    case .sigv4: ["authorization", "x-amz-security-token", "x-amz-date"].map { Array($0.utf8) }
    }
  }

  /// The log's word for where it goes.
  package var place: String {
    switch self {
    case .header(let name, _, _): "header \(name.lowercased())"
    case .basic: "basic"
    case .query(let name): "query \(name)"
    case .sigv4: "sigv4"
    }
  }
}

// One request and its answer as a credential goes with them: put in on the way out, scrubbed on the way back.
// It relies on its caller for what must agree: the rule, the SNI, the authority, the gate's own resolution, and an
// upstream whose certificate was verified. A request of which any of that is not so has no filter of this kind.
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

  private let credential: Credential?
  private let placeholders: Placeholders
  private let store: CredentialStore
  private let host: [UInt8]
  private let wake: @Sendable () -> Void
  private let report: (CredentialUse) -> Void
  private let wallSeconds: () -> Int64
  private var value: CredentialValue?
  private var scrubber: EchoScrubber?
  private var isCompressedAllowed = false
  private var hasReportedEcho = false

  /// `credential` is the rule's; nil: the request must hold no placeholder, and that is all.
  package init(
    _ credential: Credential?, placeholders: Placeholders, store: CredentialStore, target: Target,
    wallSeconds: @escaping () -> Int64 = { Clock.wallMs() / 1000 }, wake: @escaping @Sendable () -> Void,
    report: @escaping (CredentialUse) -> Void
  ) {
    self.credential = credential
    self.placeholders = placeholders
    self.store = store
    var host: [UInt8] = []
    target.host.append(to: &host)
    if target.port != 443 { host += ":\(target.port)".utf8 }
    self.host = host
    (self.wallSeconds, self.wake, self.report) = (wallSeconds, wake, report)
  }

  package var changesRequestLength: Bool { false }
  package var changesAnswerLength: Bool { false }

  // MARK: - Out

  package func requestHead(_ head: inout MessageHead, hasBody: Bool) -> FilterVerdict {
    if placeholders.find(in: head.texts, except: credential?.name) != nil {
      return .refuse(
        .secretRefused, detail: "The request carries the placeholder of a credential that is for another target")
    }
    guard let credential else { return .pass }
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
        let payload: [UInt8]
        switch (try signer.payload(of: head, hasBody: hasBody), head.body) {
        case (.stated(let text), _): payload = text
        case (.ofBody, let body?): payload = SigV4.hexadecimal(Digest.sha256(body))
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
      case .absent:
        guard placeholders.find(in: head.texts) != nil else { return .pass }
        // The upstream would refuse it, and nobody would know why.
        return .refuse(
          .secretRefused,
          detail: "The request carries the placeholder of credential \(credential.name), but not where its value goes"
            + " (\(credential.placement.place)); have the policy name the place that the client uses")
      case .foreign:
        return .refuse(
          .secretRefused,
          detail:
            "The request carries another key where the gate puts credential \(credential.name); send its placeholder")
      }
    }
    self.value = value
    scrubber = EchoScrubber(value.echoForms)
    report(.used(credential: credential.name, place: credential.placement.place))
    return .pass
  }

  /// What is compressed cannot be looked through, and a part of a text may be half of an echo.
  private func askForPlainAnswer(_ head: inout MessageHead) {
    for name in ["accept-encoding", "range", "if-range"] as [StaticString] { head.remove(name) }
    head.add("accept-encoding", Array("identity".utf8))
  }

  package func requestBody(_ chunk: inout [UInt8], isLast: Bool) -> FilterVerdict { .pass }

  // MARK: - Back

  package func answerHead(_ head: inout MessageHead, hasBody: Bool) -> FilterVerdict {
    guard var scrubber, let credential, let value else { return .pass }
    if head.status == 401 { store.refused(credential, value) }
    for index in head.fields.indices { scrubber.scrubWhole(&head.fields[index].value) }
    self.scrubber = scrubber
    reportEchoes()
    if hasBody, !isCompressedAllowed, let encoding = head["content-encoding"], !encoding.elementsEqual("identity".utf8)
    {
      return .refuse(
        .contentRefused,
        detail:
          "The answer is compressed, though the gate asked for a plain one, and cannot be searched for the credential")
    }
    return .pass
  }

  package func answerBody(_ chunk: inout [UInt8], isLast: Bool) -> FilterVerdict {
    scrubber?.scrub(&chunk, isLast: isLast)
    reportEchoes()
    return .pass
  }

  package func interimHead(_ head: inout MessageHead) { answerTrailers(&head) }

  package func answerTrailers(_ trailers: inout MessageHead) {
    guard var scrubber else { return }
    for index in trailers.fields.indices { scrubber.scrubWhole(&trailers.fields[index].value) }
    self.scrubber = scrubber
    reportEchoes()
  }

  /// Once an answer.
  private func reportEchoes() {
    guard let credential, let scrubber, scrubber.count > 0, !hasReportedEcho else { return }
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

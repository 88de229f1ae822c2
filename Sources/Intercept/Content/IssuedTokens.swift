// Looks for tokens in answers: what an upstream gave to a client may go out again. Account keys are not among them.
// It relies on fingerprints: no token is kept.
import Content

/// Looks for tokens in one answer.
final class IssuedTokenWatch {
  private static let bytesMax = 1 << 20

  private let tokens: ClientFingerprints
  private let client: String
  private let rules: ContentRules
  private var watch: SecretWatch?
  private var decoder: BodyDecoder?
  private var seen = 0

  init(_ tokens: ClientFingerprints, client: String, _ rules: ContentRules) {
    (self.tokens, self.client, self.rules) = (tokens, client, rules)
  }

  func look(at head: MessageHead, hasBody: Bool) {
    var text: [UInt8] = []
    for field in head.fields { text += field.value + [0x0a] }
    add(SecretWatch(rules).append(text.span, isLast: true))
    guard hasBody, BodyKind(contentType: head["content-type"]).mayHoldTokens else { return }
    switch BodyCodings(head) {
    case .plain: break
    // Without memory for a decoder nothing is remembered of it.
    case .known(let codings): decoder = try? BodyDecoder(codings)
    case .unknown: return
    }
    if case .known = BodyCodings(head), decoder == nil { return }
    watch = SecretWatch(rules)
  }

  func look(at chunk: [UInt8], isLast: Bool) {
    guard let watch else { return }
    var text = chunk
    if decoder != nil {
      text = []
      decoder?.append(chunk)
      do throws(DecompressProblem) {
        while let (piece, isDone) = try decoder?.next() {
          text += piece
          if isDone || text.count > Self.bytesMax { break }
        }
      } catch {
        self.watch = nil
      }
    }
    seen += text.count
    add(watch.append(text.span, isLast: isLast))
    if seen > Self.bytesMax || isLast { (self.watch, decoder) = (nil, nil) }
  }

  private func add(_ findings: [Finding]) {
    tokens.add(findings.filter { Self.mayBeIssued($0.id) }.map(\.fingerprint), client: client)
  }

  /// A value without a shape of its own, or one that is made for a session.
  static func mayBeIssued(_ id: String) -> Bool {
    ["json-web-token", "random-value", "google-access-token"].contains(id)
  }
}

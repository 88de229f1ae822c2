// A text that goes on as it is, byte for byte, while it is looked through for secrets; how far it may go on is told.
// It relies on TextLayer for what is found. Nothing is taken out: whoever watches holds back, or ends, what must not
// leave.
import Wire

public final class SecretWatch {
  private let layer: TextLayer

  /// Of the rules, what they say of secrets counts.
  public init(_ rules: ContentRules) {
    precondition(rules.flagInstructions == .off, "a watch for secrets is for secrets alone")
    layer = TextLayer(rules, layer: .plain)
  }

  /// What the next bytes of the text complete.
  public func append(_ chunk: Span<UInt8>, isLast: Bool = false) -> [Finding] {
    layer.append(chunk, isLast: isLast)
    return layer.takeHits().compactMap { hit in
      guard case .secret(let id) = hit.what else { return nil }
      var finding = Finding(
        kind: .secret, id: id, offset: hit.range.lowerBound, length: hit.range.count, layer: hit.layer)
      (finding.fingerprint, finding.audiences) = (hit.fingerprint, hit.audiences)
      return finding
    }
  }

  /// So many bytes of the text hold no secret, nor the beginning of one, that has not been told.
  public var settled: Int { layer.settled }
}

// What a check found: its kind, its place and its size, and never a secret itself.
// It relies on nothing; whoever shows a finding can show all of it.

/// One thing that a check found.
public struct Finding: Hashable, Sendable {
  public enum Kind: String, Sendable {
    /// Text that reads like an instruction to a model; `id` is the pattern.
    case instruction
    /// A secret; `id` is its kind, such as `github-token`, or `given` with the name it was given under.
    case secret
    /// Text of a page that its reader would not see; `length` is how much of it was dropped.
    case hiddenText = "hidden_text"
    /// Something was cut or left out; `id` says which limit was met.
    case limit
  }

  public var kind: Kind
  public var id: String
  /// Where it begins, in bytes of the text that was checked (of a page: the text that was made out of it).
  public var offset: Int
  /// How many bytes of that text it takes; of a secret this is all that is told.
  public var length: Int
  /// What was looked through to see it: `plain`, `base64`, or `hidden` for text that a page hides.
  public var layer: Layer
  /// How much it counts towards the threshold; 0 for all but instructions.
  public var weight: Int

  /// Of a secret: the same for the same value, in this process alone.
  package var fingerprint = 0
  /// Of a JSON web token: fingerprints of the hosts that it says it is for.
  package var audiences: [Int] = []

  public enum Layer: String, Sendable { case plain, base64, hidden }

  public init(kind: Kind, id: String, offset: Int, length: Int, layer: Layer = .plain, weight: Int = 0) {
    (self.kind, self.id, self.offset, self.length) = (kind, id, offset, length)
    (self.layer, self.weight) = (layer, weight)
  }

  var range: Range<Int> { offset..<(offset + length) }
}

/// What is to be done about one kind of finding.
public enum FlagMode: String, Sendable, CaseIterable {
  case off, log, annotate, block
}

public enum SecretMode: String, Sendable, CaseIterable {
  case off, log, block
}

public enum HTMLMode: String, Sendable, CaseIterable {
  /// What opens like a page is taken as one.
  case auto
  case always, never
}

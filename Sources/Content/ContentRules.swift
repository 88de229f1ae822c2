// What is to be checked and what is to be done about it, prepared once and shared by any number of checks.
// It relies on PatternSet and NeedleTable; nothing in it changes.

public struct ContentSettings: Sendable {
  public var html: HTMLMode = .auto
  public var flagInstructions: FlagMode = .log
  public var secrets: SecretMode = .log
  /// A text is flagged when what its patterns weigh comes to this.
  public var threshold = 8
  /// A longer text is cut; nil is no limit.
  public var bytesMax: Int?
  /// True if `annotate` says in front of a text that it is flagged; where that would break the text, it is only marked.
  public var warnsFirst = true
  /// What escape sequences hold as a string goes on, and may be read: it is looked through like the rest of the text.
  public var readsStrings = false
  /// How much text `annotate` and `block` hold back until the verdict. What is longer goes on in a stream.
  public var heldBytesMax = 1 << 20
  /// A longer page is cut.
  public var pageBytesMax = 4 << 20
  public var patterns: PatternSet = .shipped
  /// Patterns that do not count.
  public var muted: Set<String> = []
  /// Passages are kept for a person who decides about the text.
  package var keepsExcerpts = false
  /// Every value that looks random is one, whatever stands before it.
  package var findsAllRandom = false
  public var givenSecrets: [GivenSecret] = []

  public init() {}
}

/// Settings made ready: tables of patterns and secrets.
public final class ContentRules: Sendable {
  public let settings: ContentSettings
  let patterns: PatternSet
  let needles: NeedleTable

  var flagInstructions: FlagMode { settings.flagInstructions }
  var secrets: SecretMode { settings.secrets }

  public init(_ settings: ContentSettings = ContentSettings()) {
    self.settings = settings
    patterns = settings.patterns
    needles = NeedleTable(settings.secrets == .off ? [] : settings.givenSecrets)
  }
}

// `sluice clean`: the content checks as a filter, for what tools print and pages hold before a model reads it.
// It relies on Content for all that is checked; here are the options, the two pipes, and how findings are told.
public import ArgumentParser
public import Content
import Gate
import Kernel
import Wire
import YAML

extension HTMLMode: ExpressibleByArgument {}
extension FlagMode: ExpressibleByArgument {}
extension SecretMode: ExpressibleByArgument {}

struct Clean: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "clean",
    abstract: "Filter the output of a tool before a model reads it.",
    discussion: """
      Reads standard input, writes the cleaned text to standard output, and reports
      findings on standard error. Control characters and terminal escapes are
      removed. An HTML page becomes its visible text. A secret is replaced by its
      kind. Text that reads like instructions to a model is marked.

        curl -s https://example.com | sluice clean
        sluice clean --flag-instructions block --json < tool-output

      The filter finds known shapes and phrases, plain or disguised. It does not find
      everything: see docs/content.md.

      Exit status: 0 nothing found, 1 something found, 2 an error.
      """)

  @Option(
    help: ArgumentHelp(
      "Convert HTML to text: auto (input that looks like HTML), always or never.", valueName: "when"))
  var stripHtml = HTMLMode.auto

  @Option(
    help: ArgumentHelp(
      "Text that reads like instructions: log it, annotate it in the output, or block the whole text.",
      valueName: "how"))
  var flagInstructions = FlagMode.annotate

  @Option(
    help: ArgumentHelp(
      "Keys, tokens and passwords: log them, or block (replace them by their kind).", valueName: "how"))
  var secrets = SecretMode.block

  @Option(
    help: ArgumentHelp("More patterns, in the form that docs/content.md describes. May repeat.", valueName: "file"),
    completion: .file())
  var patterns: [String] = []

  @Option(
    help: ArgumentHelp(
      "A file that holds a secret to look for, in plain, base64, hex and percent encoding. May repeat.",
      valueName: "file"), completion: .file())
  var secretFile: [String] = []

  @Option(help: ArgumentHelp("Flag a text when the weights of its patterns add up to this.", valueName: "weight"))
  var threshold = 8

  @Option(help: ArgumentHelp("Cut a longer text at this size, such as 65536 or 1MiB.", valueName: "size"))
  var maxBytes: String?

  @Flag(help: "One JSON object: the text, the findings, and the verdict.") var json = false

  func run() throws {
    let rules = ContentRules(try settings())
    let check = ContentCheck(rules)
    var writer = CleanWriter(isJSON: json)
    do {
      while true {
        let chunk = try StandardPipes.read(bytesMax: 64 << 10)
        if chunk.isEmpty { break }
        try writer.write(check.append(chunk))
      }
      try writer.write(check.finish())
      try writer.end(check)
    } catch {
      try fail("\(error)")
    }
    if !json { for finding in check.findings { Messages.say(finding.text) } }
    if !check.findings.isEmpty { throw ExitCode(1) }
  }

  private func settings() throws -> ContentSettings {
    var settings = ContentSettings()
    settings.html = stripHtml
    settings.flagInstructions = flagInstructions
    settings.secrets = secrets
    guard threshold > 0 else { try fail("--threshold \(threshold): write a weight of 1 or more; 8 is the default") }
    settings.threshold = threshold
    if let maxBytes {
      guard let bytes = ByteSize.parse(maxBytes), bytes > 0 else {
        try fail("--max-bytes \(maxBytes): write a size such as 65536, 64KiB or 1MiB")
      }
      settings.bytesMax = bytes
    }
    for path in patterns {
      guard let bytes = FileBytes.read(path, bytesMax: 1 << 20) else {
        try fail("--patterns \(path): cannot be read (it must exist, and be at most 1 MiB)")
      }
      do throws(PatternProblems) { settings.patterns = try settings.patterns.extended(by: bytes, name: path) } catch {
        try fail("\(error)")
      }
    }
    for path in secretFile { settings.givenSecrets.append(try secret(path)) }
    return settings
  }

  private func secret(_ path: String) throws -> GivenSecret {
    guard var value = FileBytes.read(path, bytesMax: 64 << 10) else {
      try fail("--secret-file \(path): cannot be read (it must exist, and be at most 64 KiB)")
    }
    while let last = value.last, last == 0x0a || last == 0x0d { value.removeLast() }
    let name = path.split(separator: "/").last.map(String.init) ?? path
    guard let secret = GivenSecret(name: name, value: value) else {
      try fail(
        "--secret-file \(path): a secret has \(GivenSecret.bytesMin) to \(GivenSecret.bytesMax) bytes, this one has \(value.count)"
      )
    }
    return secret
  }

  private func fail(_ text: String) throws -> Never {
    Messages.say(text)
    throw ExitCode(2)
  }
}

/// Standard output: the text as it is, or as one string of a JSON object that is written piece by piece.
private struct CleanWriter {
  let isJSON: Bool
  private var hasBegun = false
  /// The beginning of a character that the next piece ends.
  private var cut: [UInt8] = []

  init(isJSON: Bool) { self.isJSON = isJSON }

  mutating func write(_ text: [UInt8]) throws(SystemError) {
    guard isJSON else { return try StandardPipes.write(text) }
    try begin()
    var all = cut + text
    let whole = Self.wholeCharacters(all)
    cut = Array(all[whole...])
    all.removeLast(all.count - whole)
    try StandardPipes.write(Self.escaped(all))
  }

  mutating func end(_ check: ContentCheck) throws(SystemError) {
    guard isJSON else { return }
    try begin()
    var line = Self.escaped(cut) + Array("\",\"flagged\":\(check.isFlagged),\"score\":\(check.instructionScore),".utf8)
    line += Array("\"blocked\":\(check.isBlocked),\"findings\":[".utf8)
    for (index, finding) in check.findings.enumerated() { line += Array((index == 0 ? "" : ",").utf8) + finding.json }
    try StandardPipes.write(line + Array("]}\n".utf8))
  }

  private mutating func begin() throws(SystemError) {
    if !hasBegun { try StandardPipes.write(Array(#"{"text":""#.utf8)) }
    hasBegun = true
  }

  /// The text as it stands between the quotes of a JSON string.
  private static func escaped(_ text: [UInt8]) -> [UInt8] {
    var quoted: [UInt8] = []
    JSONText.appendString(text, to: &quoted)
    return Array(quoted.dropFirst().dropLast())
  }

  private static func wholeCharacters(_ text: [UInt8]) -> Int {
    for back in 1...3 where back <= text.count {
      let byte = text[text.count - back]
      if byte & 0xc0 == 0x80 { continue }
      let length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1
      return length > back ? text.count - back : text.count
    }
    return text.count
  }
}

extension Finding {
  /// For a reader: what, where, and never the secret itself.
  fileprivate var text: String {
    let place = "at byte \(offset), \(length) bytes" + (layer == .plain ? "" : ", in \(layer.rawValue) text")
    switch kind {
    case .instruction: return "instruction \(id) (weight \(weight)) \(place)"
    case .secret: return "secret \(id) \(place)"
    case .hiddenText: return "hidden text, \(length) bytes, dropped"
    case .limit: return "limit \(id) met at byte \(offset)"
    }
  }

  fileprivate var json: [UInt8] {
    var line = Array("{\"kind\":\"\(kind.rawValue)\",\"id\":".utf8)
    JSONText.appendString(id, to: &line)
    line += Array(",\"offset\":\(offset),\"length\":\(length),\"layer\":\"\(layer.rawValue)\"".utf8)
    if kind == .instruction { line += Array(",\"weight\":\(weight)".utf8) }
    return line + Array("}".utf8)
  }
}

// What the head of an answer says of its body beyond its kind, and what is told of the findings in it.
// It relies on nothing but the fields.
import Content
import Policy

struct AnswerFacts {
  /// Fields that are about the very bytes of the body.
  private static let promises: [StaticString] = [
    "content-length", "etag", "content-md5", "digest", "content-digest", "repr-digest", "x-goog-hash",
    "x-ms-content-crc64",
  ]

  /// Of its length, as it comes.
  var statedBytes: Int?
  /// The head says which bytes will come: how many, or by a name or a digest.
  var hasPromises: Bool
  var extent: AnswerExtent
  var isPart: Bool { extent != .whole }

  init(_ head: MessageHead, asksForBytes: Bool = false) {
    statedBytes = head["content-length"].flatMap { Int(String(decoding: $0, as: UTF8.self)) }
    hasPromises = head.fields.contains(where: Self.isPromise)
    extent = AnswerExtent(head, asksForBytes: asksForBytes)
  }

  /// Removes what was said of other bytes than those that leave.
  static func dropPromises(_ head: inout MessageHead) {
    head.fields.removeAll(where: isPromise)
    head.remove("accept-ranges")
  }

  private static func isPromise(_ field: MessageHead.Field) -> Bool {
    promises.contains { field.name.span.isText($0) }
      || field.name.starts(with: "x-amz-checksum-".utf8)
  }
}

/// What of one answer has been told.
final class AnswerFindings {
  private let reporter: ContentReporter
  private let blocks: Bool
  private let annotates: Bool
  /// Report mode let it out, and enforce would have refused it.
  let wouldBlock: Bool
  private var told: Set<Finding> = []

  init(_ policy: ContentPolicy, _ flags: ContentPolicy.OnInstructions?, _ around: AnswerCheck.Surroundings) {
    reporter = around.reporter
    (blocks, annotates) = (flags == .block, flags == .annotate)
    wouldBlock = around.isReportOnly && (policy.flagInstructions == .block || policy.flagInstructions == .review)
  }

  /// What has not been told yet.
  func report(_ check: ContentCheck) {
    guard check.isFlagged else { return }
    // What stands behind the place where it is refused is not read.
    let findings = blocks ? check.decisiveFindings : check.findings
    tell(findings.filter { told.insert($0).inserted }, wouldDeny: wouldBlock)
  }

  func tell(_ findings: [Finding], wouldDeny: Bool) { reporter.found(findings, in: "answer", wouldDeny: wouldDeny) }

  /// In the head: where a mark has no place, that is all that its reader gets.
  func say(_ check: ContentCheck, _ head: inout MessageHead) {
    guard annotates, check.isFlagged else { return }
    Self.name(Set(check.findings.filter { $0.kind == .instruction }.map(\.id)).sorted(), in: &head)
  }

  static func name(_ ids: [String], in head: inout MessageHead) {
    head.remove("x-sluice-flagged")
    head.add("x-sluice-flagged", Array(ids.prefix(10).joined(separator: ", ").utf8))
  }

  static func reads(_ findings: [Finding]) -> String {
    let ids = Set(findings.filter { $0.kind == .instruction }.map(\.id)).sorted().prefix(5)
    return "It reads like instructions to an agent (\(ids.joined(separator: ", ")))"
  }
}

/// The characters of a page whose head does not name them: those that the page names, or those of its bytes.
enum PageCharacters {
  /// So far browsers look for a name.
  private static let namedBytesMax = 1024

  static func of(_ page: [UInt8], stated kind: BodyKind) -> BodyKind.Characters {
    if kind.statesCharacters || BodyKind.isUTF8(page) { return kind.characters }
    guard let name = named(page) else { return .latin }
    return BodyKind.characters(name)
  }

  private static func named(_ page: [UInt8]) -> String? {
    let head = page.prefix(namedBytesMax).map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 }
    let word = Array("charset=".utf8)
    guard head.count > word.count,
      let start = (0...(head.count - word.count)).first(where: { head[$0...].starts(with: word) })
    else { return nil }
    let value = head[(start + word.count)...].drop { [0x20, 0x22, 0x27].contains($0) }.prefix {
      $0 > 0x20 && ![0x22, 0x27, 0x2f, 0x3b, 0x3e].contains($0)
    }
    return value.isEmpty ? nil : String(decoding: value, as: UTF8.self)
  }
}

/// What a body begins with.
struct BodyOpening {
  /// So much says whether it is text.
  static let firstBytesMax = 512
  /// Blanks and a comment may stand before the first tag of a page.
  private static let bytesMax = 4100

  private(set) var bytes: [UInt8] = []
  private(set) var isWide = false
  private var isText: Bool?

  var saysWhetherText: Bool { bytes.count >= Self.firstBytesMax }

  /// False where it has been seen whole before.
  mutating func append(_ piece: [UInt8]) -> Bool {
    guard bytes.count < Self.bytesMax else { return false }
    bytes += piece.prefix(Self.bytesMax - bytes.count)
    return true
  }

  /// Told once.
  mutating func becomesWide() -> Bool {
    guard !isWide, BodyKind.opensWide(bytes) else { return false }
    isWide = true
    return true
  }

  mutating func isNoText(_ kind: BodyKind) -> Bool {
    guard kind.form == .other else { return false }
    if let isText { return !isText }
    let looksSo = BodyKind.looksLikeText(Array(bytes.prefix(Self.firstBytesMax)), kind.characters)
    if saysWhetherText { isText = looksSo }
    return !looksSo
  }
}

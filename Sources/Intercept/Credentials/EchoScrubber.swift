// Takes echoes of a secret out of an answer while it passes: each byte of one becomes a `*`, so no length changes.
// It relies on EchoForms; what may be the beginning of an echo is held back until it is known, and nothing else is.

package struct EchoScrubber {
  private let forms: EchoForms
  private var held: [UInt8] = []
  /// How many of the held bytes an echo that began before them covers.
  private var coveredAhead = 0
  /// How many echoes were taken out.
  package private(set) var count = 0

  /// Bytes that may be the beginning of an echo.
  var heldCount: Int { held.count }

  init(_ forms: EchoForms) { self.forms = forms }

  package init(_ value: CredentialValue) { self.init(value.echoForms) }

  /// The next piece of the text; what may pass takes its place.
  package mutating func scrub(_ chunk: inout [UInt8], isLast: Bool) {
    if forms.isEmpty { return }
    let text = held.isEmpty ? chunk : held + chunk
    var covered = coveredAhead
    var covers: [Range<Int>] = covered > 0 ? [0..<covered] : []
    var index = 0
    scanning: while index < text.count {
      switch forms.match(text, at: index, isLast: isLast) {
      case .none: break
      case .begins: break scanning
      case .whole(let length):
        // One that lies within another is the same echo.
        if index >= covered { count += 1 }
        covers.append(index..<(index + length))
        covered = max(covered, index + length)
      }
      index += 1
    }
    chunk = index == text.count ? text : Array(text[..<index])
    for cover in covers {
      for place in cover.lowerBound..<min(cover.upperBound, chunk.count) where place < chunk.count {
        chunk[place] = UInt8(ascii: "*")
      }
    }
    if !held.isEmpty { Secret.wipe(&held) }
    held = Array(text[index...])
    coveredAhead = max(0, covered - index)
  }

  /// A text that is there whole, such as the value of a field.
  package mutating func scrubWhole(_ text: inout [UInt8]) {
    var own = EchoScrubber(forms)
    own.scrub(&text, isLast: true)
    count += own.count
  }
}

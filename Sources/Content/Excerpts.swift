// What of a text is shown to a person who decides about it: each passage with what stands around it, and digests that
// tell the same passages again. It relies on ContentCheck to hand in the clean text, and the passages in its bytes.
import Wire

/// One passage, in clean text: no escapes, no control characters, valid UTF-8 but for its ends.
package struct Excerpt: Equatable, Sendable {
  package let id: String
  package let layer: Finding.Layer
  package let before: [UInt8]
  package let text: [UInt8]
  package fileprivate(set) var after: [UInt8]
}

package struct Excerpts: Sendable {
  package static let keptMax = 8
  static let (besideBytesMax, textBytesMax) = (160, 400)
  private static let digestsMax = 1_000
  /// A passage lies within it: see `Window.historyBytes`.
  private static let historyBytes = 2 * Window.historyBytes

  package private(set) var kept: [Excerpt] = []
  /// How many passages there are beyond those that are kept.
  package private(set) var leftOut = 0
  /// Of all passages up to each one, the same for the same passages in this process alone.
  package private(set) var digests: [Int] = []
  private var history: [UInt8] = []
  private var base = 0
  /// Where the kept passages end.
  private var ends: [Int] = []

  /// The next bytes of the text, before what they complete is found.
  mutating func append(_ text: Span<UInt8>) {
    if history.count > Self.historyBytes {
      let dropped = history.count - Self.historyBytes
      history.removeFirst(dropped)
      base += dropped
    }
    let end = base + history.count
    history.append(text)
    for index in kept.indices where ends[index] + kept[index].after.count == end {
      let room = Self.besideBytesMax - kept[index].after.count
      kept[index].after.append(text.extracting(first: room))
    }
  }

  mutating func found(_ id: String, _ layer: Finding.Layer, at range: Range<Int>) {
    found(id, layer, at: (range.lowerBound - base)..<(range.upperBound - base), in: history, end: range.upperBound)
  }

  /// In a text that is no part of the other.
  mutating func found(_ id: String, _ layer: Finding.Layer, at range: Range<Int>, in text: [UInt8], end: Int = -1) {
    let start = min(max(range.lowerBound, 0), text.count)
    let stop = min(max(range.upperBound, start), text.count)
    var hasher = Hasher()
    hasher.combine(digests.last)
    hasher.combine(id)
    hasher.combine(layer)
    hasher.combine(text[start..<stop])
    let digest = hasher.finalize()
    if digests.count < Self.digestsMax { digests.append(digest) } else { digests[digests.count - 1] = digest }
    guard kept.count < Self.keptMax else {
      leftOut += 1
      return
    }
    kept.append(
      Excerpt(
        id: id, layer: layer, before: Array(text[..<start].suffix(Self.besideBytesMax)),
        text: Array(text[start..<stop].prefix(Self.textBytesMax)),
        after: Array(text[stop...].prefix(Self.besideBytesMax))))
    ends.append(end)
  }
}

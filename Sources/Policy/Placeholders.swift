// The texts that clients send in place of credentials, searched in outgoing data.
// It relies on placeholders having only unreserved characters, so that each has one spelling besides percent and
// Base64.
import Wire

package struct Placeholders: Sendable {
  private let all: [(name: String, text: [UInt8])]
  private static let base64BytesMin = 16

  package init(_ credentials: [Credential]) {
    all = credentials.compactMap { credential in credential.placeholder.map { (credential.name, Array($0.utf8)) } }
  }

  package var isEmpty: Bool { all.isEmpty }
  package var texts: [[UInt8]] { all.map(\.text) }

  /// The credential whose placeholder is in one of the texts: plain, percent-encoded, or in a Base64 word.
  package func find(in texts: [[UInt8]], except own: String? = nil) -> String? {
    let looked = all.filter { $0.name != own }
    if looked.isEmpty { return nil }
    for text in texts {
      let spellings =
        [text] + (text.contains(UInt8(ascii: "%")) ? [Self.unescaped(text)] : []) + Self.decodedWords(text)
      for entry in looked where spellings.contains(where: { $0.firstIndex(of: entry.text) != nil }) {
        return entry.name
      }
    }
    return nil
  }

  private static func unescaped(_ text: [UInt8]) -> [UInt8] {
    var plain: [UInt8] = []
    var index = 0
    while index < text.count {
      let end = min(index + 3, text.count)
      if text[index] == UInt8(ascii: "%"), let byte = Percent.decode(Array(text[index..<end]).span), byte.count == 1 {
        plain += byte
        index = end
      } else {
        plain.append(text[index])
        index += 1
      }
    }
    return plain
  }

  private static func decodedWords(_ text: [UInt8]) -> [[UInt8]] {
    text.split { $0 <= UInt8(ascii: " ") }.filter { $0.count >= base64BytesMin }.compactMap {
      Base64.decode(Array($0).span)
    }
  }
}

extension [UInt8] {
  /// The index of the first `text`.
  package func firstIndex(of text: [UInt8]) -> Int? {
    guard let first = text.first, count >= text.count else { return nil }
    for start in 0...(count - text.count) where self[start] == first {
      if self[start..<(start + text.count)].elementsEqual(text) { return start }
    }
    return nil
  }
}

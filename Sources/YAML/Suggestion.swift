// "Did you mean": the known word that a mistyped one is closest to.
// It relies on the edit distance with transpositions; words are short, and so is the table.

package enum Suggestion {
  package static func nearest(to word: String, among known: [String]) -> String? {
    let typed = Array(word.lowercased().utf8)
    guard typed.count <= 64 else { return nil }
    if let meant = meant(by: word.lowercased(), among: known) { return meant }
    var best: (word: String, distance: Int)?
    for candidate in known {
      let distance = distance(typed, Array(candidate.utf8))
      if distance < best?.distance ?? .max { best = (candidate, distance) }
    }
    // A third of the letters may be wrong: more is another word.
    if let best, best.distance <= max(1, best.word.utf8.count / 3) { return best.word }
    // `memory` for `memory.max`, `wait` for `wait_seconds`.
    let front = word.lowercased()
    return known.first { $0.hasPrefix(front + ".") || $0.hasPrefix(front + "_") }
  }

  /// Words of other programs, and longer names of the same thing: `allow_list`, `allowed_hosts`, `rate-limit`.
  private static func meant(by word: String, among known: [String]) -> String? {
    if let same = synonyms.first(where: { $0.words.contains(word) && known.contains($0.key) }) { return same.key }
    let parts = word.split { $0 == "_" || $0 == "-" || $0 == "." || $0 == " " }.map(String.init)
    if parts.count > 1, let spelled = known.first(where: { $0 == parts.joined(separator: "_") }) { return spelled }
    return parts.count > 1 ? known.first { parts.contains($0) } : nil
  }

  private static let synonyms: [(key: String, words: Set<String>)] = [
    ("allow", ["whitelist", "allowed", "permit", "egress", "rules", "hosts", "allow_list", "allowed_hosts"]),
    ("deny", ["blacklist", "blocklist", "block", "denied", "forbid", "deny_list", "blocked_hosts"]),
    ("host", ["domain", "hostname", "url", "target", "destination", "fqdn"]),
    ("requests_per_minute", ["rpm", "rate"]),
    ("concurrent", ["max_connections", "connections"]),
  ]

  /// `"did you mean `x`?"`, or the list of what there is.
  package static func advice(for word: String, among known: [String]) -> String {
    if let nearest = nearest(to: word, among: known) { return "did you mean `\(nearest)`?" }
    return "known here: \(known.joined(separator: ", "))"
  }

  private static func distance(_ one: [UInt8], _ other: [UInt8]) -> Int {
    var rows = [Array(0...other.count)]
    for i in 1...max(one.count, 1) where i <= one.count {
      var row = [i] + Array(repeating: 0, count: other.count)
      for j in 1...max(other.count, 1) where j <= other.count {
        let cost = one[i - 1] == other[j - 1] ? 0 : 1
        row[j] = min(rows[i - 1][j] + 1, row[j - 1] + 1, rows[i - 1][j - 1] + cost)
        if i > 1, j > 1, one[i - 1] == other[j - 2], one[i - 2] == other[j - 1] {
          row[j] = min(row[j], rows[i - 2][j - 2] + 1)
        }
      }
      rows.append(row)
    }
    return rows[one.count][other.count]
  }
}

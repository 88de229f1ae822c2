// The path of a request as `log.paths` wants it. Relies on nothing but bytes: a path comes from inside a sandbox.
// A path can hold a secret (a token of a webhook, a key of a bot). So the shape keeps only segments that look like
// words of an API, and the query is never written.
import Policy

enum LoggedPath {
  /// A longer path is cut: a log line stays short whatever a client sends.
  private static let bytesMax = 512
  private static let wordBytesMax = 24
  private static let slash = UInt8(ascii: "/")

  /// Nil where the log has no paths.
  static func text(_ target: [UInt8], _ paths: Settings.LoggedPaths) -> [UInt8]? {
    let path = target.prefix { $0 != UInt8(ascii: "?") && $0 != UInt8(ascii: "#") }
    switch paths {
    case .none: return nil
    case .full: return Array(path.prefix(bytesMax))
    case .shape: return shape(path)
    }
  }

  private static func shape(_ path: ArraySlice<UInt8>) -> [UInt8] {
    var out: [UInt8] = []
    for segment in path.split(separator: slash, omittingEmptySubsequences: false) {
      let shown = segment.isEmpty || isWord(segment) ? Array(segment) : [UInt8(ascii: "*")]
      if out.count + shown.count >= bytesMax { break }
      out += shown
      out.append(slash)
    }
    out.removeLast(out.isEmpty ? 0 : 1)
    return out
  }

  /// `repos`, `chat.completions`, `sendMessage`, `v1`, `v1beta2`, `oauth2`: letters, parted by `-`, `_` or `.`, with at
  /// most two digits in a row, which follow a small letter. Tokens, numbers, names with `@` or `%` are values.
  private static func isWord(_ segment: ArraySlice<UInt8>) -> Bool {
    guard segment.count <= wordBytesMax else { return false }
    let hasCapital = segment.contains { $0 &- 0x41 < 26 }
    var (digits, groups, last) = (0, 0, UInt8(ascii: "-"))
    for byte in segment {
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"):
        digits += 1
        if digits == 1 { groups += 1 }
        guard !hasCapital, digits <= 2, groups <= 2, digits > 1 || isLetter(last) else { return false }
      case UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
        guard isLetter(last) || digits > 0 else { return false }
        digits = 0
      default:
        guard isLetter(byte) else { return false }
        digits = 0
      }
      last = byte
    }
    return isLetter(last) || digits > 0
  }

  private static func isLetter(_ byte: UInt8) -> Bool { (byte | 0x20) &- 0x61 < 26 }
}

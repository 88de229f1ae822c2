// What these tests share: a text through the checks, whole or in pieces, and bytes of base64.

import Content

struct Checked: Equatable {
  var text: String
  var findings: [Finding]
  var isFlagged: Bool
  var isBlocked: Bool

  var secrets: [String] { findings.filter { $0.kind == .secret }.map(\.id) }
  var instructions: [String] { findings.filter { $0.kind == .instruction }.map(\.id) }
}

func settings(
  _ html: HTMLMode = .never, _ flag: FlagMode = .log, _ secrets: SecretMode = .block, given: [String] = []
) -> ContentSettings {
  var settings = ContentSettings()
  (settings.html, settings.flagInstructions, settings.secrets) = (html, flag, secrets)
  settings.givenSecrets = given.enumerated().compactMap {
    GivenSecret(name: "s\($0.offset)", value: Array($0.element.utf8))
  }
  return settings
}

func check(_ chunks: [[UInt8]], _ rules: ContentRules) -> Checked {
  let check = ContentCheck(rules)
  var text: [UInt8] = []
  for chunk in chunks { text += check.append(chunk) }
  text += check.finish()
  return Checked(
    text: String(decoding: text, as: UTF8.self), findings: check.findings, isFlagged: check.isFlagged,
    isBlocked: check.isBlocked)
}

func check(_ text: String, _ settings: ContentSettings = settings()) -> Checked {
  check([Array(text.utf8)], ContentRules(settings))
}

enum Base64 {
  private static let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

  static func encode(_ text: String) -> String {
    let bytes = Array(text.utf8)
    var output: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = (0..<3).map { start + $0 < bytes.count ? UInt32(bytes[start + $0]) : 0 }
      let value = group[0] << 16 | group[1] << 8 | group[2]
      for place in 0..<4 {
        let isPadding = start + place > bytes.count
        output.append(isPadding ? UInt8(ascii: "=") : letters[Int(value >> UInt32(18 - 6 * place) & 63)])
      }
    }
    return String(decoding: output, as: UTF8.self)
  }

  static func decode(_ text: String) -> [UInt8] {
    var output: [UInt8] = []
    var (bits, count): (UInt32, UInt32) = (0, 0)
    for byte in text.utf8 {
      guard let value = letters.firstIndex(of: byte) else { continue }
      bits = bits << 6 | UInt32(value)
      count += 6
      if count >= 8 {
        count -= 8
        output.append(UInt8(truncatingIfNeeded: bits >> count))
      }
    }
    return output
  }
}

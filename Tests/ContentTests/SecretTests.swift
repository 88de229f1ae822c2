// Keys of known shapes and given secrets are found in each encoding, and what is told of them is never the secret.

import Content
import Testing

@Suite struct SecretTests {
  private static let secret = "c0rrect/Horse+battery=staple"

  /// No real keys: letters and digits in the shape of one.
  static let shapes: [(String, String)] = [
    ("anthropic-key", "sk-ant-api03-AbCdEfGh0123456789IjKlMnOp_-x"), ("openai-key", "sk-proj-AbCdEfGh0123456789IjKlMn"),
    ("openai-key", "sk-Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9St0Uv1Wx2Yz3"), ("aws-access-key", "AKIAABCDEFGHIJKLMN01"),
    ("github-token", "ghp_0123456789abcdefghijABCDEFGHIJ012345"),
    ("github-token", "github_pat_11ABCDEFG0123456789_abcdefghijklmnop"),
    ("google-key", "AIzaSyA0123456789abcdefghijABCDEFGHIJ-_"),
    ("slack-token", "xoxb-123456789012-abcdefghijKL"), ("stripe-key", "sk_live_0123456789abcdefABCDEF01"),
    ("npm-token", "npm_0123456789abcdefghijABCDEFGHIJ012345"), ("gitlab-token", "glpat-0123456789abcdefABCD"),
    ("pypi-token", "pypi-AgEIcHlwaS5vcmcCJDAwMDAwMDAwLTAwMDAtMDAwMC0wMDAwLTAwMDAwMDAwMDAwMA"),
    ("json-web-token", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"),
    ("random-value", "Zx81kQpTn5Lw09aBvC3dFF"),
  ]

  @Test(arguments: shapes)
  func aKeyOfAKnownShapeIsTakenOut(kind: String, key: String) {
    let checked = check("api_key = \"\(key)\" and more")
    #expect(checked.secrets == [kind])
    #expect(checked.text == "api_key = \"[secret removed: \(kind)]\" and more")
    #expect(checked.findings.first?.length == key.utf8.count)
  }

  @Test(arguments: shapes)
  func aKeyInBase64IsFound(kind: String, key: String) {
    let checked = check("data: " + Base64.encode("api_key = \"\(key)\" and more"))
    #expect(checked.secrets == [kind])
    #expect(checked.findings.first?.layer == .base64)
  }

  @Test(arguments: [
    "task-oriented-and-very-long-identifier-name", "disk-usage-of-the-last-month-by-department-and-team",
    "sk-learn-pipelines-with-many-steps-and-options",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "next_page_token: Zx81kQpTn5Lw09aBvC3dFF", "AKIAshort", "ghp_short",
    "the password is long", "password: correct-horse-battery-staple-again",
  ])
  func whatOnlyLooksLongIsLetBe(text: String) { #expect(check("see \(text) there").secrets == []) }

  @Test func aPrivateKeyIsTakenOutWhole() {
    let body = (0..<20).map { _ in "MIIEowIBAAKCAQEA7xQpTn5Lw09aBvC3dMIIEowIBAAKCAQEA7xQpTn5Lw09aBvC" }
    for kind in ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "] {
      let lines = ["-----BEGIN \(kind)PRIVATE KEY-----"] + body + ["-----END \(kind)PRIVATE KEY-----"]
      for separator in ["\n", "\r\n", "\\n"] {
        let checked = check("a " + lines.joined(separator: separator) + " b")
        #expect(checked.text == "a [secret removed: private-key] b", "\(kind) \(separator)")
      }
    }
    #expect(check("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----").secrets == [])
    #expect(check("a -----BEGIN PRIVATE KEY-----\nMIIEowIBAAKCAQEA7x").text == "a [secret removed: private-key]")
  }

  @Test func aGivenSecretIsFoundInEachEncoding() {
    let bytes = Array(Self.secret.utf8)
    let hex = bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    var forms = [
      ("plain", Self.secret), ("hex", hex), ("HEX", hex.uppercased()),
      ("percent", bytes.map { "%" + (String($0, radix: 16)) }.joined()),
      (
        "some percent",
        Self.secret.split(separator: "/").joined(separator: "%2F").split(separator: "+").joined(separator: "%2b")
      ),
      ("json", Self.secret.split(separator: "/").joined(separator: "\\/")),
      ("json unicode", Self.secret.unicodeScalars.map { "\\u00" + String($0.value, radix: 16) }.joined()),
      ("html", Self.secret.unicodeScalars.map { "&#\($0.value);" }.joined()),
    ]
    for before in ["", "x", "xy"] {
      forms.append(("base64 after \(before.count)", Base64.encode(before + Self.secret + "z")))
    }
    for (name, form) in forms {
      let checked = check("before <\(form)> after", settings(given: [Self.secret]))
      #expect(checked.secrets.contains("given:s0"), "\(name)")
      #expect(checked.text.hasPrefix("before <") && checked.text.hasSuffix("> after"), "\(name): \(checked.text)")
      #expect(!checked.text.contains(form), "\(name): \(checked.text)")
    }
  }

  @Test func aSecretThatHoldsEscapesIsFoundAsItIs() {
    for secret in ["pa%41ss\\nword&amp;123", "100%25sure\\u0041"] {
      #expect(check("x \(secret) y", settings(given: [secret])).text == "x [secret removed: given:s0] y")
    }
  }

  @Test func logFindsAndLeavesTheText() {
    let text = "k \(Self.shapes[4].1) v"
    let checked = check(text, settings(.never, .log, .log))
    #expect(checked.secrets == ["github-token"])
    #expect(checked.text == text)
    #expect(check(text, settings(.never, .log, .off)).findings == [])
  }

  @Test func noFindingTellsTheSecret() {
    for (_, key) in Self.shapes {
      for finding in check("api_key = \(key)").findings { #expect(!"\(finding)".contains(key.suffix(8))) }
    }
  }
}

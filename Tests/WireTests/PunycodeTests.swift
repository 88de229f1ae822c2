// What an A-label shows: known pairs (RFC 3492 section 7.1 and names in use), and texts that are no Punycode.
import Testing
import Wire

@Suite struct PunycodeTests {
  @Test(arguments: [
    ("bcher-kva", "bücher"), ("mnchen-3ya", "münchen"), ("e1afmkfd", "пример"), ("fiqs8s", "中国"),
    ("maana-pta", "mañana"),
    ("penai-iye", "оpenai"), ("ihqwcrb4cv8a8dqg056pqjye", "他们为什么不说中文"), ("", ""), ("a-", "a"),
  ])
  func decodes(_ text: String, _ shown: String) { #expect(Punycode.decode(Array(text.utf8)) == shown) }

  @Test(arguments: ["a-!", "99999999", "zzzzzzzzzzzzzzzzzz", "a-b-c\u{e9}", "k", String(repeating: "a", count: 60)])
  func refuses(_ text: String) { #expect(Punycode.decode(Array(text.utf8)) == nil) }
}

// Any bytes through all checks, whole and cut in two: the findings and the text are the same, and no secret that was given gets out.

import Content
import FuzzDriver

private let secret = Array("Gv8-secret/Value+01".utf8)

private let rules: [ContentRules] = {
  [(HTMLMode.never, FlagMode.annotate), (.always, .log), (.auto, .block)].map { html, flag in
    var settings = ContentSettings()
    settings.html = html
    settings.flagInstructions = flag
    settings.secrets = .block
    settings.heldBytesMax = 4096
    if let given = GivenSecret(name: "fuzz", value: secret) { settings.givenSecrets = [given] }
    return ContentRules(settings)
  }
}()

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: size))
  for rules in rules {
    let whole = run(rules, [bytes])
    let cut = bytes.reduce(0) { ($0 &* 31 &+ Int($1)) & 0xffff } % (bytes.count + 1)
    let parts = run(rules, [Array(bytes[..<cut]), Array(bytes[cut...])])
    precondition(whole.findings == parts.findings, "a cut changes what is found")
    if bytes.count <= 4096 { precondition(whole.text == parts.text, "a cut changes the text") }
    precondition(!contains(whole.text, secret), "a secret gets out")
  }
  for coding in ContentCoding.allCases { expand(bytes, coding) }
  return 0
}

private func run(_ rules: ContentRules, _ chunks: [[UInt8]]) -> (text: [UInt8], findings: [Finding]) {
  let check = ContentCheck(rules)
  var text: [UInt8] = []
  for chunk in chunks { text += check.append(chunk) }
  text += check.finish()
  return (text, check.findings)
}

/// Whatever a body is, no more comes out than allowed.
private func expand(_ bytes: [UInt8], _ coding: ContentCoding) {
  guard let decoder = try? Decompressor(coding, bytesMax: 1 << 20) else { return }
  guard let output = try? decoder.append(bytes) else { return }
  precondition(output.count <= 1 << 20, "more than allowed")
}

private func contains(_ text: [UInt8], _ part: [UInt8]) -> Bool {
  text.indices.contains { text[$0...].starts(with: part) }
}

@_cdecl("FuzzContent_main")
public func main(_ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> CInt {
  runFuzzer(count, arguments)
}

// The page as one file to send: the same files and figures, put into each other; it asks nobody for anything.
// It relies on hashes in its policy: of all that stands in it only the page's own script and style are ever used.
package import Wire

package enum Report {
  /// `sha256` of the bytes.
  package static func html(_ members: [JSONMember], madeMs: Int64, sha256: ([UInt8]) -> [UInt8]) -> [UInt8] {
    let (css, js) = (PageFile.css.bytes, PageFile.js.bytes)
    let policy =
      "default-src 'none'; script-src '\(source(js, sha256))'; style-src '\(source(css, sha256))'; base-uri 'none'; "
      + "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    var page = PageFile.html.bytes
    page.replace(
      #"<meta name="report">"#, with: Array(#"<meta http-equiv="Content-Security-Policy" content="\#(policy)">"#.utf8))
    page.replace(#"<link rel="icon" href="icon.svg">"#, with: [])
    page.replace(
      #"<link rel="stylesheet" href="page.css">"#, with: Array("<style>".utf8) + css + Array("</style>".utf8))
    page.replace(
      #"<script src="page.js"></script>"#,
      with: Array(#"<script type="application/json" id="report">"#.utf8) + data(members, madeMs)
        + Array("</script>\n<script>".utf8) + js + Array("</script>".utf8))
    return page
  }

  /// JSON that ends no element: a `<` stands in texts alone, where an escape means the same.
  private static func data(_ members: [JSONMember], _ madeMs: Int64) -> [UInt8] {
    let all = [JSONMember("now_ms", .number(Int(madeMs)))] + members
    var plain: [UInt8] = []
    JSONValue.object(all).append(to: &plain)
    var out: [UInt8] = []
    for byte in plain { if byte == UInt8(ascii: "<") { out.append(#"\u003c"#) } else { out.append(byte) } }
    return out
  }

  private static func source(_ bytes: [UInt8], _ sha256: ([UInt8]) -> [UInt8]) -> String {
    var text: [UInt8] = []
    Base64.append(sha256(bytes), to: &text)
    return "sha256-\(String(decoding: text, as: UTF8.self))"
  }
}

extension [UInt8] {
  /// The one place where `text` stands.
  fileprivate mutating func replace(_ text: StaticString, with other: [UInt8]) {
    var wanted: [UInt8] = []
    wanted.append(text)
    guard let range = firstRange(of: wanted) else { preconditionFailure("page.html lacks \(text)") }
    replaceSubrange(range, with: other)
  }
}

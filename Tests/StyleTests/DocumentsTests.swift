// What the documents say is held to the code: every reason is explained, every module has its place on the map.

import Foundation
import Policy
import Testing

@Suite struct DocumentsTests {
  @Test func everyReasonIsExplained() throws {
    let text = try Repository.file("docs/denials.md").lines.joined(separator: "\n")
    let page = try Repository.file("Sources/CDashboard/page.js").lines.joined(separator: "\n")
    for reason in Reason.allCases {
      #expect(text.contains("\n| `\(reason.rawValue)` |"), "docs/denials.md lacks \(reason.rawValue)")
      #expect(page.contains(" \(reason.rawValue): '"), "page.js has no words for \(reason.rawValue)")
    }
  }

  @Test func everyPartIsOnTheMap() throws {
    let text = try Repository.file("docs/ARCHITECTURE.md").lines.joined(separator: "\n")
    let parts = try FileManager.default.contentsOfDirectory(atPath: Repository.root.appending(path: "Sources").path)
    for part in parts { #expect(text.contains("`\(part)`"), "docs/ARCHITECTURE.md lacks \(part)") }
  }

  @Test func everyLinkLeadsSomewhere() throws {
    for path in [
      "README.md", "docs/ARCHITECTURE.md", "docs/denials.md", "docs/policy.md", "docs/dns.md", "docs/threat-model.md",
      "docs/hacking.md", "docs/transparent.md", "docs/sandbox.md", "docs/inspection.md", "docs/credentials.md",
      "docs/admin.md", "docs/metrics.md", "docs/content.md", "docs/install.md",
      "docs/log.md", "docs/tls-listener.md",
      "docs/dashboard.md",
      "docs/policy-tools.md",
    ] {
      let text = try Repository.file(path).lines.joined(separator: "\n")
      let folder = Repository.root.appending(path: path).deletingLastPathComponent()
      for match in text.matches(of: /\]\(([^)#]+)(#[^)]*)?\)/) where !match.1.contains("://") {
        let place = folder.appending(path: String(match.1))
        #expect(FileManager.default.fileExists(atPath: place.path), "\(path) links to \(match.1)")
      }
    }
  }
}

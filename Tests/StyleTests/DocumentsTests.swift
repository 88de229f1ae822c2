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

  private static func decisions() throws -> [String] {
    let folder = Repository.root.appending(path: "docs/decisions").path
    return try FileManager.default.contentsOfDirectory(atPath: folder).sorted().map { "docs/decisions/\($0)" }
  }

  /// Half a page each: what was chosen, what others choose, figures, and when to look again.
  @Test func everyDecisionSaysWhyAndUntilWhen() throws {
    let map = try Repository.file("docs/ARCHITECTURE.md").lines.joined(separator: "\n")
    let decisions = try Self.decisions()
    #expect(decisions.count >= 8)
    for path in decisions {
      let lines = try Repository.file(path).lines
      for part in ["**Chosen.**", "**Others.**", "**Figures.**", "**Look again**"] {
        #expect(lines.contains { $0.hasPrefix(part) }, "\(path) lacks \(part)")
      }
      #expect(lines.count <= 40 && lines.allSatisfy { $0.count <= 120 }, "\(path) is more than half a page")
      #expect(map.contains("(\(path.dropFirst("docs/".count)))"), "docs/ARCHITECTURE.md does not link to \(path)")
    }
  }

  @Test func everyLinkLeadsSomewhere() throws {
    for path in try Self.decisions() + [
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

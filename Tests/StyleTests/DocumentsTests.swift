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

  /// How many files there are to open is the figure that the page exists for.
  @Test func theLifeOfAConnectionNamesItsFiles() throws {
    let lines = try Repository.file("docs/life-of-a-connection.md").lines
    var files: [[String]] = []
    for line in lines {
      if line.hasPrefix("## ") { files.append([]) }
      let row = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
      guard row.count == 3, let number = Int(row[0]), !files.isEmpty else { continue }
      files[files.count - 1].append(row[1].replacingOccurrences(of: "`", with: ""))
      #expect(number == files[files.count - 1].count, "\(line): numbered from 1 on")
    }
    #expect(files.count == 3)
    for file in files.joined() {
      let place = Repository.root.appending(path: "Sources/\(file)").path
      #expect(FileManager.default.fileExists(atPath: place), "docs/life-of-a-connection.md names \(file)")
    }
    #expect((10...25).contains(files[0].count) && (10...20).contains(files[1].count))
  }

  @Test func theGlossaryKnowsTheCode() throws {
    let sources = try Repository.swiftFiles(under: "Sources").flatMap(\.lines).joined(separator: "\n")
    let lines = try Repository.file("docs/glossary.md").lines
    var names: [String] = []
    for line in lines where line.hasPrefix("| `") {
      for match in line.split(separator: "|")[0].matches(of: /`([A-Z]\w+)`/) { names.append(String(match.1)) }
    }
    #expect(names.count > 20)
    for name in names {
      let isDeclared = ["class", "struct", "enum", "protocol"].contains {
        sources.contains(" \($0) \(name)")
          || sources.contains("\n\($0) \(name)")
      }
      #expect(isDeclared, "docs/glossary.md explains \(name), which the code does not have")
    }
  }

  /// The map leads to files that are there, whatever they are called by now.
  @Test func theMapNamesFilesThatAreThere() throws {
    let text = try Repository.file("docs/ARCHITECTURE.md").lines.joined(separator: "\n")
    let files = try Repository.files(under: "Sources", withSuffixes: [".swift", ".c", ".h"]).map { "/\($0.path)" }
    let named = text.matches(of: /`([\w+\/]+\.(swift|c))`/).map { String($0.1) }
    #expect(named.count > 60)
    for name in named { #expect(files.contains { $0.hasSuffix("/\(name)") }, "docs/ARCHITECTURE.md names \(name)") }
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

  /// Pages at the root, and all of docs/ and Examples/.
  private static func pages() throws -> [Repository.File] {
    let folders = try ["docs", "Examples", "Benchmarks"].flatMap {
      try Repository.files(under: $0, withSuffixes: [".md"])
    }
    return try folders + ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(Repository.file)
  }

  @Test func everyLinkLeadsSomewhere() throws {
    let pages = try Self.pages()
    #expect(pages.count > 30)
    for page in pages {
      let text = page.lines.joined(separator: "\n")
      let folder = Repository.root.appending(path: page.path).deletingLastPathComponent()
      for match in text.matches(of: /\]\(([^)#]+)(#[^)]*)?\)/) where !match.1.contains("://") {
        let place = folder.appending(path: String(match.1))
        #expect(FileManager.default.fileExists(atPath: place.path), "\(page.path) links to \(match.1)")
      }
    }
  }

  @Test func everyPageIsInTheIndex() throws {
    let index = try Repository.file("docs/README.md").lines.joined(separator: "\n")
    let pages = try FileManager.default.contentsOfDirectory(
      atPath: Repository.root.appending(path: "docs").path)
    for page in pages where page.hasSuffix(".md") && page != "README.md" {
      #expect(index.contains("(\(page)"), "docs/README.md does not list \(page)")
    }
  }

  @Test func theReadmeIsShort() throws { #expect(try Repository.file("README.md").lines.count <= 121) }

  /// Rows of tables cannot be broken: so many of each page are wider than a line. The figures only go down.
  private static let wideRows: [String: Int] = [
    "Benchmarks/README.md": 2,
    "docs/ARCHITECTURE.md": 51,
    "docs/admin.md": 12,
    "docs/approvals.md": 4,
    "docs/at-scale.md": 5,
    "docs/content.md": 16,
    "docs/credentials.md": 2,
    "docs/dashboard.md": 10,
    "docs/denials.md": 21,
    "docs/dns.md": 7,
    "docs/install.md": 4,
    "docs/kubernetes.md": 1,
    "docs/licences.md": 1,
    "docs/log-export.md": 6,
    "docs/log.md": 10,
    "docs/metrics.md": 16,
    "docs/policy.md": 20,
    "docs/profiles.md": 3,
    "docs/sandbox.md": 28,
    "docs/threat-model.md": 37,
    "docs/tls-listener.md": 7,
    "docs/transparent.md": 7,
  ]

  @Test func linesOfDocumentsFit() throws {
    for page in try Self.pages() {
      var rows = 0
      for (index, line) in page.lines.enumerated() where line.count > 120 {
        if line.hasPrefix("|") {
          rows += 1
        } else {
          Issue.record("\(page.path):\(index + 1): \(line.count) columns, the limit is 120")
        }
      }
      let known = Self.wideRows[page.path] ?? 0
      #expect(rows <= known, "\(page.path) has \(rows) table rows wider than 120 columns, \(known) are known")
    }
  }
}

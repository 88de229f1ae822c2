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

  /// Every page below docs/.
  private static func pages() throws -> [String] {
    let folder = Repository.root.appending(path: "docs").path
    return try FileManager.default.subpathsOfDirectory(atPath: folder).filter { $0.hasSuffix(".md") }.sorted()
      .map { "docs/\($0)" }
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
    for path in try Self.pages() + ["README.md"] {
      let text = try Repository.file(path).lines.joined(separator: "\n")
      let folder = Repository.root.appending(path: path).deletingLastPathComponent()
      for match in text.matches(of: /\]\(([^)#]+)(#[^)]*)?\)/) where !match.1.contains("://") {
        let place = folder.appending(path: String(match.1))
        #expect(FileManager.default.fileExists(atPath: place.path), "\(path) links to \(match.1)")
      }
    }
  }
}

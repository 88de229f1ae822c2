// Facts of a release that stand in several places: the version, the licence, and the list of what is linked.
// It relies on the manifest and the module maps: a new library has to name itself there before it can be used.
import Foundation
import Testing

@Suite struct ReleaseTests {
  private static func text(_ path: String) throws -> String {
    try Repository.file(path).lines.joined(separator: "\n")
  }

  @Test func theVersionHasOneSource() throws {
    let version = try #require(try Repository.file("VERSION").lines.first)
    #expect(version.wholeMatch(of: /\d+\.\d+\.\d+(-[a-z0-9.]+)?/) != nil, "VERSION holds \(version)")
    #expect(try Self.text("CHANGELOG.md").contains("\n## \(version)"), "CHANGELOG.md has no entry for \(version)")
    for folder in ["Sources", "Packaging"] {
      for file in try Repository.files(under: folder, withSuffixes: [".swift", ".c", ".py", ".service", "changelog"])
      where !file.path.hasSuffix("Suspicion.swift") {
        #expect(
          !file.lines.contains { $0.contains("\"\(version)\"") || $0.contains("(\(version))") },
          "\(file.path) repeats the version; read it from VERSION")
      }
    }
  }

  @Test func theLicenceIsStatedAlike() throws {
    #expect(try Self.text("LICENSE").contains("Apache License\n                           Version 2.0, January 2004"))
    #expect(try Self.text("LICENSE").contains("END OF TERMS AND CONDITIONS"))
    let copyright = try Self.text("Packaging/debian/copyright")
    #expect(copyright.contains("Copyright: 2026, the authors of Sluice\nLicense: Apache-2.0\n"))
    #expect(try Self.text("docs/licences.md").contains("[Apache License 2.0](../LICENSE)"))
  }

  /// Every library of a module map, and every package of the manifest, is in the list with its licence.
  @Test func whatIsLinkedIsListed() throws {
    let list = try Self.text("docs/licences.md")
    let copyright = try Self.text("Packaging/debian/copyright")
    let maps = try Repository.files(under: "Sources", withSuffixes: ["module.modulemap"])
    let libraries = maps.flatMap { $0.lines }.compactMap { $0.firstMatch(of: /^ *link "(.*)"$/)?.1 }
    #expect(libraries.count >= 9)
    for library in libraries { #expect(list.contains("`lib\(library)`"), "docs/licences.md lacks lib\(library)") }
    let manifest = try Self.text("Package.swift")
    let packages = manifest.matches(of: /\.package\(url: "[^"]*\/([^"\/]+)"/).map(\.1)
    #expect(!packages.isEmpty)
    for package in packages { #expect(list.contains("| \(package) |"), "docs/licences.md lacks \(package)") }
    let rows = list.components(separatedBy: "\n").filter { $0.hasPrefix("| `") }.map {
      $0.components(separatedBy: " | ")
    }
    #expect(rows.count >= 15)
    for row in rows where row.count == 5 {
      #expect(copyright.contains("libraries/\(row[2])"), "Packaging/debian/copyright lacks libraries/\(row[2])")
    }
  }
}

// Structure held by tests: how large a cycle of files may be, how long C may be, how wide a line.
// It relies on spelling alone: a file depends on another where it names a type that the other declares.
import Foundation
import Testing

@Suite struct StructureTests {
  /// The largest set of a module's files of which each needs all others. A module that is not here has four at most.
  private static let cycles: [String: Int] = ["Gate": 7, "Sandbox": 10, "sluice": 5]
  private static let cycleElsewhere = 4
  /// Lines of code and comments that are wider, strings for the most part; the figure only goes down.
  private static let wideLines = 60
  private static let widthMax = 120

  @Test func filesDependOnFewInACircle() throws {
    let files = try Repository.swiftFiles(under: "Sources")
    for module in Set(files.map(\.part)) {
      let graph = try FileGraph(files.filter { $0.part == module })
      let largest = graph.cycles.max { $0.count < $1.count } ?? []
      let most = Self.cycles[module] ?? Self.cycleElsewhere
      #expect(
        largest.count <= most,
        "Sources/\(module): \(largest.count) files need each other, \(most) may: \(largest.sorted())")
    }
  }

  @Test func aGraphSeesItsCircles() throws {
    func file(_ name: String, _ lines: String...) -> Repository.File {
      Repository.File(path: "Sources/M/\(name).swift", lines: lines)
    }
    let graph = try FileGraph([
      file("A", "struct A { let b: B }"), file("B", "final class B { var c: C? }"), file("C", "enum C {}"),
      file("C+More", "extension C { static let a: A? = nil }"), file("D", "struct D { let a: A }", "// E"),
      file("E", "private struct A {}", "struct E { let d: D }"),
    ])
    #expect(graph.cycles.map { $0.sorted() }.filter { $0.count > 1 } == [["A", "B", "C"]])
  }

  @Test func cIsShortToo() throws {
    let files = try Repository.files(under: "Sources", withSuffixes: [".c", ".h"])
    #expect(files.count > 10)
    for file in files {
      #expect(file.lines.count <= 500, "\(file.path) has \(file.lines.count) lines, the limit is 500")
      #expect(
        file.lines.first?.hasPrefix("//") == true || file.path.hasSuffix("/shim.h"),
        "\(file.path) does not open with what it is")
      var begin: Int?
      for (index, line) in file.lines.enumerated() {
        let opens = line.hasSuffix("{") && line.contains("(") && line.first?.isWhitespace == false
        if opens { begin = index }
        guard line.hasPrefix("}"), let start = begin else { continue }
        #expect(index - start < 70, "\(file.path):\(start + 1): \(index - start + 1) lines, the limit is 70")
        begin = nil
      }
    }
  }

  @Test func linesAreNotWide() throws {
    var wide: [String] = []
    for file in try Repository.swiftFiles(under: "Sources") {
      for (index, line) in file.lines.enumerated() where line.count > Self.widthMax {
        if line.isComment {
          Issue.record("\(file.path):\(index + 1): a comment of \(line.count) columns, the limit is \(Self.widthMax)")
        } else {
          wide.append("\(file.path):\(index + 1)")
        }
      }
    }
    #expect(
      wide.count <= Self.wideLines, "\(wide.count) lines are wide, \(Self.wideLines) are known: \(wide.suffix(5))")
  }
}

/// Which files of a module name types of which; `X+Y.swift` counts as a part of `X.swift`.
private struct FileGraph {
  private var edges: [String: Set<String>] = [:]

  init(_ files: [Repository.File]) throws {
    let declaration = try Regex(
      #"^(?:(?:package|public|internal|final|indirect|@\w+(?:\(\w+\))?) )*(?:class|struct|enum|protocol|actor|typealias) (\w+)"#
    )
    let name = try Regex(#"\b[A-Z]\w+|\b[A-Z]\b"#)
    var declared: [String: String] = [:]
    for file in files {
      for line in file.code {
        guard let match = line.firstMatch(of: declaration), let type = match.output[1].substring else { continue }
        declared[String(type)] = Self.unit(file)
      }
    }
    for file in files {
      let unit = Self.unit(file)
      edges[unit, default: []].formUnion([])
      for line in file.code {
        for match in line.withoutStrings.matches(of: name) {
          if let other = declared[String(line.withoutStrings[match.range])], other != unit {
            edges[unit]?.insert(other)
          }
        }
      }
    }
  }

  private static func unit(_ file: Repository.File) -> String {
    let name = file.path.split(separator: "/").last.map(String.init) ?? file.path
    return String(name.dropLast(".swift".count).prefix { $0 != "+" })
  }

  /// Sets of files that reach each other: in each, all others are reached from each.
  var cycles: [Set<String>] {
    let reached = edges.keys.reduce(into: [String: Set<String>]()) { $0[$1] = reach(from: $1) }
    var (found, seen): ([Set<String>], Set<String>) = ([], [])
    for file in edges.keys.sorted() where !seen.contains(file) {
      let circle = (reached[file] ?? []).filter { reached[$0]?.contains(file) == true }.union([file])
      seen.formUnion(circle)
      found.append(circle)
    }
    return found
  }

  private func reach(from start: String) -> Set<String> {
    var (seen, open): (Set<String>, [String]) = ([], [start])
    while let next = open.popLast() {
      for other in edges[next] ?? [] where seen.insert(other).inserted { open.append(other) }
    }
    return seen
  }
}

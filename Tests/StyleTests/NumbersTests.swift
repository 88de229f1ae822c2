// No number from outside, and no counter that only grows, may trap: conversions that can, and counters that are narrow,
// are counted here. It relies on spelling: `clamping:`, `exactly:` and `truncatingIfNeeded:` cannot trap, nor can `&+=`.
import Foundation
import Testing

@Suite struct NumbersTests {
  /// How many conversions of a module may trap if what stands before them did not bound the number, and what does bound it.
  /// A new one takes a label that cannot trap; where it must trap, the figure here grows, and a reviewer asks why.
  private static let conversions: [String: (most: Int, why: String)] = [
    "Wire": (
      88, "digits and lengths that are counted or compared in the line before; WireTests has their wrong inputs"
    ),
    "Policy": (34, "values that PolicyFile held to ranges, and bytes of addresses"),
    "Flow": (6, "bounded by the body's or the rule's own number, which is compared first"),
    "Kernel": (63, "constants of C, results of system calls whose sign is tested, places of the timer wheel"),
    "Intercept": (50, "constants of the libraries, and lengths within what is in memory"),
    "Gate": (50, "lengths within what is in memory, numbers of the policy, ports, and texts that are parsed"),
    "YAML": (9, "held to a range in the same expression"),
    "PolicyFile": (8, "held to a range in the same expression"),
    "LogView": (42, "numbers of a line are clamped when they are read; TimeCounts bounds its steps"),
    "Content": (122, "places within what is in memory, and constants of tables"),
    "Dashboard": (1, "the wall clock"),
    "Redirect": (4, "bytes, and texts that are parsed"),
    "Sandbox": (45, "constants of CSandbox, and values of the plan"),
    "sluice": (10, "texts that are parsed, and figures below 1000"),
  ]

  /// Narrow variables that are added to, each with its bound: any other takes `&+=`.
  private static let narrow: [String: String] = [
    "Content/Text/Base64Layer.swift bitCount": "taken away again by each whole byte",
    "Wire/ChunkedScanner.swift digits": "16 at most, tested before",
    "Wire/Punycode.swift position": "a label has 63 letters",
  ]

  @Test func aConversionThatMayTrapIsCounted() throws {
    let pattern = try Regex(
      #"\b(U?Int(8|16|32|64)?|CInt)\((?!truncatingIfNeeded|clamping|exactly|bitPattern|ascii:|bigEndian|littleEndian|_ |\)|[A-Za-z.]+\.count\)|Self\.|\d)"#
    )
    var counts: [String: Int] = [:]
    for file in try Repository.swiftFiles(under: "Sources") {
      for line in file.code { counts[file.part, default: 0] += line.withoutStrings.matches(of: pattern).count }
    }
    for (module, count) in counts where count > 0 {
      let allowed = try #require(Self.conversions[module], "Sources/\(module) is not in the table of conversions")
      #expect(
        count <= allowed.most,
        "Sources/\(module) has \(count) conversions that may trap, \(allowed.most) are known: write Int(clamping:) or Int(exactly:)"
      )
    }
  }

  @Test func aNarrowCounterWraps() throws {
    let declared = try Regex(#"\bvar (\w+)(: (U?Int(8|16|32)|CInt)\b| = (U?Int(8|16|32)|CInt)\()"#)
    let added = try Regex(#"\b(\w+) (\+=|\*=) "#)
    var seen: Set<String> = []
    for file in try Repository.swiftFiles(under: "Sources") {
      let names = Set(
        file.code.flatMap { $0.matches(of: declared).compactMap { $0.output[1].substring.map(String.init) } })
      for (index, line) in file.code.enumerated() {
        for match in line.matches(of: added) {
          guard let name = match.output[1].substring.map(String.init), names.contains(name) else { continue }
          let key = "\(file.path.dropFirst("Sources/".count)) \(name)"
          seen.insert(key)
          #expect(
            Self.narrow[key] != nil, "\(file.path):\(index + 1): \(name) is narrow and may trap; write &+= or widen it")
        }
      }
    }
    for key in Self.narrow.keys { #expect(seen.contains(key), "\(key) is listed, and is not there") }
  }

  /// A machine that sleeps stops CLOCK_MONOTONIC: what was to expire meanwhile would live on.
  @Test func theClockGoesOnWhileTheMachineSleeps() throws {
    let folder = Repository.root.appending(path: "Sources")
    let names = try #require(FileManager.default.enumerator(atPath: folder.path)).compactMap { $0 as? String }
    for name in names where [".c", ".h", ".swift"].contains(where: name.hasSuffix) {
      for (index, line) in try Repository.file("Sources/\(name)").lines.enumerated() {
        #expect(!line.contains("CLOCK_MONOTONIC"), "Sources/\(name):\(index + 1): CLOCK_BOOTTIME goes on in a sleep")
      }
    }
  }
}

// Many logs as one: in the order of their times, in folders, over rotations, and resumed where a cursor says.
import Foundation
import Kernel
import Testing
import Wire

@testable import LogView

private func text(_ second: Int, _ name: String) -> String {
  #"{"v":1,"time":"2026-12-01T10:\#(second / 60 < 10 ? "0" : "")\#(second / 60):"#
    + #"\#(second % 60 < 10 ? "0" : "")\#(second % 60).000Z","seq":1,"gate":"\#(name)","event":"closed"}"# + "\n"
}

extension LogFiles {
  /// All lines there are by now, shortened to second and gate; each noted in the cursor.
  fileprivate mutating func all(_ cursor: inout LogCursor) throws -> [String] {
    var found: [String] = []
    var places: [Place] = []
    while try readPlaced({ bytes, place in
      var line = LogLine()
      _ = line.read(bytes)
      found.append("\((line.timeMs ?? 0) / 1000 % 3600)\(line.text(.gate) ?? "?")")
      places.append(place)
      return true
    }) {
      for place in places {
        cursor.note(
          LogCursor.Entry(
            path: path(place.source), file: place.file, offset: place.end, beginning: beginning(place)))
      }
      places = []
    }
    return found
  }

  fileprivate mutating func all() throws -> [String] {
    var unused = LogCursor()
    return try all(&unused)
  }
}

@Suite struct LogFilesTests {
  private let folder = Folder()

  @Test func linesOfManyFilesComeInTheOrderOfTheirTimes() throws {
    for (name, seconds) in [("a", [1, 4, 5, 9]), ("b", [2, 3, 9]), ("c", [0, 10])] {
      for second in seconds { try folder.append(text(second, name), to: "\(name).jsonl") }
    }
    try folder.append(text(3, "b").dropLast(2) + #","more":1}"# + "\n", to: "b.jsonl")
    try folder.append(text(7, "hidden"), to: ".z.jsonl")
    try folder.append(text(7, "packed"), to: "a.jsonl.1.gz")
    let whole = ["0c", "1a", "2b", "3b", "4a", "5a", "9a", "9b", "3b", "10c"]
    var files = try LogFiles([folder.path])
    #expect(try files.all() == whole)
    var named = try LogFiles(["a", "b", "c"].map { "\(folder.path)/\($0).jsonl" })
    #expect(try named.all() == whole)
    // The same file under two names is read once.
    var twice = try LogFiles([folder.path, "\(folder.path)/c.jsonl", "\(folder.path)/a.jsonl"])
    #expect(try twice.all() == whole)
  }

  /// More lines than one chunk of a file, of files that were written one behind the other and beside each other.
  @Test func orderHoldsOverChunks() throws {
    for gate in 0..<5 {
      let lines = (0..<3000).map { text($0, "g\(gate)") }.joined()
      try folder.append(lines, to: "\(gate).log")
    }
    var files = try LogFiles([folder.path])
    let found = try files.all()
    #expect(found.count == 15_000)
    let expected = (0..<3000).flatMap { second in (0..<5).map { "\(second)g\($0)" } }
    #expect(found == expected)
  }

  @Test func aFolderIsFollowedOverRotationsAndNewGates() throws {
    try folder.append(text(1, "a"), to: "a.jsonl")
    var files = try LogFiles([folder.path])
    #expect(try files.all() == ["1a"])
    try folder.rename("a.jsonl", to: "a-20261201.jsonl")
    try folder.append(text(2, "a"), to: "a-20261201.jsonl")
    try folder.append(text(3, "a"), to: "a.jsonl")
    #expect(try files.all() == ["2a", "3a"])
    try folder.append(text(4, "b"), to: "b.jsonl")
    // The folder is looked at once a second.
    let end = Date().addingTimeInterval(20)
    var found: [String] = []
    while found.isEmpty, Date() < end { found = try files.all() }
    #expect(found == ["4b"])
    #expect(try files.all() == [])
  }

  @Test func whatIsNotThereIsAnErrorOrIsWaitedFor() throws {
    let path = "\(folder.path)/late.jsonl"
    #expect(throws: SystemError.self) { try LogFiles([path]) }
    var files = try LogFiles([path], waits: true)
    #expect(files.problem != nil && files.isEmpty)
    try folder.append(text(1, "a"), to: "late.jsonl")
    let end = Date().addingTimeInterval(20)
    var found: [String] = []
    while found.isEmpty, Date() < end { found = try files.all() }
    #expect(found == ["1a"])
  }

  // MARK: - Cursors

  private var log: String { "\(folder.path)/gate.jsonl" }

  /// Reads all there is, and what the cursor then makes of later runs, by way of its JSON.
  private func read(_ paths: [String], _ cursor: inout LogCursor) throws -> (lines: [String], missing: [String]) {
    let again = try #require(LogCursor(cursor.json))
    #expect(again == cursor)
    var files = try LogFiles(paths, cursor: again)
    return (try files.all(&cursor), files.missing)
  }

  @Test func aLaterRunGoesOnWhereTheCursorStands() throws {
    var cursor = LogCursor()
    try folder.append(text(1, "a") + text(2, "a"), to: "gate.jsonl")
    #expect(try read([log], &cursor).lines == ["1a", "2a"])
    #expect(try read([log], &cursor).lines == [])
    try folder.append(text(3, "a"), to: "gate.jsonl")
    #expect(try read([log], &cursor).lines == ["3a"])
  }

  @Test(arguments: ["gate.jsonl.1", "gate.jsonl-20261201", "gate-20261201.jsonl"])
  func rotationsWhileNobodyReadsLoseNothing(_ rotated: String) throws {
    var cursor = LogCursor()
    try folder.append(text(1, "a"), to: "gate.jsonl")
    #expect(try read([log], &cursor).lines == ["1a"])
    try folder.append(text(2, "a"), to: "gate.jsonl")
    try folder.rename("gate.jsonl", to: rotated + "x" + (rotated.hasSuffix(".jsonl") ? ".jsonl" : ""))
    try folder.append(text(3, "a"), to: rotated)
    try folder.append(text(4, "a"), to: "gate.jsonl")
    // Another gate's log, and one that was rotated before the cursor's.
    try folder.append(text(9, "other"), to: "gate2.jsonl")
    try folder.append(text(0, "a"), to: "gate.jsonl.9")
    let found = try read([log], &cursor)
    #expect(found.lines == ["2a", "3a", "4a"] && found.missing == [])
    #expect(try read([log], &cursor).lines == [])
  }

  /// The number of the file that was read may be the new file's by now: its beginning tells.
  @Test func aFileThatIsGoneIsSaidToBeMissing() throws {
    var cursor = LogCursor()
    try folder.append(text(1, "a") + text(2, "a"), to: "gate.jsonl")
    #expect(try read([log], &cursor).lines == ["1a", "2a"])
    try FileManager.default.removeItem(atPath: log)
    try folder.append(text(3, "a") + text(4, "a") + text(5, "a"), to: "gate.jsonl")
    let found = try read([log], &cursor)
    #expect(found.lines == ["3a", "4a", "5a"] && found.missing == [log])
    // Cut in place, and longer than before.
    let handle = try #require(FileHandle(forWritingAtPath: log))
    try handle.truncate(atOffset: 0)
    try handle.close()
    for second in 6..<12 { try folder.append(text(second, "a"), to: "gate.jsonl") }
    let cut = try read([log], &cursor)
    #expect(cut.lines == (6..<12).map { "\($0)a" } && cut.missing == [log])
  }

  @Test func rotatedFilesOfAFolderAreNotReadTwice() throws {
    var cursor = LogCursor()
    try folder.append(text(1, "a"), to: "gate.jsonl")
    #expect(try read([folder.path], &cursor).lines == ["1a"])
    try folder.append(text(2, "a"), to: "gate.jsonl")
    try folder.rename("gate.jsonl", to: "gate-20261201.jsonl")
    try folder.append(text(3, "a"), to: "gate.jsonl")
    #expect(try read([folder.path], &cursor).lines == ["2a", "3a"])
    #expect(try read([folder.path], &cursor).lines == [])
  }

  @Test(arguments: ["{}", #"{"v":2,"files":[]}"#, #"{"v":1}"#, #"{"v":1,"files":[{"path":"x"}]}"#])
  func anotherFileIsNoCursor(_ json: String) throws {
    #expect(LogCursor(try JSONValue.parse(Array(json.utf8))) == nil)
  }

  @Test func timesRankAsTheyOrder() {
    func rank(_ time: String) -> UInt64? { LogTime.rank(Array(#"{"v":1, "time": "\#(time)","event":"x"}"#.utf8).span) }
    #expect(rank("2026-12-01T10:00:00.123Z") == 20_261_201_100_000_123)
    #expect(rank("2026-12-01T10:00:00Z") == 20_261_201_100_000_000)
    for wrong in ["", "2026", "2026-12-01 10:00:00.123Z", "2026-12-01T10:00:0x.123Z"] { #expect(rank(wrong) == nil) }
    #expect(LogTime.rank([UInt8]().span) == nil)
  }
}

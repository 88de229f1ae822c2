// Following a file: nothing lost, nothing twice, whatever happens to the file meanwhile.
import Foundation
import LogView
import Testing

final class Folder {
  let path: String
  init() {
    path = NSTemporaryDirectory() + "sluice-log-\(UUID().uuidString)"
    try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }
  deinit { try? FileManager.default.removeItem(atPath: path) }

  var log: String { "\(path)/log" }

  func append(_ text: String, to name: String = "log") throws {
    let file = "\(path)/\(name)"
    if !FileManager.default.fileExists(atPath: file) { _ = FileManager.default.createFile(atPath: file, contents: nil) }
    let handle = try #require(FileHandle(forWritingAtPath: file))
    try handle.seekToEnd()
    try handle.write(contentsOf: Data(text.utf8))
    try handle.close()
  }

  func rename(_ from: String = "log", to: String) throws {
    try FileManager.default.moveItem(atPath: "\(path)/\(from)", toPath: "\(path)/\(to)")
  }

  func truncate() throws {
    let handle = try #require(FileHandle(forWritingAtPath: log))
    try handle.truncate(atOffset: 0)
    try handle.close()
  }
}

extension LogTail {
  mutating func all() throws -> [String] {
    var lines: [String] = []
    while try read({ bytes in
      lines.append(String(decoding: bytes.indices.map { bytes[$0] }, as: UTF8.self))
      return true
    }) {}
    return lines
  }
}

@Suite struct LogTailTests {
  private let folder = Folder()

  @Test func linesComeOnceAndWhole() throws {
    try folder.append("one\ntw")
    var tail = try LogTail(path: folder.log)
    #expect(try tail.all() == ["one"])
    try folder.append("o\n\nthree\n")
    #expect(try tail.all() == ["two", "three"])
    #expect(try tail.all() == [])
    try folder.append("torn")
    #expect(try tail.all() == [])
    tail.finish()
    #expect(tail.torn == 1)
  }

  /// The gate writes to the old file until it is told, however long that is.
  @Test func rotationLosesNothing() throws {
    try folder.append("1\n")
    var tail = try LogTail(path: folder.log)
    #expect(try tail.all() == ["1"])
    try folder.rename(to: "old")
    try folder.append("2\n", to: "old")
    #expect(try tail.all() == ["2"])
    try folder.append("", to: "log")
    #expect(try tail.all() == [])
    try folder.append("3\n", to: "old")
    #expect(try tail.all() == ["3"])
    try folder.append("4\n", to: "old")
    try folder.append("5\n", to: "log")
    #expect(try tail.all() == ["4", "5"])
    try folder.append("6\n", to: "log")
    #expect(try tail.all() == ["6"])
    #expect(tail.torn == 0)
  }

  @Test func truncationBeginsAnew() throws {
    try folder.append("a long first line\nhalf")
    var tail = try LogTail(path: folder.log)
    #expect(try tail.all() == ["a long first line"])
    try folder.truncate()
    try folder.append("new\n")
    #expect(try tail.all() == ["new"])
    #expect(tail.torn == 1)
  }

  @Test func aLineWithoutAnEndCostsNoMemory() throws {
    try folder.append(String(repeating: "x", count: 3 << 20) + "\nafter\n")
    var tail = try LogTail(path: folder.log)
    #expect(try tail.all() == ["after"])
    #expect(tail.torn == 1)
  }

  @Test func anyRotationAnywhere() throws {
    var random = SystemRandomNumberGenerator()
    try folder.append("")
    var tail = try LogTail(path: folder.log)
    var (written, seen, file, rotations) = (0, [String](), "log", 0)
    for _ in 0..<400 {
      switch Int.random(in: 0..<10, using: &random) {
      case 0 where file == "log":
        rotations += 1
        file = "old\(rotations)"
        try folder.rename(to: file)
      case 1:
        file = "log"
        try folder.append("")
      case 2...4: seen += try tail.all()
      default:
        let count = Int.random(in: 1...20, using: &random)
        let text = (0..<count).map { "\(written + $0)\n" }.joined()
        // In two writes, as a full disk would tear it.
        let cut = text.index(text.startIndex, offsetBy: Int.random(in: 0...text.count, using: &random))
        try folder.append(String(text[..<cut]), to: file)
        if Bool.random(using: &random) { seen += try tail.all() }
        try folder.append(String(text[cut...]), to: file)
        written += count
        // A second rotation between two looks would hide the file in the middle: a follower looks more often than that.
        if file == "log" { seen += try tail.all() }
      }
    }
    seen += try tail.all()
    #expect(seen == (0..<written).map { "\($0)" }, "\(rotations) rotations")
  }

  @Test func whatCannotBeRead() { #expect(throws: (any Error).self) { try LogTail(path: "\(folder.path)/missing") } }
}

// Lines of many threads: none lost, none torn, also across a rename and a full disk.

import Foundation
import Synchronization
import Testing

@testable import Kernel

@Suite struct SharedAppendFileTests {
  private func temporaryFolder() throws -> URL {
    let folder = FileManager.default.temporaryDirectory.appending(path: "sluice-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    return folder
  }

  /// A file that is a pipe, and its end for reading.
  private func pipe(in folder: URL) throws -> (SharedAppendFile, CInt) {
    let path = folder.appending(path: "fifo").path
    #expect(mkfifo(path, 0o600) == 0)
    let reader = open(path, O_RDONLY | O_NONBLOCK)
    try #require(reader >= 0)
    return (try SharedAppendFile(path: path, bytesMax: 1 << 20), reader)
  }

  @Test func linesOfManyThreadsSurviveRotation() throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(at: folder) }
    let path = folder.appending(path: "log").path
    let file = try SharedAppendFile(path: path)
    try Threads.start(name: "log") { file.run() }
    let done = Atomic<Int>(0)
    for thread in 0..<4 {
      try Threads.start(name: "writer") {
        for number in 0..<500 {
          var lines = Array("{\"t\":\(thread),\"n\":\(number)}\n".utf8)
          file.flush(&lines)
        }
        done.wrappingAdd(1, ordering: .releasing)
      }
    }
    var rotations = 0
    while done.load(ordering: .acquiring) < 4 && rotations < 10_000 {
      rotations += 1
      try? FileManager.default.moveItem(atPath: path, toPath: "\(path).\(rotations)")
      #expect(file.reopen() == .done)
    }
    #expect(file.finish(msMax: 10_000))
    #expect(done.load(ordering: .acquiring) == 4)
    var seen: Set<String> = []
    for name in try FileManager.default.contentsOfDirectory(atPath: folder.path) {
      let text = try String(contentsOf: folder.appending(path: name), encoding: .utf8)
      for line in text.split(separator: "\n") { #expect(seen.insert(String(line)).inserted, "twice: \(line)") }
    }
    #expect(seen.count == 2000)
  }

  @Test func aSlowReaderOfAPipeLosesNothing() throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(at: folder) }
    let (file, reader) = try pipe(in: folder)
    defer { close(reader) }
    let line = Array((String(repeating: "x", count: 999) + "\n").utf8)
    for _ in 0..<200 {
      var lines = line
      file.flush(&lines)
      #expect(lines.isEmpty)
      file.writeOnce()
    }
    #expect(file.pendingBytes > 0)
    #expect(!file.isUnwritable, "a reader that is slow is not a full disk")
    for _ in 0..<1000 {
      var lines = line
      file.flush(&lines)
    }
    #expect(file.isUnwritable, "more waits than may")
    var received = 0
    var chunk = [UInt8](repeating: 0, count: 65_536)
    for _ in 0..<10_000 where received < 1_200_000 {
      let count = read(reader, &chunk, chunk.count)
      if count > 0 { received += count } else { file.writeOnce() }
    }
    #expect(received == 1_200_000)
    #expect(file.pendingBytes == 0 && !file.isUnwritable)
  }

  @Test func whatWaitsIsCountedAndItsOldestLineTimed() throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(at: folder) }
    let (file, reader) = try pipe(in: folder)
    defer { close(reader) }
    #expect(file.backlog() == SharedAppendFile.Backlog())
    let line = Array((String(repeating: "x", count: 999) + "\n").utf8)
    for _ in 0..<300 {
      var lines = line + line
      file.flush(&lines)
    }
    file.writeOnce()
    let before = file.backlog()
    #expect(before.bytes == file.pendingBytes && before.bytes > 0)
    #expect(before.lines == (before.bytes + 999) / 1000, "lines that are torn wait too")
    Clock.pause(ms: 150)
    var late = line
    file.flush(&late)
    let after = file.backlog()
    #expect(after.lines == before.lines + 1 && after.ageMs >= 150)
    // As the old lines go, the newest one is the oldest that is left.
    var received = 0
    var chunk = [UInt8](repeating: 0, count: 4096)
    for _ in 0..<10_000 where received < 601_000 {
      let count = read(reader, &chunk, chunk.count)
      if count > 0 { received += count }
      file.writeOnce()
      let now = file.backlog()
      #expect(now.bytes == file.pendingBytes && now.lines == (now.bytes + 999) / 1000)
    }
    #expect(received == 601_000 && file.backlog() == SharedAppendFile.Backlog())
  }

  @Test func aFullDeviceIsToldAndKept() throws {
    let file = try SharedAppendFile(path: "/dev/full")
    var lines = Array("{}\n".utf8)
    file.flush(&lines)
    #expect(file.writeOnce()?.code == ENOSPC)
    #expect(file.isUnwritable && file.hasRoom)
    #expect(file.condition() == .failing(SystemError("write", code: ENOSPC)))
    #expect(file.pendingBytes == 3)
    #expect(!file.finish(msMax: 2))
  }

  /// A disk that is full within a line, for real: the limit of this process's files, on a file of its own.
  private func tornLog(_ path: String, _ body: (SharedAppendFile) throws -> Void) throws {
    let file = try SharedAppendFile(path: path)
    var lines = Array("{\"n\":1}\n".utf8)
    file.flush(&lines)
    #expect(file.writeOnce() == nil)
    try body(file)
  }

  @Test func aFileThatEndsWithinALineGetsNoneBehindIt() throws {
    let folder = try temporaryFolder()
    defer { try? FileManager.default.removeItem(at: folder) }
    let path = folder.appending(path: "log").path
    // A gate that was killed while its disk was full, and its successor.
    try "{\"n\":0}\n{\"n\":".write(toFile: path, atomically: false, encoding: .utf8)
    try tornLog(path) { file in
      // Another gate of the same file tears a line: a reload looks again.
      let other = open(path, O_WRONLY | O_APPEND)
      #expect(write(other, "{\"torn", 6) == 6)
      close(other)
      #expect(file.reopen() == .done)
      var lines = Array("{\"n\":2}\n".utf8)
      file.flush(&lines)
      #expect(file.writeOnce() == nil)
    }
    let text = try String(contentsOfFile: path, encoding: .utf8)
    #expect(text == "{\"n\":0}\n{\"n\":\n{\"n\":1}\n{\"torn\n{\"n\":2}\n")
  }
}

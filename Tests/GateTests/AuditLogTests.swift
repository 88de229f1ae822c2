import Flow
// Lines of the log that belong to no flow: what they say, and that their numbers have no gap.
import Foundation
import Kernel
import Policy
import Testing
import Wire

@testable import Gate

@Suite struct AuditLogTests {
  @Test func aLimitOfASandboxIsOneLineBesideThePolicys() throws {
    let path = FileManager.default.temporaryDirectory.appending(path: "sluice-log-\(UUID().uuidString)").path
    defer { _ = try? FileManager.default.removeItem(atPath: path) }
    let gate = try #require(GateName("edge \"1\""))
    let sequence = AuditSequence()
    let file = try AuditLog.open(path, bytesMax: 1 << 20, sequence: sequence, gate: gate)
    for limit in [nil, "memory.max", "pids.max"] {
      let log = AuditLog(file: file, sequence: sequence, gate: gate)
      if let limit {
        log.recordLimit(limit, client: "a\"b", policy: .denyAll, wallMs: 0)
      } else {
        log.recordPolicy(.denyAll, wallMs: 0)
      }
      log.flush()
    }
    #expect(file.finish(msMax: 1_000))
    let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
    let start = #"{"v":1,"time":"1970-01-01T00:00:00.000Z","seq":"#
    let client = #""gate":"edge \"1\"","event":"limited","client":"a\"b","policy":"0000000000000000","limit":"#
    #expect(
      lines == [
        "\(start)1,\"gate\":\"edge \\\"1\\\"\",\"event\":\"policy\",\"policy\":\"0000000000000000\"}",
        "\(start)2,\(client)\"memory.max\"}",
        "\(start)3,\(client)\"pids.max\"}",
      ])
  }

  private func open(bytesMax: Int = 1 << 20, refuses: Bool = true) throws -> Place {
    let path = FileManager.default.temporaryDirectory.appending(path: "sluice-log-\(UUID().uuidString)").path
    return try Place(path: path, bytesMax: bytesMax)
  }

  private struct Place {
    let path: String
    let file: SharedAppendFile
    let loop: Loop
    let log: AuditLog

    init(path: String, bytesMax: Int) throws {
      self.path = path
      let gate = try #require(GateName("g"))
      let sequence = AuditSequence()
      loop = try Loop()
      file = try AuditLog.open(path, bytesMax: bytesMax, sequence: sequence, gate: gate)
      log = AuditLog(file: file, sequence: sequence, gate: gate, loop: loop)
    }

    func lines() throws -> [[String: Any]] {
      log.flush()
      #expect(file.finish(msMax: 1_000))
      defer { _ = try? FileManager.default.removeItem(atPath: path) }
      return try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map {
        try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
      }
    }
  }

  private func query(_ host: String) throws -> DNSOutcome {
    DNSOutcome(.denied, .notAllowed, host: try HostName(host))
  }

  @Test func refusalsOfOneSecondShareALineAndTheirSumIsExact() throws {
    let place = try open()
    for round in 0..<3 {
      for _ in 0..<1_000 {
        place.log.record(try query("a.example"), client: "one", policy: .denyAll, wallMs: Int64(round))
      }
      place.log.record(try query("b.example"), client: "one", policy: .denyAll, wallMs: Int64(round))
      place.log.record(try query("a.example"), client: "two", policy: .denyAll, wallMs: Int64(round))
      #expect(place.log.endSecond(wallMs: Int64(round)))
    }
    #expect(place.log.endSecond(wallMs: 3) == false, "a second without a refusal forgets them")
    #expect(place.log.counters.lines(.denied, .notAllowed) == 3_006)
    let lines = try place.lines()
    #expect(lines.compactMap { $0["seq"] as? Int } == Array(1...lines.count))
    // One at once, then one a second.
    let first = lines.filter { $0["host"] as? String == "a.example" && $0["client"] as? String == "one" }
    #expect(first.map { $0["repeated"] as? Int } == [nil, 998, 999, 999])
    for (host, client, count) in [("b.example", "one", 3), ("a.example", "two", 3), ("a.example", "one", 3_000)] {
      let mine = lines.filter { $0["host"] as? String == host && $0["client"] as? String == client }
      #expect(mine.reduce(0) { $0 + 1 + ($1["repeated"] as? Int ?? 0) } == count, "\(host) \(client)")
      #expect(mine.allSatisfy { $0["reason"] as? String == "not_allowed" && $0["via"] as? String == "dns" })
    }
  }

  @Test func aLoopThatEndsOwesNoLine() throws {
    let place = try open()
    for _ in 0..<7 { place.log.record(try query("a.example"), client: "one", policy: .denyAll, wallMs: 0) }
    place.log.finish(wallMs: 1)
    #expect(try place.lines().map { $0["repeated"] as? Int } == [nil, 5])
  }

  @Test func manyNamesAreBoundedAndEachHasItsLine() throws {
    let place = try open()
    for number in 0..<3 * RepeatedLines.keysMax {
      place.log.record(try query("h\(number).example"), client: "one", policy: .denyAll, wallMs: 0)
    }
    #expect(try place.lines().count == 3 * RepeatedLines.keysMax)
  }

  @Test func aSandboxsOwnCheckIsMarked() throws {
    let place = try open()
    place.log.beginProbing("box")
    place.log.record(try query("probe.example"), client: "box", policy: .denyAll, wallMs: 0)
    place.log.record(try query("probe.example"), client: "other", policy: .denyAll, wallMs: 0)
    place.log.endProbing("box", before: 7)
    place.log.record(try query("probe.example"), client: "box", policy: .denyAll, wallMs: 0)
    let marks = try place.lines().map { $0["probe"] as? Bool }
    #expect(marks == [true, nil, nil])
  }

  @Test func whatFindsNoRoomIsCountedAndTheCountIsTheFirstLineThen() throws {
    let folder = FileManager.default.temporaryDirectory.appending(path: "sluice-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { _ = try? FileManager.default.removeItem(at: folder) }
    let fifo = folder.appending(path: "fifo").path
    #expect(mkfifo(fifo, 0o600) == 0)
    let reader = Foundation.open(fifo, O_RDONLY | O_NONBLOCK)
    try #require(reader >= 0)
    defer { close(reader) }
    let gate = try #require(GateName("g"))
    let sequence = AuditSequence()
    let file = try AuditLog.open(fifo, bytesMax: 65_536, sequence: sequence, gate: gate)
    var settings = Settings()
    settings.log.refusesWhenUnwritable = false
    let policy = Policy(
      hash: "00", settings: settings, network: NetworkSpec(line: SourceLine(file: "p", line: 1)), clients: [])
    let log = AuditLog(file: file, sequence: sequence, gate: gate)
    for _ in 0..<10_000 {
      log.recordPolicy(policy, wallMs: 0)
      log.flush()
      file.writeOnce()
    }
    #expect(file.isUnwritable && file.lostLines > 0 && file.pendingBytes < 80_000)
    var received: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    for _ in 0..<10_000 where file.pendingBytes > 0 {
      let count = read(reader, &chunk, chunk.count)
      if count > 0 { received += chunk[..<count] }
      file.writeOnce()
    }
    log.recordPolicy(policy, wallMs: 0)
    log.flush()
    #expect(file.finish(msMax: 1_000))
    while case let count = read(reader, &chunk, chunk.count), count > 0 { received += chunk[..<count] }
    let lines = try String(decoding: received, as: UTF8.self).split(separator: "\n").map {
      try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])
    }
    #expect(lines.compactMap { $0["seq"] as? Int } == Array(1...lines.count), "no number is lost")
    let lost = lines.filter { $0["lost"] != nil }
    #expect(lost.count == 1 && lost.first?["reason"] as? String == "log_unwritable")
    #expect(lost.first?["lost"] as? UInt64 == file.lostLines)
    #expect(lines.count - 1 + Int(file.lostLines) == 10_001)
    #expect(lines.last?["lost"] == nil, "what comes then stands behind it")
  }
}

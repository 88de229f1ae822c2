// Lines of the log that belong to no flow: what they say, and that their numbers have no gap.
import Foundation
import Kernel
import Policy
import Testing

@testable import Gate

@Suite struct AuditLogTests {
  @Test func aLimitOfASandboxIsOneLineBesideThePolicys() throws {
    let path = FileManager.default.temporaryDirectory.appending(path: "sluice-log-\(UUID().uuidString)").path
    defer { _ = try? FileManager.default.removeItem(atPath: path) }
    let (file, sequence) = (try SharedAppendFile(path: path), AuditSequence())
    for limit in [nil, "memory.max", "pids.max"] {
      let log = AuditLog(file: file, sequence: sequence)
      if let limit {
        log.recordLimit(limit, client: "a\"b", policy: .denyAll, wallMs: 0)
      } else {
        log.recordPolicy(.denyAll, wallMs: 0)
      }
      log.flush()
    }
    let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
    let start = #"{"v":1,"time":"1970-01-01T00:00:00.000Z","seq":"#
    let client = #""event":"limited","client":"a\"b","policy":"0000000000000000","limit":"#
    #expect(
      lines == [
        "\(start)1,\"event\":\"policy\",\"policy\":\"0000000000000000\"}", "\(start)2,\(client)\"memory.max\"}",
        "\(start)3,\(client)\"pids.max\"}",
      ])
  }
}

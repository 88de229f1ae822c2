// A program that is run to its end: what goes in and comes out, and how it can fail.

import Glibc
import Kernel
import Testing

@Suite struct ChildProcessTests {
  @Test func itReadsWritesAndEnds() throws {
    let child = try ChildProcess.run(["sh", "-c", "cat; echo to $1 >&2; exit 7", "sh", "it's; me"], input: "from me\n")
    #expect(child.output == "from me\n" && child.errors == "to it's; me\n" && child.status == 7)
  }

  @Test func muchInAndMuchOutDoNotWaitForEachOther() throws {
    let text = String(repeating: "0123456789abcde\n", count: 50_000)
    let child = try ChildProcess.run(["tee", "/dev/stderr"], input: text)
    #expect(child.output == text && child.errors == text && child.status == 0)
  }

  @Test func aProgramThatReadsNothingBreaksNoPipe() throws {
    #expect(try ChildProcess.run(["true"], input: String(repeating: "x", count: 1 << 20)).status == 0)
  }

  @Test func aSignalIsAStatus() throws {
    #expect(try ChildProcess.run(["sh", "-c", "kill -9 $$"]).status == 137)
  }

  @Test func itsEnvironmentIsFixed() throws {
    let names = try ChildProcess.run(["env"]).output.split(separator: "\n").map { $0.prefix { $0 != "=" } }
    #expect(Set(names) == ["PATH", "LC_ALL"])
  }

  @Test func whatIsNotThereIsSaid() {
    do {
      _ = try ChildProcess.run(["sluice-no-such-program"])
      Issue.record("it ran")
    } catch {
      #expect(ChildProcess.isMissing(error))
      #expect("\(error)".hasPrefix("sluice-no-such-program: "))
    }
  }

  private func output(_ script: String, hiding: [String] = [], timeoutMs: UInt64 = 10_000) throws -> String {
    switch try ChildProcess.output(
      of: ["/bin/sh", "-c", script], hiding: hiding, timeoutMs: timeoutMs)
    {
    case .output(let bytes): String(decoding: bytes, as: UTF8.self)
    case .status(let status): "status \(status)"
    case .tookTooLong: "took too long"
    }
  }

  @Test func aSecretsProgramSeesTheEnvironmentButForWhatIsHidden() throws {
    let count = "env | grep -c '^PATH=' || true"
    #expect(try output(count) == "1\n")
    #expect(try output(count, hiding: ["PAT", "PATHS"]) == "1\n")
    #expect(try output(count, hiding: ["X", "PATH"]) == "0\n")
    #expect(try output("echo a; echo b >&2; exit 3") == "status 3")
    #expect(try output("cat; kill -9 $$") == "status 137")
    #expect(throws: SystemError.self) { try ChildProcess.output(of: ["/none"], hiding: [], timeoutMs: 1000) }
  }

  @Test func aProgramReadsWhatItIsGiven() throws {
    let input = [UInt8](repeating: 0x78, count: ChildProcess.inputBytesMax)
    guard
      case .output(let read) = try ChildProcess.output(
        of: ["/bin/cat"], hiding: [], input: input, timeoutMs: 10_000)
    else {
      Issue.record("cat reads and ends")
      return
    }
    #expect(read == input)
    // A program that reads nothing is no error.
    #expect(try output("exit 0") == "")
  }

  @Test func aSecretsProgramEndsWithAllThatItStarted() throws {
    // Both hold the pipe: its end tells that none of them is left.
    var ends: [Int32] = [0, 0]
    #expect(pipe(&ends) == 0)
    #expect(try output("sleep 1000 & sleep 1000", timeoutMs: 100) == "took too long")
    #expect(try output("sleep 1000 & echo x") == "x\n")
    close(ends[1])
    var byte: UInt8 = 0
    #expect(read(ends[0], &byte, 1) == 0)
    close(ends[0])
  }
}

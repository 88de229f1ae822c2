// A program that is run to its end: what goes in and comes out, and how it can fail.

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
}

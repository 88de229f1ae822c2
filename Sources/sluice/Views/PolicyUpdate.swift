// `sluice learn --apply`: a proposal written into the policy file that it was made for.
// It relies on PolicyFile.PolicyEntries for the text; the file is replaced only by a text that is a policy.
import ArgumentParser
import Gate
import Kernel
import LogView
import Policy
import PolicyFile
import Sandbox

struct PolicyUpdate {
  let path: String

  private static let bytesMax = 16 << 20

  /// Exit status 1 where there is nothing to write.
  func write(_ proposal: Proposal) throws {
    // A link stays one: the file that it leads to is replaced.
    guard let real = HostFile.realPath(path), let old = FileBytes.read(real, bytesMax: Self.bytesMax) else {
      try fail("\(path): cannot be read")
    }
    let new: [UInt8]
    var done: [String] = []
    do throws(PolicyEntries.Problem) { (new, done) = try edit(old, proposal) } catch {
      try fail("\(path): nothing was written: \(error); add the printed rules by hand")
    }
    guard !done.isEmpty else {
      Messages.say("\(path): nothing to add")
      throw ExitCode(1)
    }
    let loaded = PolicyFile.parse(bytes: new, name: path, nowUnix: Clock.wallMs() / 1000) {
      FileBytes.read($0, bytesMax: 1 << 20)
    }
    guard loaded.policy != nil else {
      for problem in loaded.problems { Messages.say("\(problem)") }
      try fail("\(path): nothing was written: the result would not be a valid policy; add the printed rules by hand")
    }
    do { try NewFile.replace(real, new, mode: NewFile.mode(real) ?? 0o644) } catch { try fail("\(error)") }
    Messages.say("\(path): \(done.joined(separator: ", ")); a running gate takes it with `sluice reload`")
  }

  private func edit(
    _ old: [UInt8], _ proposal: Proposal
  ) throws(PolicyEntries.Problem) -> (bytes: [UInt8], done: [String]) {
    var edit = try PolicyEntries(old, name: path)
    var (rules, limits) = (0, 0)
    // Numbers in place first, from the end on: they stand at the lines that the policy was read with.
    let own = proposal.raises.filter { $0.isOwn && $0.limit.line.file == path }
    for raise in own.sorted(by: { $0.limit.line.line > $1.limit.line.line }) {
      try edit.setLimit(
        line: raise.limit.line.line, column: raise.limit.line.column, perMinute: raise.advice.perMinute,
        burst: raise.advice.burst)
    }
    for raise in proposal.raises where !raise.isOwn || raise.limit.line.file != path {
      let entry = PolicyEntries.Entry(Proposal.entry(of: raise), comments: [raise.text])
      try edit.add([entry], to: .rateLimits, of: raise.client)
    }
    for addition in proposal.additions {
      try edit.add(addition.rules.map { .init($0.text, comments: $0.comments) }, to: .allow, of: addition.client)
      try edit.add(addition.limits.map { .init($0.text, comments: $0.comments) }, to: .rateLimits, of: addition.client)
      rules += addition.rules.count
      limits += addition.limits.count
    }
    let counts = [("rules added", rules), ("limits added", limits), ("reached limits raised", proposal.raises.count)]
    return (edit.bytes, counts.filter { $0.1 > 0 }.map { "\($0.1) \($0.0)" })
  }
}

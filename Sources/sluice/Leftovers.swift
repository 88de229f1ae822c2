// Leftovers of a command in the workspace, reported at its end: repositories and settings that programs outside
// obey. It relies on Sandbox.BeforeRun for what was there before; it runs in the process that outlives `sluice run`.
import Gate
import Kernel
import Sandbox

struct Leftovers {
  private static let shownMax = 20

  private let before: BeforeRun
  private let workspace: String
  private let isMoved: Bool
  private let refusals: Refusals?
  private let kept: RunFolder
  private let applies: ApplyMode
  private let record: String

  /// `record`: the id of the record that this run keeps.
  init(_ paths: SandboxPaths, _ options: Run, _ kept: RunFolder, log: String?, record: String) {
    (self.kept, self.record) = (kept, record)
    applies = options.apply
    refusals = options.failOnRefusal ? log.map { Refusals(log: $0, client: options.name) } : nil
    before = BeforeRun(paths.look, roots: paths.writable, caller: paths.caller)
    workspace = paths.workspace
    isMoved = options.after == .quarantine
  }

  func follow(_ plan: SandboxPlan) throws(LaunchFailure) -> Aftermath {
    try Aftermath(plan, first: first, after: say)
  }

  private func first() -> UInt8 {
    if let folder = SandboxRecord.folder { SandboxRecord.remove(record, in: folder) }
    return refusals?.areThere == true ? 1 : 0
  }

  private func say() {
    // Before the look, since what is applied is a leftover as well; what is written back is the caller's own doing.
    kept.review(applies)
    defer { kept.writeBack() }
    let findings = before.findings()
    var quarantine = Quarantine(workspace: workspace, nowMs: Clock.wallMs())
    var left = 0
    for (index, finding) in findings.enumerated() {
      let place = isMoved ? quarantine.take(finding) : nil
      if place == nil { left += 1 }
      if index < Self.shownMax { Messages.insist(finding.text + (place.map { "; moved to \($0)" } ?? "")) }
    }
    if findings.count > Self.shownMax { Messages.insist("and \(findings.count - Self.shownMax) more of that kind") }
    if left > 0, !isMoved {
      Messages.insist(
        "check these files before you use them outside; `sluice run --after quarantine` moves them aside")
    }
  }
}

/// True if the gate refused this client something since then: read out of the log, which it has written to its end.
private struct Refusals {
  private static let bytesMax = 1 << 30

  private let log: String
  private let client: String
  private let start: Int

  init(log: String, client: String) {
    (self.log, self.client) = (log, client)
    start = HostFile.size(log)
  }

  /// Text of others stands in a line with its quotes escaped, so these pieces are the gate's own.
  var areThere: Bool {
    let bytes = FileBytes.read(log, bytesMax: Self.bytesMax) ?? []
    return bytes.dropFirst(start).split(separator: UInt8(ascii: "\n")).contains { line in
      let text = String(decoding: line, as: UTF8.self)
      return text.contains("\"client\":\"\(client)\"") && !text.contains("\"probe\":true")
        && (text.contains("\"event\":\"denied\"") || text.contains("\"event\":\"limited\","))
        && !text.contains("\"limit\":")
    }
  }
}

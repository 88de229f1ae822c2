// Bucket levels and totals on disk: read at the start, written every ten seconds and at the end by a thread of its own.
// It relies on a rename to be whole or not at all; a disk that hangs holds up that thread and nothing else.
import Kernel
import Policy
import Synchronization

final class StateKeeper: Sendable {
  static let everyMs: UInt64 = 10_000
  private static let endMsMax: UInt64 = 2_000
  private static let fileMode: UInt32 = 0o600

  private struct Waiting {
    var bytes: [UInt8]?
    var isWriting = false
    var isLast = false
  }

  private let path: String
  private let bell: Bell
  private let waiting = Mutex(Waiting())
  private let hasFailed = Atomic<Bool>(false)
  /// The state that the file held at the start.
  let found: KeptState?

  init(folder: String) throws(SystemError) {
    path = folder.hasSuffix("/") ? folder + StateFile.name : "\(folder)/\(StateFile.name)"
    try NewFile.makeFolders(folder)
    bell = try Bell()
    guard let bytes = FileBytes.read(path, bytesMax: StateFile.bytesMax) else {
      found = nil
      return
    }
    found = StateFile.read(bytes)
    if found == nil {
      Messages.warn("\(path): damaged, or not written by this program; levels and totals begin anew")
    }
  }

  /// `policy` begins with the levels that were kept.
  func restore(_ policy: Policy) {
    guard let found else { return }
    // A clock that went back has refilled nothing.
    let passedMs = max(0, Clock.wallMs() - found.savedMs)
    policy.restore(
      found.buckets, passedUs: UInt64(clamping: passedMs).multipliedReportingOverflow(by: 1000).partialValue,
      nowNs: Clock.monotonicNs())
  }

  func start() throws(SystemError) {
    try Threads.start(name: "state") { self.run() }
  }

  private func run() {
    while true {
      guard bell.wait() else { return }
      let (bytes, isLast) = waiting.withLock { waiting in
        defer { waiting.bytes = nil }
        waiting.isWriting = waiting.bytes != nil
        return (waiting.bytes, waiting.isLast)
      }
      if let bytes { write(bytes) }
      waiting.withLock { $0.isWriting = false }
      if isLast { return }
    }
  }

  private func write(_ bytes: [UInt8]) {
    do throws(SystemError) {
      try NewFile.replace(path, bytes, mode: Self.fileMode)
      if hasFailed.exchange(false, ordering: .relaxed) { Messages.say("\(path) is written again") }
    } catch {
      if !hasFailed.exchange(true, ordering: .relaxed) {
        Messages.warn("\(path) cannot be written: \(error); a restart begins with what was kept before")
      }
    }
  }

  /// Only the newest is written, however long the disk takes.
  func save(_ policy: Policy, _ totals: KeptTotals, isLast: Bool = false) {
    var state = KeptState(savedMs: Clock.wallMs())
    state.buckets = policy.bucketLevels(nowNs: Clock.monotonicNs())
    state.totals = totals
    let bytes = StateFile.bytes(state)
    waiting.withLock { waiting in
      waiting.bytes = bytes
      waiting.isLast = isLast
    }
    bell.ring()
  }

  /// Waits for the last write, within a bound.
  func finish() {
    let dueMs = Clock.monotonicMs() + Self.endMsMax
    Clock.wait(until: dueMs) { waiting.withLock { $0.bytes == nil && !$0.isWriting } }
  }
}

// A file that many threads append whole lines to, and the one thread that writes it. A disk that is full or hangs keeps
// only that thread waiting: lines gather here, in order, up to a bound that the caller keeps by `hasRoom`.
// It relies on AppendTarget for lines that the disk took in part.
import CLinux
import Glibc
import Synchronization

package final class SharedAppendFile: Sendable {
  /// Under a lock that is held for as long as a copy takes, never for a system call that may hang.
  private struct Queue: ~Copyable {
    var bytes: [UInt8] = []
    /// Lines that wait, those that are being written among them, and how many bytes they have.
    var waitingLines = 0
    var waitingBytes = 0
    /// How many of the bytes came when, the oldest first.
    var arrivals: [Arrival] = []
    var isWriterAwake = false
    var problem: SystemError?
    var opened = Opened()
  }

  private struct Arrival {
    var bytes: Int
    let atMs: UInt64
  }

  /// Requests to open the path anew, and how the last of them ended.
  private struct Opened {
    var asked: UInt64 = 0
    var done: UInt64 = 0
    var error: SystemError?
  }

  /// Of the writer alone: the lock is held while it writes, and so while the disk hangs.
  private struct Writing: ~Copyable {
    var target: AppendTarget
    /// Lines that are being written, the first of them from `written` on.
    var batch: [UInt8] = []
    var written = 0
  }

  /// Lines that wait for the disk.
  package struct Backlog: Equatable, Sendable {
    package var bytes = 0
    package var lines = 0
    /// How long the oldest line has waited.
    package var ageMs: UInt64 = 0
  }

  package enum Condition: Equatable, Sendable {
    case fine
    case failing(SystemError)
    /// One write has taken so long and has not come back.
    case hanging(ms: UInt64)
  }

  package enum Reopened: Equatable, Sendable {
    case done
    case failed(SystemError)
    /// The disk does not answer; the path is opened when it does.
    case waiting
  }

  /// Bytes within this time are one arrival.
  private static let arrivalMs: UInt64 = 100
  /// How long the writer waits before it tries again what failed.
  private static let retryMs: CInt = 200
  /// Lines of this time are written together: under load the writer is woken less often.
  private static let gatherMs: UInt32 = 1
  private static let hangingMs: UInt64 = 1_000
  private static let reopenMsMax: UInt64 = 1_000

  package let path: String?
  private let queue = Mutex(Queue())
  private let writing: Mutex<Writing>
  private let bell: Bell
  private let lostLine: @Sendable (UInt64) -> [UInt8]
  private let bytesMax: Atomic<Int>
  private let isFull = Atomic<Bool>(false)
  private let isFailing = Atomic<Bool>(false)
  private let waiting = Atomic<Int>(0)
  private let lost = Atomic<UInt64>(0)
  private let lostInAll = Atomic<UInt64>(0)
  private let isRunning = Atomic<Bool>(false)
  private let writeBeganMs = Atomic<UInt64>(0)

  /// Without a path: standard output. `lostLine` is the line that says how many lines were lost for lack of room.
  package init(
    path: String?, bytesMax: Int = 8 << 20, lostLine: @escaping @Sendable (UInt64) -> [UInt8] = { _ in [] }
  ) throws(SystemError) {
    self.path = path
    self.bytesMax = Atomic(bytesMax)
    self.lostLine = lostLine
    bell = try Bell()
    writing = Mutex(Writing(target: try AppendTarget(path: path)))
  }

  // MARK: - What loops ask

  /// Beyond `bytesMax` lines wait. What comes then is lost, and counted by `countLost`, unless its loss would leave
  /// something that went out unrecorded.
  package var hasRoom: Bool { !isFull.load(ordering: .relaxed) }
  /// The last write failed for another reason than a slow reader, or too much waits.
  package var isUnwritable: Bool { isFailing.load(ordering: .relaxed) || !hasRoom }
  package var pendingBytes: Int { waiting.load(ordering: .relaxed) }
  /// Since the start.
  package var lostLines: UInt64 { lostInAll.load(ordering: .relaxed) }

  package func setBytesMax(_ bytes: Int) { bytesMax.store(bytes, ordering: .relaxed) }

  package func countLost(_ lines: UInt64 = 1) {
    lost.wrappingAdd(lines, ordering: .relaxed)
    lostInAll.wrappingAdd(lines, ordering: .relaxed)
  }

  /// Takes whole lines over and empties the array; the writer is woken.
  package func flush(_ lines: inout [UInt8]) {
    if lines.isEmpty { return }
    let mustRing = queue.withLock { queue in
      append(lines, &queue)
      defer { queue.isWriterAwake = true }
      return !queue.isWriterAwake
    }
    if mustRing { bell.ring() }
    lines.removeAll(keepingCapacity: lines.capacity <= 1 << 20)
  }

  package func backlog() -> Backlog {
    queue.withLock { queue in
      Backlog(
        bytes: queue.waitingBytes, lines: queue.waitingLines,
        ageMs: queue.arrivals.first.map { Clock.monotonicMs() &- $0.atMs } ?? 0)
    }
  }

  package func condition() -> Condition {
    let beganMs = writeBeganMs.load(ordering: .relaxed)
    let ageMs = beganMs == 0 ? 0 : Clock.monotonicMs() &- beganMs
    if ageMs >= Self.hangingMs { return .hanging(ms: ageMs) }
    guard isFailing.load(ordering: .relaxed) else { return .fine }
    return queue.withLock { $0.problem }.map { .failing($0) } ?? .fine
  }

  // MARK: - The writer

  /// The writer's whole life; it ends when the process does.
  package func run() {
    isRunning.store(true, ordering: .relaxed)
    while true {
      let error = writeOnce()
      if error?.isSlowness == true {
        awaitRoom()
      } else if error != nil {
        _ = bell.wait(msMax: Self.retryMs)
      } else if mayRest() {
        _ = bell.wait(msMax: -1)
        Clock.pause(ms: Self.gatherMs)
      }
    }
  }

  /// One pass of the writer: opens the path anew where that was asked for, and writes what waits. The error if some of
  /// it still has to wait.
  @discardableResult package func writeOnce() -> SystemError? {
    writing.withLock { writing in
      if let token = reopenAsked() {
        // Lines that wait go to the old file, if that takes them.
        _ = writeBatches(&writing)
        reopen(token, &writing)
      }
      return writeBatches(&writing)
    }
  }

  /// Opens the path anew, at most so long. Not for a loop's thread.
  package func reopen() -> Reopened {
    guard path != nil else { return .done }
    let token = queue.withLock { queue in
      queue.opened.asked &+= 1
      queue.isWriterAwake = true
      return queue.opened.asked
    }
    bell.ring()
    if !isRunning.load(ordering: .relaxed) { writeOnce() }
    let dueMs = Clock.monotonicMs() &+ Self.reopenMsMax
    guard Clock.wait(until: dueMs, for: { queue.withLock { $0.opened.done >= token } }) else { return .waiting }
    return queue.withLock { $0.opened.error }.map { .failed($0) } ?? .done
  }

  /// At the end of the process: all that waits, as far as it can be written in that time.
  package func finish(msMax: UInt64) -> Bool {
    let dueMs = Clock.monotonicMs() &+ msMax
    bell.ring()
    return Clock.wait(until: dueMs) {
      if pendingBytes > 0 && !isRunning.load(ordering: .relaxed) { writeOnce() }
      return pendingBytes == 0
    }
  }

  // MARK: - Under the writer's lock

  private func reopenAsked() -> UInt64? {
    queue.withLock { $0.opened.asked > $0.opened.done ? $0.opened.asked : nil }
  }

  private func reopen(_ token: UInt64, _ writing: inout Writing) {
    var problem: SystemError?
    do throws(SystemError) { try writing.target.reopen() } catch { problem = error }
    queue.withLock { queue in
      queue.opened.done = token
      queue.opened.error = problem
    }
  }

  private func writeBatches(_ writing: inout Writing) -> SystemError? {
    while true {
      if writing.written == writing.batch.count { takeBatch(&writing) }
      if writing.batch.isEmpty { return nil }
      writeBeganMs.store(Clock.monotonicMs(), ordering: .relaxed)
      let (written, error) = writing.target.write(writing.batch, from: writing.written)
      writeBeganMs.store(0, ordering: .relaxed)
      note(written, error, &writing)
      if let error { return error }
    }
  }

  private func takeBatch(_ writing: inout Writing) {
    writing.written = 0
    writing.batch.removeAll(keepingCapacity: writing.batch.capacity <= 1 << 20)
    queue.withLock { queue in
      noteRoom(&queue)
      swap(&queue.bytes, &writing.batch)
    }
  }

  /// Whole lines that were written wait no longer.
  private func note(_ written: Int, _ error: SystemError?, _ writing: inout Writing) {
    let lineStart = AppendTarget.lineStart(writing.batch, written)
    let gone = writing.batch[..<lineStart]
    queue.withLock { queue in
      depart(gone, &queue)
      queue.problem = error
      isFailing.store(error.map { !$0.isSlowness } ?? false, ordering: .relaxed)
      noteRoom(&queue)
    }
    writing.batch.removeFirst(lineStart)
    writing.written = written - lineStart
  }

  /// A pipe's reader is waited for without the lock of what it waits for.
  private func awaitRoom() { writing.withLock { $0.target.awaitRoom(msMax: Self.retryMs) } }

  private func mayRest() -> Bool {
    queue.withLock { queue in
      let isIdle = queue.bytes.isEmpty && queue.opened.asked == queue.opened.done
      queue.isWriterAwake = !isIdle
      return isIdle
    }
  }

  // MARK: - Under the queue's lock

  private func append(_ lines: [UInt8], _ queue: inout Queue) {
    queue.bytes += lines
    queue.waitingBytes += lines.count
    queue.waitingLines += Self.lineCount(lines[...])
    let nowMs = Clock.monotonicMs()
    if let last = queue.arrivals.last, nowMs &- last.atMs < Self.arrivalMs {
      queue.arrivals[queue.arrivals.count - 1].bytes += lines.count
    } else {
      queue.arrivals.append(Arrival(bytes: lines.count, atMs: nowMs))
    }
    waiting.store(queue.waitingBytes, ordering: .relaxed)
    if queue.waitingBytes >= bytesMax.load(ordering: .relaxed) { isFull.store(true, ordering: .relaxed) }
  }

  private func depart(_ lines: ArraySlice<UInt8>, _ queue: inout Queue) {
    queue.waitingLines -= Self.lineCount(lines)
    queue.waitingBytes -= lines.count
    waiting.store(queue.waitingBytes, ordering: .relaxed)
    var left = lines.count
    let gone = queue.arrivals.prefix { arrival in
      guard arrival.bytes <= left else { return false }
      left -= arrival.bytes
      return true
    }
    queue.arrivals.removeFirst(gone.count)
    if !queue.arrivals.isEmpty { queue.arrivals[0].bytes -= left }
  }

  /// Room begins where half of the bound is free: the count of lost lines is the first line that comes then.
  private func noteRoom(_ queue: inout Queue) {
    if !hasRoom && queue.waitingBytes > bytesMax.load(ordering: .relaxed) / 2 { return }
    let count = lost.exchange(0, ordering: .relaxed)
    if count > 0 { append(lostLine(count), &queue) }
    isFull.store(false, ordering: .relaxed)
  }

  private static func lineCount(_ bytes: ArraySlice<UInt8>) -> Int { bytes.count { $0 == UInt8(ascii: "\n") } }
}

extension SystemError {
  /// A pipe whose reader is slow, not gone.
  fileprivate var isSlowness: Bool { code == EAGAIN }
}

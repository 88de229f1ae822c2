// A file that many threads append whole lines to, with one writing thread. A full or hanging disk blocks only that
// thread: lines are queued in order, up to a limit that callers check with `hasRoom`.
// It relies on AppendTarget for partly written lines.
import CLinux
import Glibc
import Synchronization

package final class SharedAppendFile: Sendable {
  /// The queue, under a lock that is held only for a copy, never for a system call that may hang.
  private struct Queue: ~Copyable {
    var bytes: [UInt8] = []
    /// Queued lines, including those being written.
    var waitingLines = 0
    var waitingBytes = 0
    /// Arrival times of the queued bytes, the oldest first.
    var arrivals: [Arrival] = []
    var isWriterAwake = false
    var problem: SystemError?
    var opened = Opened()
  }

  private struct Arrival {
    var bytes: Int
    let atMs: UInt64
  }

  /// Requests to reopen the path, and the result of the last one.
  private struct Opened {
    var asked: UInt64 = 0
    var done: UInt64 = 0
    var error: SystemError?
  }

  /// State of the writer only: its lock is held during a write, and so while the disk hangs.
  private struct Writing: ~Copyable {
    var target: AppendTarget
    /// The lines being written, from `written` on.
    var batch: [UInt8] = []
    var written = 0
  }

  /// Lines that wait for the disk.
  package struct Backlog: Equatable, Sendable {
    package var bytes = 0
    package var lines = 0
    /// The age of the oldest line.
    package var ageMs: UInt64 = 0
  }

  package enum Condition: Equatable, Sendable {
    case fine
    case failing(SystemError)
    /// A write has not returned for this long.
    case hanging(ms: UInt64)
  }

  package enum Reopened: Equatable, Sendable {
    case done
    case failed(SystemError)
    /// The disk does not answer; the path is reopened when it does.
    case waiting
  }

  /// Bytes within this time count as one arrival.
  private static let arrivalMs: UInt64 = 100
  /// Delay before the writer retries after a failure.
  private static let retryMs: CInt = 200
  /// Lines of this period are written together, so that the writer wakes less often under load.
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

  /// A nil path means standard output. `lostLine` builds the line that reports lines lost for lack of room.
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

  /// False if more than `bytesMax` bytes wait. Further lines are lost and counted by `countLost`, except lines whose
  /// loss would leave an allowed request unrecorded.
  package var hasRoom: Bool { !isFull.load(ordering: .relaxed) }
  /// True if the last write failed for a reason other than a slow reader, or if the queue is full.
  package var isUnwritable: Bool { isFailing.load(ordering: .relaxed) || !hasRoom }
  package var pendingBytes: Int { waiting.load(ordering: .relaxed) }
  /// Lost lines since the start.
  package var lostLines: UInt64 { lostInAll.load(ordering: .relaxed) }

  package func setBytesMax(_ bytes: Int) { bytesMax.store(bytes, ordering: .relaxed) }

  package func countLost(_ lines: UInt64 = 1) {
    lost.wrappingAdd(lines, ordering: .relaxed)
    lostInAll.wrappingAdd(lines, ordering: .relaxed)
  }

  /// Queues whole lines, empties the array, and wakes the writer.
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

  /// The writing thread's main function, which ends with the process.
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

  /// One pass of the writer: reopens the path if requested, and writes the queue. Returns the error if lines still
  /// wait.
  @discardableResult package func writeOnce() -> SystemError? {
    writing.withLock { writing in
      if let token = reopenAsked() {
        // Queued lines go to the old file, if possible.
        _ = writeBatches(&writing)
        reopen(token, &writing)
      }
      return writeBatches(&writing)
    }
  }

  /// Reopens the path, within a time limit. Not for a loop's thread.
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

  /// Writes the rest at the process's end, within `msMax`.
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

  /// Removes written whole lines from the queue.
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

  /// Waits for a pipe's reader without the queue's lock.
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

  /// Room returns when half of the limit is free. The report of lost lines is then the first line.
  private func noteRoom(_ queue: inout Queue) {
    if !hasRoom && queue.waitingBytes > bytesMax.load(ordering: .relaxed) / 2 { return }
    let count = lost.exchange(0, ordering: .relaxed)
    if count > 0 { append(lostLine(count), &queue) }
    isFull.store(false, ordering: .relaxed)
  }

  private static func lineCount(_ bytes: ArraySlice<UInt8>) -> Int { bytes.count { $0 == UInt8(ascii: "\n") } }
}

extension SystemError {
  /// True for a pipe whose reader is slow, not gone.
  fileprivate var isSlowness: Bool { code == EAGAIN }
}

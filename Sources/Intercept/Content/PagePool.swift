// Pages are parsed off the loops: a page may take long, and other sessions do not wait for it. A few threads, a bounded
// queue, and a bound on what all tunnels together hold back. It relies on whoever asks to be woken when a page is done.
import Content
import Kernel
import Synchronization

/// One page on its way through the checks.
package final class PageJob: Sendable {
  struct Result: Sendable {
    var text: [UInt8]
    var findings: [Finding]
    var isFlagged: Bool
  }

  let rules: ContentRules
  private let page: Mutex<[UInt8]>
  private let isLatin: Bool
  private let outcome = Mutex<Result?>(nil)
  private let isUnwanted = Atomic<Bool>(false)
  private let wake: @Sendable () -> Void

  init(_ rules: ContentRules, page: [UInt8], isLatin: Bool = false, wake: @escaping @Sendable () -> Void) {
    self.rules = rules
    self.isLatin = isLatin
    self.page = Mutex(page)
    self.wake = wake
  }

  /// nil while it is not done.
  func takeResult() -> Result? { outcome.withLock { $0.take() } }

  /// Nobody waits for it any more: where it has not begun, it is not parsed, and what it would have been is not kept.
  func abandon() {
    isUnwanted.store(true, ordering: .relaxed)
    page.withLock { $0 = [] }
  }

  var heldCount: Int { page.withLock { $0.count } }

  fileprivate func run() {
    if isUnwanted.load(ordering: .relaxed) { return }
    let bytes = page.withLock { page in
      defer { page = [] }
      return page
    }
    let check = ContentCheck(rules)
    let text = check.append(isLatin ? Latin.utf8(bytes) : bytes) + check.finish()
    let result = Result(text: text, findings: check.findings, isFlagged: check.isFlagged)
    outcome.withLock { $0 = result }
    wake()
  }
}

package final class PagePool: Sendable {
  package typealias Start = @Sendable (@escaping @Sendable () -> Void) -> Bool

  private static let threadsMax = 2
  private static let waitingMax = 256
  /// What the tunnels of the process hold back of answers, in all.
  private static let heldBytesMax = 256 << 20

  private struct Queue {
    var jobs: [PageJob] = []
    var threads = 0
  }

  private let queue = Mutex(Queue())
  /// What the decoders of the process remember of their texts, in all.
  private static let windowBytesMax = 512 << 20

  private let heldBytes = Atomic<Int>(0)
  private let windowBytes = Atomic<Int>(0)
  private let start: Start

  package init(start: @escaping Start = PagePool.onThread) { self.start = start }

  package static let onThread: Start = { body in
    do throws(SystemError) {
      try Threads.start(name: "pages", body)
      return true
    } catch {
      return false
    }
  }

  /// False where it cannot be done: too many wait, or there is no thread.
  func submit(_ job: PageJob) -> Bool {
    let (isTaken, needsThread) = queue.withLock { queue in
      guard queue.jobs.count < Self.waitingMax else { return (false, false) }
      queue.jobs.append(job)
      guard queue.threads < Self.threadsMax else { return (true, false) }
      queue.threads += 1
      return (true, true)
    }
    guard needsThread, !start({ [self] in work() }) else { return isTaken }
    return queue.withLock { queue in
      queue.threads -= 1
      // Another thread will come to it.
      if queue.threads > 0 { return true }
      queue.jobs.removeAll { $0 === job }
      return false
    }
  }

  private func work() {
    while let job = next() { job.run() }
  }

  /// A thread that finds nothing to do ends.
  private func next() -> PageJob? {
    queue.withLock { queue in
      if queue.jobs.isEmpty {
        queue.threads -= 1
        return nil
      }
      return queue.jobs.removeFirst()
    }
  }

  // MARK: - What is held back

  fileprivate func reserve(_ count: Int) -> Bool {
    let held = heldBytes.wrappingAdd(count, ordering: .relaxed).newValue
    if held <= Self.heldBytesMax { return true }
    heldBytes.wrappingSubtract(count, ordering: .relaxed)
    return false
  }

  fileprivate func reserveWindow(_ count: Int) -> Bool {
    let all = windowBytes.wrappingAdd(count, ordering: .relaxed).newValue
    if all <= Self.windowBytesMax { return true }
    windowBytes.wrappingSubtract(count, ordering: .relaxed)
    return false
  }

  fileprivate func releaseWindow(_ count: Int) { windowBytes.wrappingSubtract(count, ordering: .relaxed) }

  fileprivate func release(_ count: Int) { heldBytes.wrappingSubtract(count, ordering: .relaxed) }
}

/// What the exchanges of one tunnel hold back of their answers. Of one loop.
package final class HeldBytes {
  private static let bytesMax = 16 << 20
  private static let windowBytesMax = 64 << 20

  let pool: PagePool
  private var count = 0
  private var windowCount = 0

  package init(_ pool: PagePool) { self.pool = pool }

  deinit {
    pool.release(count)
    pool.releaseWindow(windowCount)
  }

  /// A decoder has filled so much; `reserved` is what of it is accounted for. False where it is too much.
  func reserveWindow(_ bytes: Int, _ reserved: inout Int) -> Bool {
    let more = bytes - reserved
    if more > 0 {
      guard windowCount + more <= Self.windowBytesMax, pool.reserveWindow(more) else { return false }
    } else if more < 0 {
      pool.releaseWindow(-more)
    }
    windowCount += more
    reserved = bytes
    return true
  }

  /// False where it would be more than a tunnel, or all of them, may hold.
  func reserve(_ bytes: Int) -> Bool {
    guard count + bytes <= Self.bytesMax, pool.reserve(bytes) else { return false }
    count += bytes
    return true
  }

  func release(_ bytes: Int) {
    count -= bytes
    pool.release(bytes)
  }
}

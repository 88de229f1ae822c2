// Pages are parsed off the loops: a page may take long, and other sessions do not wait for it. A few threads, a bounded
// queue, and a bound on what all tunnels together hold back. It relies on whoever asks to be woken when a page is done.
import Content
import Kernel
package import Policy
import Synchronization

/// One page on its way through the checks.
package final class PageJob: Sendable {
  struct Result: Sendable {
    var text: [UInt8]
    var findings: [Finding]
    var isFlagged: Bool
    var excerpts: Excerpts?
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
    let result = Result(
      text: text, findings: check.findings, isFlagged: check.isFlagged, excerpts: check.excerpts)
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
    var jobs = FairQueue<PageJob>()
    var threads = 0
  }

  /// Of all tunnels.
  let issued = ClientFingerprints()
  let openings = ClientFingerprints()
  private let queue = Mutex(Queue())
  /// What the decoders of the process remember of their texts, in all.
  private static let windowBytesMax = 512 << 20

  private let held = Mutex(FairShare())
  private let windows = Mutex(FairShare())
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

  /// False where it cannot be done: too many wait, the owner has its share of them, or there is no thread.
  func submit(_ job: PageJob, for owner: ShareOwner, _ sharing: Sharing) -> Bool {
    let (isTaken, needsThread) = queue.withLock { queue in
      guard queue.jobs.append(job, of: Self.waitingMax, for: owner, sharing) else { return (false, false) }
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
      if let job = queue.jobs.popFirst() { return job }
      queue.threads -= 1
      return nil
    }
  }

  // MARK: - What is held back

  fileprivate func reserve(_ count: Int, for owner: ShareOwner, _ sharing: Sharing) -> Bool {
    held.withLock { $0.take(count, of: Self.heldBytesMax, for: owner, sharing) }
  }

  fileprivate func reserveWindow(_ count: Int, for owner: ShareOwner, _ sharing: Sharing) -> Bool {
    windows.withLock { $0.take(count, of: Self.windowBytesMax, for: owner, sharing) }
  }

  fileprivate func releaseWindow(_ count: Int, by owner: ShareOwner) {
    windows.withLock { $0.give(count, by: owner) }
  }

  fileprivate func release(_ count: Int, by owner: ShareOwner) { held.withLock { $0.give(count, by: owner) } }
}

/// What the exchanges of one tunnel hold back of their answers. Of one loop.
package final class HeldBytes {
  private static let bytesMax = 16 << 20
  private static let windowBytesMax = 64 << 20

  private let pool: PagePool
  private let owner: ShareOwner
  private let sharing: Sharing
  private var count = 0
  private var windowCount = 0

  package init(_ pool: PagePool, for owner: ShareOwner = .gate, _ sharing: Sharing = .addresses) {
    (self.pool, self.owner, self.sharing) = (pool, owner, sharing)
  }

  func submit(_ job: PageJob) -> Bool { pool.submit(job, for: owner, sharing) }
  var issued: ClientFingerprints { pool.issued }
  /// Files that do not open like a page.
  var openings: ClientFingerprints { pool.openings }

  deinit {
    pool.release(count, by: owner)
    pool.releaseWindow(windowCount, by: owner)
  }

  /// A decoder has filled so much; `reserved` is what of it is accounted for. False where it is too much.
  func reserveWindow(_ bytes: Int, _ reserved: inout Int) -> Bool {
    let more = bytes - reserved
    if more > 0 {
      guard windowCount + more <= Self.windowBytesMax, pool.reserveWindow(more, for: owner, sharing) else {
        return false
      }
    } else if more < 0 {
      pool.releaseWindow(-more, by: owner)
    }
    windowCount += more
    reserved = bytes
    return true
  }

  /// False where it would be more than a tunnel, or all of them, may hold.
  func reserve(_ bytes: Int) -> Bool {
    guard count + bytes <= Self.bytesMax, pool.reserve(bytes, for: owner, sharing) else { return false }
    count += bytes
    return true
  }

  func release(_ bytes: Int) {
    count -= bytes
    pool.release(bytes, by: owner)
  }
}

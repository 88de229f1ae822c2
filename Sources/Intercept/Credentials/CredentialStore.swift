// The values of all credentials: one owner, shared by the loops. Each is fetched once at a time, on a thread of its
// own. It relies on CredentialSources for the fetching; whoever must wait is told, and a failed fetch lets nothing out.
import Kernel
package import Policy
import Synchronization

/// What a credential is worth at this moment.
package enum CredentialLookup: Sendable {
  case ready(CredentialValue)
  /// The value is being fetched: `wake` is called, once, on another thread.
  case waiting
  case failed(CredentialProblem)
}

package final class CredentialStore: Sendable {
  package typealias Fetch = @Sendable (Credential, Secret?) throws(CredentialProblem) -> FetchedCredential
  package typealias Start = @Sendable (@escaping @Sendable () -> Void) -> Bool

  fileprivate static let lifetimeMsMin: UInt64 = 1_000
  /// A fresh one is asked for when a fifth of the life is left, but no more than this before its end.
  fileprivate static let earlyMsMax: UInt64 = 300_000
  /// A source whose value has no end is looked at twice before the value is dropped: a file may be half written.
  fileprivate static let secondLookMs: UInt64 = 1_000
  fileprivate static let retryMs: ClosedRange<UInt64> = 1_000...60_000
  /// After an upstream refused a value, at most this often.
  private static let refusedMs: UInt64 = 10_000

  fileprivate struct Entry {
    var credential: Credential
    var value: CredentialValue?
    var refreshToken: Secret?
    var expiresMs: UInt64?
    /// From then on a fresh one is fetched while this one serves.
    var refreshMs: UInt64?
    var fetchedMs: UInt64 = 0
    var isFetching = false
    var failures: UInt64 = 0
    var retryAtMs: UInt64 = 0
    var problem: CredentialProblem?
    var stamp: FileStamp?
    var wakes: [ObjectIdentifier: @Sendable () -> Void] = [:]
  }

  private let entries = Mutex<[String: Entry]>([:])
  private let fetch: Fetch
  private let start: Start
  private let clock: @Sendable () -> UInt64
  /// What an operator is told: a credential that cannot be had, and that can be had again.
  private let tell: @Sendable (String) -> Void

  package init(
    fetch: @escaping Fetch, start: @escaping Start = CredentialStore.onThread,
    clock: @escaping @Sendable () -> UInt64 = { Clock.monotonicMs() }, tell: @escaping @Sendable (String) -> Void
  ) {
    (self.fetch, self.start, self.clock, self.tell) = (fetch, start, clock, tell)
  }

  package static let onThread: Start = { body in
    do throws(SystemError) {
      try Threads.start(name: "credential", body)
      return true
    } catch {
      return false
    }
  }

  // MARK: - Policies

  /// What is new or gone is so at once; what stays serves until it has been read again.
  package func take(_ credentials: [Credential]) {
    let nowMs = clock()
    let wakes = entries.withLock { entries -> [@Sendable () -> Void] in
      var next: [String: Entry] = [:]
      for credential in credentials {
        var entry = Entry(credential: credential)
        if let old = entries[credential.name], old.credential.source == credential.source,
          old.credential.placement == credential.placement
        {
          entry = old
          entry.credential = credential
          entry.retryAtMs = 0
          if entry.value != nil { entry.refreshMs = nowMs }
        } else if let old = entries.values.first(where: { $0.credential.sharesRefreshToken(with: credential) }) {
          // A fetch that is under way may bring the next one, and two must not use the same.
          entry.refreshToken = old.refreshToken
          entry.isFetching = old.isFetching
        }
        next[credential.name] = entry
      }
      let unanswered = entries.filter { next[$0.key]?.isFetching != true }.values.flatMap(\.wakes.values)
      entries = next
      return unanswered
    }
    for wake in wakes { wake() }
    lookAround()
  }

  // MARK: - Values

  /// `wake` is kept only where the answer is `waiting`, and once for each asker however often it asks.
  package func value(
    of credential: Credential, for asker: AnyObject, wake: @escaping @Sendable () -> Void
  ) -> CredentialLookup {
    let nowMs = clock()
    var begins = false
    let lookup = entries.withLock { entries -> CredentialLookup in
      guard var entry = entries[credential.name] else {
        return .failed(CredentialProblem("the policy has no such credential any more"))
      }
      defer { entries[credential.name] = entry }
      begins = entry.wantsFetch(nowMs)
      if begins { entry.isFetching = true }
      if let value = entry.current(nowMs) { return .ready(value) }
      if !entry.isFetching {
        return .failed(entry.problem ?? CredentialProblem("it cannot be had"))
      }
      entry.wakes[ObjectIdentifier(asker)] = wake
      return .waiting
    }
    if begins { beginFetch(credential.name) }
    return lookup
  }

  /// The upstream answered 401: a value that has been rotated since is read again.
  package func refused(_ credential: Credential, _ value: CredentialValue) {
    let nowMs = clock()
    entries.withLock { entries in
      guard var entry = entries[credential.name], entry.value === value,
        nowMs >= entry.fetchedMs + Self.refusedMs
      else { return }
      entry.refreshMs = nowMs
      entries[credential.name] = entry
    }
    lookAround()
  }

  /// All values that there are now.
  package var values: [CredentialValue] { entries.withLock { $0.values.compactMap(\.value) } }

  /// The same by name, to look for in what leaves.
  package var ownSecrets: [OwnSecret] {
    entries.withLock { entries in
      entries.compactMap { name, entry in entry.value.map { OwnSecret(name: name, value: $0) } }
    }
  }

  /// All values, also those that nobody has asked for yet.
  package func fetchAll() {
    let nowMs = clock()
    let due = entries.withLock { entries in
      entries.keys.filter { name in
        guard let entry = entries[name], entry.value == nil, entry.wantsFetch(nowMs) else { return false }
        entries[name]?.isFetching = true
        return true
      }
    }
    for name in due { beginFetch(name) }
  }

  /// Now and then, by a thread that may look at files: what has been rotated, or will soon expire, is fetched.
  package func lookAround() {
    let nowMs = clock()
    let files = entries.withLock { entries in
      entries.values.compactMap { entry -> (name: String, path: String)? in
        guard case .file(let path) = entry.credential.source, entry.value != nil else { return nil }
        return (entry.credential.name, path)
      }
    }
    let stamps = files.map { ($0.name, FileStamp(path: $0.path)) }
    let due = entries.withLock { entries in
      for (name, stamp) in stamps where entries[name]?.stamp != stamp && entries[name]?.isFetching == false {
        entries[name]?.refreshMs = nowMs
      }
      return entries.keys.filter { name in
        guard let entry = entries[name], entry.value != nil, entry.wantsFetch(nowMs) else { return false }
        entries[name]?.isFetching = true
        return true
      }
    }
    for name in due { beginFetch(name) }
  }

  // MARK: - Fetching

  private func beginFetch(_ name: String) {
    guard let entry = entries.withLock({ $0[name] }) else { return }
    let credential = entry.credential
    // The stamp is older than what is read: a change in between is seen as one.
    let stamp = Self.stamp(of: credential)
    let refreshToken = entry.refreshToken
    let isStarted = start { [self] in
      do throws(CredentialProblem) {
        let fetched = try fetch(credential, refreshToken)
        finish(credential, stamp, .success(fetched))
      } catch {
        finish(credential, stamp, .failure(error))
      }
    }
    if !isStarted { finish(credential, stamp, .failure(CredentialProblem("no thread could be started to read it"))) }
  }

  private static func stamp(of credential: Credential) -> FileStamp? {
    if case .file(let path) = credential.source { return FileStamp(path: path) }
    return nil
  }

  private func finish(
    _ credential: Credential, _ stamp: FileStamp?, _ result: Result<FetchedCredential, CredentialProblem>
  ) {
    let nowMs = clock()
    var message: String?
    let wakes = entries.withLock { entries -> [@Sendable () -> Void] in
      guard var entry = entries[credential.name], entry.isFetching, entry.credential.source == credential.source,
        entry.credential.placement == credential.placement
      else { return Self.keepRefreshToken(of: credential, result, &entries) }
      defer { entries[credential.name] = entry }
      entry.isFetching = false
      entry.stamp = stamp
      switch result {
      case .success(let fetched):
        if entry.problem != nil { message = "credential \(credential.name) can be had again" }
        if let warning = fetched.warning { message = "credential \(credential.name): \(warning)" }
        entry.take(fetched, nowMs)
      case .failure(let problem):
        if entry.problem != problem { message = "credential \(credential.name): \(problem)" }
        entry.fail(problem, nowMs)
      }
      defer { entry.wakes = [:] }
      return Array(entry.wakes.values)
    }
    if let message { tell(message) }
    for wake in wakes { wake() }
  }

  /// Of another policy: its value counts for nothing, but the refresh token that came with it is the one that is good
  /// now.
  private static func keepRefreshToken(
    of credential: Credential, _ result: Result<FetchedCredential, CredentialProblem>, _ entries: inout [String: Entry]
  ) -> [@Sendable () -> Void] {
    var wakes: [@Sendable () -> Void] = []
    for (name, var entry) in entries where entry.credential.sharesRefreshToken(with: credential) {
      switch result {
      case .success(let fetched): entry.refreshToken = fetched.refreshToken ?? entry.refreshToken
      case .failure(let problem): if problem.endsRefreshToken { entry.refreshToken = nil }
      }
      // Requests that wait ask again, with the new value.
      wakes += entry.wakes.values
      (entry.isFetching, entry.wakes) = (false, [:])
      entries[name] = entry
    }
    return wakes
  }
}

extension Credential {
  fileprivate func sharesRefreshToken(with other: Credential) -> Bool {
    guard case .oauth2(let grant) = source, case .oauth2(let another) = other.source else { return false }
    return grant.sharesRefreshToken(with: another)
  }
}

extension CredentialStore.Entry {
  fileprivate func current(_ nowMs: UInt64) -> CredentialValue? {
    if let expiresMs, nowMs >= expiresMs { return nil }
    return value
  }

  fileprivate func wantsFetch(_ nowMs: UInt64) -> Bool {
    if isFetching || nowMs < retryAtMs { return false }
    if current(nowMs) == nil { return true }
    return refreshMs.map { nowMs >= $0 } ?? false
  }

  fileprivate mutating func take(_ fetched: FetchedCredential, _ nowMs: UInt64) {
    value = fetched.value
    refreshToken = fetched.refreshToken ?? refreshToken
    fetchedMs = nowMs
    (failures, retryAtMs, problem) = (0, 0, nil)
    (expiresMs, refreshMs) = (nil, nil)
    // Requests that waited for a value get it, however short its life is: else each would ask for the next one.
    guard let lifetimeMs = fetched.lifetimeMs.map({ max($0, CredentialStore.lifetimeMsMin) }) else { return }
    expiresMs = nowMs + lifetimeMs
    refreshMs = nowMs + lifetimeMs - min(lifetimeMs / 5, CredentialStore.earlyMsMax)
  }

  /// A value with an end serves up to it. One without is what its source says, or nothing.
  fileprivate mutating func fail(_ problem: CredentialProblem, _ nowMs: UInt64) {
    self.problem = problem
    failures += 1
    let isSecondLook = failures > 1
    if expiresMs == nil {
      if isSecondLook { value = nil }
      refreshMs = nowMs
    }
    let pause = CredentialStore.secondLookMs << min(failures - 1, 6)
    retryAtMs = nowMs + min(max(pause, CredentialStore.retryMs.lowerBound), CredentialStore.retryMs.upperBound)
    // The one of the policy was used up by it with many endpoints: an answer that did not come ends nothing.
    if problem.endsRefreshToken { refreshToken = nil }
  }
}

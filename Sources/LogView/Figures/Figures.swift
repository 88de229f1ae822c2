// Figures of `sluice dashboard`: all of `sluice top`'s table, and totals, courses over time, what was refused
// and what would let it out, credentials, findings. It relies on bounds of its own, whatever a log holds; it asks no
// clock.
package import Policy
import Wire

package struct Figures: Sendable {
  /// More clients than this have no figures of their own.
  static let clientsMax = 64
  static let coursesMax = 1000
  private static let seldomMax = 500
  static let eventsMax = 50

  struct CredentialKey: Hashable, Sendable {
    let client: String
    let credential: String
    let target: String
    let place: String
    let isScrubbed: Bool
  }

  struct FlaggedKey: Hashable, Sendable {
    let client: String
    let target: String
    let finding: String
  }

  /// A client that gave a wrong password or none, and the target that it named.
  struct PasswordKey: Hashable, Sendable {
    let client: String
    let target: String
  }

  struct LimitKey: Hashable, Sendable {
    let client: String
    let limit: String
  }

  /// Figures of one client, or of all of them.
  struct Share: Sendable {
    var totals = Totals()
    var courses = [TimeSeries](repeating: TimeSeries(), count: Course.allCases.count)
    /// The newest last; up to twice as many as are shown.
    var events: [Event] = []
  }

  /// Lines of the timeline.
  enum Course: String, CaseIterable, Sendable {
    case ended, refused, wouldDeny = "would_deny", limited, failed, revoked, flagged

    var place: Int {
      switch self {
      case .ended: 0
      case .refused: 1
      case .wouldDeny: 2
      case .limited: 3
      case .failed: 4
      case .revoked: 5
      case .flagged: 6
      }
    }
  }

  struct Event: Sendable {
    let timeMs: Int64
    let kind: LogEventKind
    let isOnlyNoted: Bool
    let gate: Int
    let client: String
    let target: String
    let reason: String
    let rule: String
  }

  let policy: Policy?
  private(set) var tally: Tally
  private(set) var all = Share()
  private var shares: [Share] = []
  private var shareIndexes: [String: Int] = [:]
  /// The client's share for each row of the tally: a line of a known row costs no look-up. Negative: none.
  private var sharesOfRows: [Int] = []
  private(set) var refused = RefusedTargets()
  private(set) var credentials = CountTable<CredentialKey>(max: seldomMax)
  private(set) var flagged = CountTable<FlaggedKey>(max: seldomMax)
  private(set) var limits = CountTable<LimitKey>(max: seldomMax)
  private(set) var passwords = CountTable<PasswordKey>(max: seldomMax)
  private(set) var gates = GateCounts()
  /// Requests over time of a bucket, by its place in the tally.
  private(set) var bucketCourses: [Int: TimeSeries] = [:]
  /// Rows of the tally that a limit has refused: what they do later counts for the rate that is proposed.
  private var limitedRows: Set<Int> = []
  private(set) var firstMs: Int64?
  /// The hash of the policy that was in force last.
  private(set) var policyHash = ""

  package init(policy: Policy? = nil) {
    self.policy = policy
    tally = Tally(policy: policy)
  }

  package var lastMs: Int64 { tally.lastMs }
  package var lines: Int { tally.lines }

  mutating func gate(of line: borrowing LogLine) -> Int { tally.gate(of: line) }

  package mutating func add(_ line: borrowing LogLine) {
    if line.isProbe { return }
    gates.add(line)
    let row = tally.add(line)
    // The last row is for all that found no place: it has no client of its own.
    let ownRow = row.flatMap { $0 < Tally.rowsMax - 1 ? $0 : nil }
    let timeMs = line.timeMs ?? tally.lastMs
    if firstMs == nil { firstMs = timeMs }
    let event = line.event
    let key = tally.ownKey(row, line)
    let client = key.client
    let reason = line.has(.reason) ? Tally.short(line, .reason) : nil
    let course = Self.course(line, event)
    let notable = Self.isNotable(event) ? Self.event(line, event, key, reason, timeMs) : nil
    all.add(line, event, reason, course, notable, timeMs)
    let share = share(line, client, ownRow)
    if share >= 0 { shares[share].add(line, event, reason, course, notable, timeMs) }
    switch event {
    case .credential: addCredential(line, key, timeMs)
    case .flagged: addFlagged(line, key, reason, timeMs)
    case .policy: policyHash = Tally.short(line, .policy)
    default: break
    }
    if line.isRefusal { addRefusal(line, key, reason, timeMs) }
    if let row { addCourse(line, key, row, timeMs) }
  }

  var clientNames: some Collection<String> { shareIndexes.keys }

  func share(of client: String) -> Share { shareIndexes[client].map { shares[$0] } ?? Share() }

  // MARK: - Parts

  private mutating func share(_ line: borrowing LogLine, _ client: String, _ row: Int?) -> Int {
    if let row, row < sharesOfRows.count { return sharesOfRows[row] }
    let share = line.has(.client) ? shareIndexes[client] ?? addShare(client) : -1
    if let row {
      // Rows come one at a time, each with its first line.
      precondition(row == sharesOfRows.count, "a row of the tally that was told of")
      sharesOfRows.append(share)
    }
    return share
  }

  private mutating func addShare(_ client: String) -> Int {
    guard shares.count < Self.clientsMax else { return -1 }
    shares.append(Share())
    shareIndexes[client] = shares.count - 1
    return shares.count - 1
  }

  private mutating func addRefusal(_ line: borrowing LogLine, _ key: Tally.Key, _ reason: String?, _ timeMs: Int64) {
    if let limit = Tally.limit(line) {
      return limits.add(LimitKey(client: key.client, limit: limit), timeMs, line.count)
    }
    if reason == Reason.notAuthenticated.rawValue {
      return passwords.add(
        PasswordKey(client: key.client, target: Self.target(line, key.host)), timeMs, line.count)
    }
    if line.has(.host) { refused.add(line, key, reason: reason ?? "-", timeMs) }
  }

  private mutating func addCourse(
    _ line: borrowing LogLine, _ key: Tally.Key, _ row: Int, _ timeMs: Int64
  ) {
    if line.event == .limited, limitedRows.count < Tally.rowsMax { limitedRows.insert(row) }
    if line.event == .closed, limitedRows.contains(row) { refused.addLetOut(line, key) }
    guard let bucket = tally.rows[row].bucket, !line.flag(.wouldDeny) else { return }
    guard bucketCourses[bucket] != nil || bucketCourses.count < Self.coursesMax else { return }
    bucketCourses[bucket, default: TimeSeries()].add(
      max(line.startMs ?? timeMs, firstMs ?? timeMs), line.count)
  }

  private mutating func addCredential(_ line: borrowing LogLine, _ key: Tally.Key, _ timeMs: Int64) {
    let use = CredentialKey(
      client: key.client, credential: line.otherText("credential") ?? "-", target: Self.target(line, key.host),
      place: line.otherText("place") ?? "", isScrubbed: line.otherText("scrubbed") == "true")
    credentials.add(use, timeMs)
  }

  private mutating func addFlagged(_ line: borrowing LogLine, _ key: Tally.Key, _ reason: String?, _ timeMs: Int64) {
    flagged.add(
      FlaggedKey(client: key.client, target: Self.target(line, key.host), finding: Self.finding(line, reason)), timeMs,
      line.count)
  }

  private static let findingMax = 300

  /// The reason of one that was refused, and whatever else its line says of it.
  private static func finding(_ line: borrowing LogLine, _ reason: String?) -> String {
    var parts = reason.map { [$0] } ?? []
    for other in line.others.prefix(8) {
      let name = TerminalText.safe(other.name.prefix(64))
      // How often one line saw it tells no finding from another.
      guard name != "count", let text = line.otherText(name) else { continue }
      parts.append(name == "finding" ? text : "\(name): \(text)")
    }
    return String(parts.joined(separator: ", ").prefix(findingMax))
  }

  private static func target(_ line: borrowing LogLine, _ host: String) -> String {
    line.port.map { "\(host):\($0)" } ?? host
  }

  private static func course(_ line: borrowing LogLine, _ event: LogEventKind) -> Course? {
    if line.flag(.wouldDeny) { return .wouldDeny }
    return switch event {
    case .closed: .ended
    case .denied: .refused
    case .limited: .limited
    case .failed: .failed
    case .revoked: .revoked
    case .flagged: .flagged
    case .policy, .credential, .approval, .limits, .other: nil
    }
  }

  private static func isNotable(_ event: LogEventKind) -> Bool {
    switch event {
    case .denied, .limited, .failed, .revoked, .policy, .flagged: true
    case .closed, .credential, .approval, .limits, .other: false
    }
  }

  private static func event(
    _ line: borrowing LogLine, _ kind: LogEventKind, _ key: Tally.Key, _ reason: String?, _ timeMs: Int64
  ) -> Event {
    Event(
      timeMs: timeMs, kind: kind, isOnlyNoted: line.flag(.wouldDeny), gate: key.gate, client: key.client,
      target: kind == .policy ? "" : target(line, key.host), reason: reason ?? Tally.limit(line) ?? "",
      rule: kind == .policy ? Tally.short(line, .policy) : line.has(.rule) ? Tally.short(line, .rule) : "")
  }
}

extension Figures.Share {
  fileprivate mutating func add(
    _ line: borrowing LogLine, _ event: LogEventKind, _ reason: String?, _ course: Figures.Course?,
    _ notable: Figures.Event?, _ timeMs: Int64
  ) {
    totals.add(line, event, reason: reason)
    if let course { courses[course.place].add(timeMs, line.count) }
    guard let notable else { return }
    // Dropped in one go, so that a line costs no move of all others.
    if events.count == 2 * Figures.eventsMax { events.removeFirst(Figures.eventsMax) }
    events.append(notable)
  }
}

extension LogLine {
  /// A field that this part alone reads, as a terminal may show it and no longer than a name; nil when it is not there.
  func otherText(_ name: String) -> String? {
    guard let other = others.first(where: { $0.name.elementsEqual(name.utf8) }) else { return nil }
    var bytes = other.json
    // A value that is no text, or holds half surrogates, is shown as it stands.
    do throws(JSONProblem) { bytes = Array((try JSONValue.parse(bytes).asText ?? "").utf8) } catch {
      bytes = other.json
    }
    return TerminalText.safe((bytes.isEmpty ? other.json : bytes).prefix(Tally.textBytesMax))
  }
}

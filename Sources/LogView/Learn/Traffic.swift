// Facts of a log about each target that a client wanted: how often, how fast, how much, and what became of it.
// It relies on bounds of its own: a log of a million names costs no more memory than one of fifty thousand.
package import Policy
package import Wire

package struct Traffic: Sendable {
  package static let targetsMax = 50_000

  package struct Key: Hashable, Sendable {
    package let client: String
    package let target: Target
  }

  package struct Facts: Sendable {
    package var closed = 0
    package var failed = 0
    /// Refusals, and those that report mode only noted, by reason.
    package var refused: [Reason: Int] = [:]
    package var noted: [Reason: Int] = [:]
    package var bytesUp: UInt64 = 0
    package var bytesDown: UInt64 = 0
    /// Addresses that were dialled and took the connection.
    package var addresses: Set<IPAddress> = []
    /// Names of credentials that the gate put into its requests.
    package var credentials: Set<String> = []
    /// Methods and paths, where the gate looked inside.
    var shapes = RequestShapes()
    /// The same of requests that were refused, or only noted in report mode, for their method or path.
    var refusedShapes = RequestShapes()
    /// The highest limit that refused it, by the log; zeros: none did.
    private(set) var set = (perMinute: 0, burst: 0)
    private var endedByMinute = BusiestSpan.minute
    private var endedBySecond = BusiestSpan.second
    private var notedByMinute = BusiestSpan.minute
    private var notedBySecond = BusiestSpan.second

    static let addressesMax = 16
    static let credentialsMax = 8

    /// Requests that began within the busiest minute and the densest second. Report mode writes a line when it notes a
    /// request and another when that ends: the larger count has all of them.
    package var demand: Demand {
      Demand(
        minute: max(endedByMinute.peak, notedByMinute.peak), second: max(endedBySecond.peak, notedBySecond.peak))
    }
    package var count: Int { max(closed + failed + refused.values.reduce(0, +), noted.values.reduce(0, +)) }

    mutating func add(_ other: Facts) {
      closed += other.closed
      failed += other.failed
      refused.merge(other.refused, uniquingKeysWith: +)
      noted.merge(other.noted, uniquingKeysWith: +)
      bytesUp = bytesUp &+ other.bytesUp
      bytesDown = bytesDown &+ other.bytesDown
      addresses.formUnion(other.addresses)
      credentials.formUnion(other.credentials)
      shapes.add(other.shapes)
      refusedShapes.add(other.refusedShapes)
      set = (max(set.perMinute, other.set.perMinute), max(set.burst, other.set.burst))
    }

    package func count(_ reason: Reason) -> Int { (refused[reason] ?? 0) + (noted[reason] ?? 0) }
  }

  package private(set) var targets: [Key: Facts] = [:]
  /// Names of refused DNS queries, and how often each was refused.
  package private(set) var names: [HostName: Int] = [:]
  package private(set) var clients: Set<String> = []
  package private(set) var lines = 0
  /// Lines about a target that came after there were too many.
  package private(set) var dropped = 0
  package private(set) var firstMs: Int64?
  package private(set) var lastMs: Int64?

  package init() {}

  /// Facts that were gathered elsewhere.
  init(_ targets: [Key: Facts]) { self.targets = targets }

  package mutating func add(_ line: borrowing LogLine) {
    lines += 1
    // The self-check of a sandbox is no wish of the command.
    if line.isProbe { return }
    if let timeMs = line.timeMs {
      firstMs = min(firstMs ?? timeMs, timeMs)
      lastMs = max(lastMs ?? timeMs, timeMs)
    }
    guard let host = line.host else { return }
    guard let port = line.port, port > 0 else {
      if line.event == .denied, case .name(let name) = host { addName(name, line.count) }
      return
    }
    let client = line.text(.client) ?? Policy.fallbackName
    let key = Key(client: client, target: Target(host: host, port: port))
    guard targets[key] != nil || targets.count < Self.targetsMax else {
      dropped += 1
      return
    }
    if clients.count < 1000 { clients.insert(client) }
    targets[key, default: Facts()].add(line)
  }

  private mutating func addName(_ name: HostName, _ count: Int) {
    if names[name] != nil || names.count < Self.targetsMax {
      names[name, default: 0] += count
    } else {
      dropped += 1
    }
  }
}

extension Traffic.Facts {
  mutating func add(_ line: borrowing LogLine) {
    let reason = line.text(.reason).flatMap { Reason(rawValue: $0) }
    if reason == .methodRefused || reason == .pathRefused, let method = line.text(NamedField.method) {
      refusedShapes.add(method: method, path: line.text(NamedField.path))
    }
    if line.flag(.wouldDeny) {
      if let reason { noted[reason, default: 0] += line.count }
      if let timeMs = line.timeMs {
        notedByMinute.add(timeMs, line.count)
        notedBySecond.add(timeMs, line.count)
      }
      return
    }
    bytesUp = bytesUp &+ (line.number(.bytesUp) ?? 0)
    bytesDown = bytesDown &+ (line.number(.bytesDown) ?? 0)
    switch line.event {
    case .closed, .revoked:
      closed += 1
      addShape(line)
      if addresses.count < Self.addressesMax, let text = line.text(.address), let address = IPAddress(text) {
        addresses.insert(address)
      }
    case .failed: failed += line.count
    case .denied, .limited:
      if let reason { refused[reason, default: 0] += line.count }
      addLimit(line)
    case .credential:
      if credentials.count < Self.credentialsMax, let name = line.text(NamedField.credential) {
        credentials.insert(name)
      }
      return
    case .policy, .flagged, .approval, .limits, .other: return
    }
    guard let startMs = line.startMs else { return }
    endedByMinute.add(startMs, line.count)
    endedBySecond.add(startMs, line.count)
  }

  private mutating func addShape(_ line: borrowing LogLine) {
    if let method = line.text(NamedField.method) {
      shapes.add(method: method, path: line.text(NamedField.path))
    } else if !line.flag(.inspected) {
      // The tunnel around inspected requests has a line too, which says nothing of them.
      shapes.addOpaque()
    }
  }

  private mutating func addLimit(_ line: borrowing LogLine) {
    func number(_ field: LogField) -> Int {
      min(Int(clamping: line.number(field) ?? 0), RequestBucket.perMinuteMax)
    }
    set = (max(set.perMinute, number(.perMinute)), max(set.burst, number(.capacity)))
  }
}

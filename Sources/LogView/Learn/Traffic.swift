// What a log says of each target that a client wanted: how often, how fast, how much, and what became of it.
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
    /// What was refused, and what report mode let out all the same: by reason.
    package var refused: [Reason: Int] = [:]
    package var noted: [Reason: Int] = [:]
    package var bytesUp: UInt64 = 0
    package var bytesDown: UInt64 = 0
    /// Those that were dialled and took the connection.
    package var addresses: Set<IPAddress> = []
    private var ended = MinutePeak()
    private var announced = MinutePeak()

    static let addressesMax = 16

    /// Most requests that began within one minute of the clock. What report mode lets out has a line when it is noted
    /// and one when it ends.
    package var peak: Int { max(ended.peak, announced.peak) }
    package var count: Int { max(closed + failed + refused.values.reduce(0, +), noted.values.reduce(0, +)) }

    mutating func add(_ other: Facts) {
      closed += other.closed
      failed += other.failed
      refused.merge(other.refused, uniquingKeysWith: +)
      noted.merge(other.noted, uniquingKeysWith: +)
      bytesUp = bytesUp &+ other.bytesUp
      bytesDown = bytesDown &+ other.bytesDown
      addresses.formUnion(other.addresses)
    }
  }

  package private(set) var targets: [Key: Facts] = [:]
  /// Names that were asked for by DNS: how often they were refused.
  package private(set) var names: [HostName: Int] = [:]
  package private(set) var clients: Set<String> = []
  package private(set) var lines = 0
  /// Lines about a target that came after there were too many.
  package private(set) var dropped = 0
  package private(set) var firstMs: Int64?
  package private(set) var lastMs: Int64?

  package init() {}

  /// What was gathered elsewhere.
  init(_ targets: [Key: Facts]) { self.targets = targets }

  package mutating func add(_ line: borrowing LogLine) {
    lines += 1
    // Not the doing of what is to be learned from.
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
    if line.flag(.wouldDeny) {
      if let reason { noted[reason, default: 0] += line.count }
      if let timeMs = line.timeMs { announced.add(timeMs, line.count) }
      return
    }
    bytesUp = bytesUp &+ (line.number(.bytesUp) ?? 0)
    bytesDown = bytesDown &+ (line.number(.bytesDown) ?? 0)
    switch line.event {
    case .closed, .revoked:
      closed += 1
      if addresses.count < Self.addressesMax, let text = line.text(.address), let address = IPAddress(text) {
        addresses.insert(address)
      }
    case .failed: failed += line.count
    case .denied, .limited: if let reason { refused[reason, default: 0] += line.count }
    case .policy, .credential, .flagged, .other: return
    }
    if let startMs = line.startMs { ended.add(startMs, line.count) }
  }
}

/// The most that fell into one minute of the clock. Any sixty seconds hold at most twice that.
private struct MinutePeak: Sendable {
  /// Tunnels end in another order than they began; what began longer ago than so many minutes that had some is dropped.
  private static let minutesMax = 64

  private var recent: [(minute: Int64, count: Int)] = []
  private(set) var peak = 0

  mutating func add(_ timeMs: Int64, _ count: Int) {
    let minute = timeMs / 60_000
    if let index = recent.lastIndex(where: { $0.minute == minute }) {
      recent[index].count += count
      peak = max(peak, recent[index].count)
      return
    }
    if recent.count == Self.minutesMax {
      guard let oldest = recent.indices.min(by: { recent[$0].minute < recent[$1].minute }) else { return }
      recent.remove(at: oldest)
    }
    recent.append((minute, count))
    peak = max(peak, count)
  }
}

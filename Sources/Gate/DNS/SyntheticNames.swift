// Addresses made up for names: what the DNS responder answers, and how a connection to one is known by its name again.
// It relies on one lock, since all loops share it: a name asked for on one loop may be connected to on another.
import Flow
import Kernel
import Policy
import Synchronization
import Wire

/// A name has one index for as long as it is remembered, and by it an address in each family's network. An entry may
/// be given to another name when no connection uses it, and no resolver can still hold it: its last answer, or the end
/// of its last connection, lies further back than the longest TTL and a grace. Of those the one used longest ago is.
final class SyntheticNames: Sendable {
  /// Beyond the TTL: resolvers and programs keep addresses longer than they are told to.
  static let graceMs: UInt64 = 300_000

  fileprivate struct Entry {
    var name: HostName
    /// Owner of the query that made it up: the name counts against that share.
    var owner: ShareOwner
    var usedMs: UInt64
    var connections = 0
    /// Neighbours in the order of use, zero at an end. Entries in use by a connection stand outside of it.
    var older = 0
    var newer = 0
  }

  fileprivate struct Table {
    var indexes: [HostName: Int] = [:]
    var share = FairShare()
    /// By index; the first place is never used, as the first address of a network is not.
    var entries: [Entry?] = [nil]
    var oldest = 0
    var newest = 0
    /// The latest time that an answer or the end of a connection has brought.
    var clockMs: UInt64 = 0
    var holdMs: UInt64
  }

  /// How many names there is room for: the limit, or what the smaller network holds.
  let namesMax: Int
  private let v4: UInt32?
  private let v6: (high: UInt64, low: UInt64)?
  private let networks: [AddressPrefix]
  private let table: Mutex<Table>
  private let wasFoundFull = Atomic<Bool>(false)

  /// `networks` has at most one of a family; `served` are the families that are answered.
  init(networks: [AddressPrefix], served: [Family], namesMax: Int, ttlSeconds: UInt32) {
    self.networks = networks
    var room = namesMax
    var bases: (v4: UInt32?, v6: (high: UInt64, low: UInt64)?)
    for network in networks {
      let hostBits = min(network.address.width - network.length, 32)
      // Neither the network's own address nor the last one, which is its broadcast.
      room = min(room, (1 << hostBits) - 2)
      switch network.address {
      case .v4(let value): if served.contains(.v4) { bases.v4 = value }
      case .v6(let high, let low): if served.contains(.v6) { bases.v6 = (high, low) }
      }
    }
    v4 = bases.v4
    v6 = bases.v6
    self.namesMax = max(0, room)
    table = Mutex(Table(holdMs: UInt64(ttlSeconds) * 1000 + Self.graceMs))
  }

  /// A family without a network, or that nothing serves, has no addresses.
  func has(_ family: Family) -> Bool { family == .v4 ? v4 != nil : v6 != nil }

  /// After a reload with another TTL. Answers with the longer one are still about, so it never shrinks.
  func note(ttlSeconds: UInt32) {
    table.withLock { $0.holdMs = max($0.holdMs, UInt64(ttlSeconds) * 1000 + Self.graceMs) }
  }

  /// For an answer that is given now. nil: no network of that family, no entry that may be used again, or `owner` has
  /// its
  /// share of them.
  func address(
    of name: HostName, family: Family, for owner: ShareOwner, _ sharing: Sharing, nowMs: UInt64
  ) -> IPAddress? {
    guard has(family) else { return nil }
    let room = Table.Room(namesMax: namesMax, owner: owner, sharing: sharing)
    let index = table.withLock { $0.answer(name, nowMs: nowMs, room) }
    return index.flatMap { address($0, family) }
  }

  /// A connection to this address begins: its entry stays until `release`, which must follow. nil: no name has it.
  func retain(_ address: IPAddress) -> HostName? {
    guard let index = index(of: address) else { return nil }
    return table.withLock { $0.retain(index) }
  }

  /// The same, given back by its death. nil: no name has this address.
  func lease(_ address: IPAddress) -> NameLease? {
    retain(address).map { NameLease(name: $0, address: address, table: self) }
  }

  func release(_ address: IPAddress, nowMs: UInt64) {
    guard let index = index(of: address) else { preconditionFailure("only what was retained is released") }
    table.withLock { $0.release(index, nowMs: nowMs) }
  }

  func name(of address: IPAddress) -> HostName? {
    guard let index = index(of: address) else { return nil }
    return table.withLock { $0.entry(index)?.name }
  }

  func contains(_ address: IPAddress) -> Bool { networks.contains { $0.contains(address) } }

  /// True once: whoever finds it full first says so.
  func isFirstToFindItFull() -> Bool { !wasFoundFull.exchange(true, ordering: .relaxed) }

  // MARK: - Indexes and addresses

  private func address(_ index: Int, _ family: Family) -> IPAddress? {
    switch family {
    case .v4: v4.map { .v4($0 + UInt32(index)) }
    // The length of the prefix leaves the index its bits: see `namesMax`.
    case .v6: v6.map { .v6(high: $0.high, low: $0.low + UInt64(index)) }
    }
  }

  private func index(of address: IPAddress) -> Int? {
    let offset: UInt64
    switch (address, v4, v6) {
    case (.v4(let value), let base?, _) where value > base: offset = UInt64(value - base)
    case (.v6(let high, let low), _, let base?) where high == base.high && low > base.low: offset = low - base.low
    default: return nil
    }
    return offset <= UInt64(namesMax) ? Int(offset) : nil
  }
}

extension SyntheticNames.Table {
  fileprivate func entry(_ index: Int) -> SyntheticNames.Entry? { index < entries.count ? entries[index] : nil }

  fileprivate struct Room {
    let namesMax: Int
    let owner: ShareOwner
    let sharing: Sharing
  }

  fileprivate mutating func answer(_ name: HostName, nowMs: UInt64, _ room: Room) -> Int? {
    // The clocks of two loops may be a turn apart; the order of use must follow one.
    clockMs = max(clockMs, nowMs)
    if let index = indexes[name] {
      use(index)
      return index
    }
    guard let index = place(room) else { return nil }
    entries[index] = SyntheticNames.Entry(name: name, owner: room.owner, usedMs: clockMs)
    indexes[name] = index
    append(index)
    return index
  }

  /// A place that was never used, else the one used longest ago if that is long enough.
  private mutating func place(_ room: Room) -> Int? {
    if entries.count <= room.namesMax && share.take(of: room.namesMax, for: room.owner, room.sharing) {
      entries.append(nil)
      return entries.count - 1
    }
    let index = oldest
    guard let entry = entry(index), entry.usedMs + holdMs <= clockMs else { return nil }
    // A name that is the owner's already makes its share no larger.
    if entry.owner != room.owner {
      share.give(by: entry.owner)
      guard share.take(of: room.namesMax, for: room.owner, room.sharing) else {
        share.add(1, to: entry.owner)
        return nil
      }
    }
    remove(index)
    indexes[entry.name] = nil
    return index
  }

  fileprivate mutating func retain(_ index: Int) -> HostName? {
    guard let entry = entry(index) else { return nil }
    if entry.connections == 0 { remove(index) }
    entries[index]?.connections += 1
    return entry.name
  }

  fileprivate mutating func release(_ index: Int, nowMs: UInt64) {
    clockMs = max(clockMs, nowMs)
    guard let entry = entry(index), entry.connections > 0 else {
      preconditionFailure("an entry is released once for each time it was retained")
    }
    entries[index]?.connections -= 1
    guard entry.connections == 1 else { return }
    entries[index]?.usedMs = clockMs
    append(index)
  }

  private mutating func use(_ index: Int) {
    entries[index]?.usedMs = clockMs
    guard entry(index)?.connections == 0, newest != index else { return }
    remove(index)
    append(index)
  }

  // MARK: - The order of use

  private mutating func append(_ index: Int) {
    entries[index]?.older = newest
    entries[index]?.newer = 0
    if newest == 0 { oldest = index } else { entries[newest]?.newer = index }
    newest = index
  }

  private mutating func remove(_ index: Int) {
    guard let entry = entry(index) else { return }
    if entry.older == 0 { oldest = entry.newer } else { entries[entry.older]?.newer = entry.newer }
    if entry.newer == 0 { newest = entry.older } else { entries[entry.newer]?.older = entry.older }
  }
}

extension SyntheticNames {
  /// What the settings say. Where there are transparent listeners, a family without one is not served: who got an
  /// address of it would try a connection that nobody takes.
  convenience init(_ settings: Settings, listen: [ListenerKind: [ListenAddress]]) {
    let widths = (listen[.transparent] ?? settings.listen.transparent).map(\.address.width)
    let served: [Family] =
      widths.isEmpty ? [.v4, .v6] : (widths.contains(32) ? [.v4] : []) + (widths.contains(128) ? [.v6] : [])
    self.init(
      networks: settings.dns.networks, served: served, namesMax: settings.limits.syntheticNames,
      ttlSeconds: settings.dns.ttlSeconds)
  }
}

/// The lease that a connection to a synthetic address holds while it lives.
final class NameLease {
  let name: HostName
  private let address: IPAddress
  private let table: SyntheticNames

  fileprivate init(name: HostName, address: IPAddress, table: SyntheticNames) {
    self.name = name
    self.address = address
    self.table = table
  }

  deinit { table.release(address, nowMs: Clock.monotonicMs()) }
}

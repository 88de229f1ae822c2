// Step "resolve": names to addresses for one loop, each question once however many wait for it.
// It relies on c-ares for the asking; /etc/hosts comes first, then what is cached. Only judged names come here.
import Flow
import Kernel
import Policy
import Wire

/// Receiver that hands answers on to the slots that asked.
protocol ResolverDelegate: AnyObject {
  func resolved(_ answer: NameAnswer, for slot: Slot, token: UInt64)
  /// Of `records`: nil where they could not be had, which `absence` explains.
  func resolved(_ records: [[UInt8]], absence: Absence, for slot: Slot, token: UInt64)
}

final class Resolver: Source, AresProgress {
  enum Resolution {
    /// Both families come through `resolved`, each on its own (RFC 8305 section 3). Whoever waits no more says so by
    /// `forget`.
    case pending(NameLookup)
    case ready(v4: NameAnswer, v6: NameAnswer)
    /// Too many look-ups are under way, or the owner has its share of them.
    case full
  }

  /// What was asked of it, and what came of that.
  package struct Counts: Sendable, Equatable {
    /// Look-ups: answered by /etc/hosts, by the cache, by one that was under way, by asking servers.
    package var fromHosts: UInt64 = 0
    package var fromCache: UInt64 = 0
    package var shared: UInt64 = 0
    package var asked: UInt64 = 0
    /// Questions to servers, one a family, and how they ended.
    package var questions: UInt64 = 0
    package var found: UInt64 = 0
    package var absent: UInt64 = 0
    package var timedOut: UInt64 = 0
    package var failed: UInt64 = 0
    /// At this moment: look-ups under way, names in the cache.
    package var underWay = 0
    package var cachedNames = 0

    package static func += (sum: inout Counts, other: Counts) {
      sum.fromHosts &+= other.fromHosts
      sum.fromCache &+= other.fromCache
      sum.shared &+= other.shared
      sum.asked &+= other.asked
      sum.questions &+= other.questions
      sum.found &+= other.found
      sum.absent &+= other.absent
      sum.timedOut &+= other.timedOut
      sum.failed &+= other.failed
      sum.underWay += other.underWay
      sum.cachedNames += other.cachedNames
    }
  }

  private struct Delivery {
    let asker: NameLookup.Asker
    /// nil: records that could not be had.
    let answer: NameAnswer?
  }

  /// Look-ups under way; each has a channel of c-ares, of about 80 KiB and a descriptor or two.
  static let lookupsMax = 256
  /// Channels that are kept for the next look-up.
  private static let idleMax = 8

  private let loop: Loop
  private weak var asker: (any ResolverDelegate)?
  /// With the servers that are asked, also where the file names none.
  private var settings: Settings.Resolver
  private var slot = Slot.none
  private var hosts: HostsTable
  private var cache: NameCache
  private var lookups: [LookupSubject: NameLookup] = [:]
  private var share = FairShare()
  private var idle: [AresChannel] = []
  /// Answers that were there before their asker could wait for them.
  private var deliveries: [Delivery] = []
  private var counted = Counts()

  init(loop: Loop, settings: Settings, hosts: HostsTable) throws(SystemError) {
    self.loop = loop
    self.hosts = hosts
    self.settings = try Self.complete(settings.resolver)
    cache = NameCache(namesMax: settings.limits.dnsCacheNames)
    // A gate that could ask nobody says so at its start.
    idle.append(try AresChannel(loop: loop, settings: self.settings, reportingTo: self))
    slot = loop.register(self)
  }

  func report(to asker: any ResolverDelegate) { self.asker = asker }

  /// The loop lets go of it.
  func end() {
    for lookup in lookups.values { lookup.channel?.end() }
    for channel in idle { channel.end() }
    loop.release(slot)
    slot = .none
  }

  var counts: Counts {
    var counts = counted
    (counts.underWay, counts.cachedNames) = (lookups.count, cache.count)
    return counts
  }

  func replaceHosts(_ hosts: HostsTable) { self.hosts = hosts }

  private static func complete(_ settings: Settings.Resolver) throws(SystemError) -> Settings.Resolver {
    guard settings.servers.isEmpty else { return settings }
    var settings = settings
    settings.servers = try SystemServers.read()
    return settings
  }

  /// A reload reads the system's resolver configuration anew. Where it says what it said, look-ups go on; else they
  /// begin
  /// again with the servers that are to be asked now.
  func replaceSettings(_ settings: Settings) throws(SystemError) {
    let fresh = try Self.complete(settings.resolver)
    cache.setNamesMax(settings.limits.dnsCacheNames)
    guard fresh != self.settings else { return }
    let first = try AresChannel(loop: loop, settings: fresh, reportingTo: self)
    self.settings = fresh
    cache = NameCache(namesMax: settings.limits.dnsCacheNames)
    for channel in idle { channel.end() }
    idle = [first]
    for lookup in lookups.values {
      lookup.channel?.end()
      lookup.channel = takeChannel()
      if lookup.channel == nil { fail(lookup) } else { begin(lookup) }
    }
  }

  // MARK: - Asking

  func resolve(_ name: HostName, for slot: Slot, token: UInt64, owner: ShareOwner, _ sharing: Sharing) -> Resolution {
    if let entry = hosts.find(name) {
      counted.fromHosts &+= 1
      return .ready(v4: entry.v4, v6: entry.v6)
    }
    let v4 = cache.find(name, .v4, nowMs: loop.nowMs)
    let v6 = cache.find(name, .v6, nowMs: loop.nowMs)
    if let v4, let v6 {
      counted.fromCache &+= 1
      return .ready(v4: v4, v6: v6)
    }
    let asker = NameLookup.Asker(slot: slot, token: token)
    if let lookup = lookups[.addresses(name)] {
      counted.shared &+= 1
      lookup.askers.insert(asker)
      deliverKnown(lookup.v4, lookup.v6, to: asker)
      return .pending(lookup)
    }
    guard let lookup = makeLookup(.addresses(name), for: asker, owner, sharing) else { return known(v4, v6) ?? .full }
    (lookup.v4, lookup.v6) = (v4, v6)
    deliverKnown(v4, v6, to: asker)
    begin(lookup)
    return .pending(lookup)
  }

  /// The records of one type. They are kept for nobody: each who asks has them looked up, or shares a look-up.
  func records(
    of name: HostName, _ type: DNSType, for slot: Slot, token: UInt64, owner: ShareOwner, _ sharing: Sharing
  ) -> Resolution {
    let asker = NameLookup.Asker(slot: slot, token: token)
    let subject = LookupSubject.records(name, type)
    if let lookup = lookups[subject] {
      counted.shared &+= 1
      lookup.askers.insert(asker)
      return .pending(lookup)
    }
    guard let lookup = makeLookup(subject, for: asker, owner, sharing) else { return .full }
    begin(lookup)
    return .pending(lookup)
  }

  /// nil where there is no place for it.
  private func makeLookup(
    _ subject: LookupSubject, for asker: NameLookup.Asker, _ owner: ShareOwner, _ sharing: Sharing
  ) -> NameLookup? {
    guard share.take(of: Self.lookupsMax, for: owner, sharing) else { return nil }
    guard let channel = takeChannel() else {
      share.give(by: owner)
      return nil
    }
    counted.asked &+= 1
    let lookup = NameLookup(subject, for: asker, owner: owner, channel: channel)
    lookups[subject] = lookup
    return lookup
  }

  /// The addresses of one family are better than none.
  private func known(_ v4: NameAnswer?, _ v6: NameAnswer?) -> Resolution? {
    guard let some = v4 ?? v6, !some.addresses.isEmpty else { return nil }
    counted.fromCache &+= 1
    return .ready(v4: v4 ?? .failed(.v4), v6: v6 ?? .failed(.v6))
  }

  private func begin(_ lookup: NameLookup) {
    guard let channel = lookup.channel else { return }
    channel.lookup = lookup
    let types = lookup.unanswered
    counted.questions &+= UInt64(types.count)
    for type in types { channel.ask(lookup.subject.name, type) }
  }

  /// nil where the machine has no memory or no descriptor for it.
  private func takeChannel() -> AresChannel? {
    if let channel = idle.popLast() { return channel }
    // Whoever asks is told that there are too many: the gate can say no more about it.
    return try? AresChannel(loop: loop, settings: settings, reportingTo: self)
  }

  private func deliverKnown(_ v4: NameAnswer?, _ v6: NameAnswer?, to asker: NameLookup.Asker) {
    if let v6 { deliveries.append(Delivery(asker: asker, answer: v6)) }
    if let v4 { deliveries.append(Delivery(asker: asker, answer: v4)) }
    if v4 != nil || v6 != nil { loop.again(slot) }
  }

  // MARK: - Its end

  /// The asker waits no more. What nobody waits for is not asked any longer, and frees its place.
  func forget(_ lookup: NameLookup, for slot: Slot, token: UInt64) {
    lookup.askers.remove(NameLookup.Asker(slot: slot, token: token))
    if lookup.askers.isEmpty { end(lookup) }
  }

  private func end(_ lookup: NameLookup) {
    guard lookups[lookup.subject] === lookup else { return }
    lookups[lookup.subject] = nil
    share.give(by: lookup.owner)
    guard let channel = lookup.channel else { return }
    lookup.channel = nil
    channel.cancel()
    if idle.count < Self.idleMax { idle.append(channel) } else { channel.end() }
  }

  private func fail(_ lookup: NameLookup) {
    for asker in lookup.askers {
      if case .records = lookup.subject {
        deliveries.append(Delivery(asker: asker, answer: nil))
        continue
      }
      if lookup.v6 == nil { deliveries.append(Delivery(asker: asker, answer: .failed(.v6))) }
      if lookup.v4 == nil { deliveries.append(Delivery(asker: asker, answer: .failed(.v4))) }
    }
    loop.again(slot)
    end(lookup)
  }

  // MARK: - Replies

  func progressed(_ channel: AresChannel) {
    guard let lookup = channel.lookup else { return }
    for reply in channel.takeReplies() {
      // Once it is over, the channel may serve another look-up.
      guard channel.lookup === lookup else { return }
      switch lookup.subject {
      case .addresses: take(reply, lookup)
      case .records(_, let type): take(reply, type, lookup)
      }
    }
  }

  private func take(_ reply: LookupReply, _ lookup: NameLookup) {
    let family: Family = reply.type == .a ? .v4 : .v6
    let answer = cache.keep(reply, lookup.subject.name, family, nowMs: loop.nowMs)
    count(reply, isFound: !answer.addresses.isEmpty)
    switch family {
    case .v4: lookup.v4 = answer
    case .v6: lookup.v6 = answer
    }
    let askers = lookup.askers
    if lookup.unanswered.isEmpty { end(lookup) }
    // An asker that hears its answer may be done, and then forgets the look-up or releases others.
    for one in askers where lookup.askers.contains(one) {
      asker?.resolved(answer, for: one.slot, token: one.token)
    }
  }

  private func take(_ reply: LookupReply, _ type: DNSType, _ lookup: NameLookup) {
    let records = reply.message.isEmpty ? [] : DNSRecords.data(of: reply.message.span, type) ?? []
    count(reply, isFound: !records.isEmpty)
    end(lookup)
    for one in lookup.askers {
      asker?.resolved(records, absence: reply.absence, for: one.slot, token: one.token)
    }
  }

  private func count(_ reply: LookupReply, isFound: Bool) {
    if isFound {
      counted.found &+= 1
    } else if reply.absence != .failure {
      counted.absent &+= 1
    } else if reply.isTimeout {
      counted.timedOut &+= 1
    } else {
      counted.failed &+= 1
    }
  }

  // MARK: - Source

  func ready(_ readiness: Readiness, tag: UInt8) {}
  func deadlinePassed() {}

  func resume() {
    let waiting = deliveries
    deliveries = []
    for delivery in waiting {
      let (slot, token) = (delivery.asker.slot, delivery.asker.token)
      if let answer = delivery.answer {
        asker?.resolved(answer, for: slot, token: token)
      } else {
        asker?.resolved([], absence: .failure, for: slot, token: token)
      }
    }
  }
}

extension NameAnswer {
  fileprivate static func failed(_ family: Family) -> NameAnswer {
    NameAnswer(family: family, addresses: [], absence: .failure)
  }
}

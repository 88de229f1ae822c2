// Step "resolve": names to addresses for one loop, each question once however many wait for it.
// It relies on c-ares for the asking; /etc/hosts comes first, then what is cached. Only judged names come here.
import Flow
import Kernel
import Policy
import Wire

/// Who hands answers on to the slots that asked.
protocol ResolverDelegate: AnyObject {
  func resolved(_ answer: NameAnswer, for slot: Slot, token: UInt64)
}

final class Resolver: Source, AresProgress {
  enum Resolution {
    /// Both families come through `resolved`, each on its own (RFC 8305 section 3).
    case pending
    case ready(v4: NameAnswer, v6: NameAnswer)
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

  private struct Waiter {
    let slot: Slot
    let token: UInt64
  }

  private struct Lookup {
    var waiters: [Waiter] = []
    var v4: NameAnswer?
    var v6: NameAnswer?
  }

  private struct Delivery {
    let waiter: Waiter
    let answer: NameAnswer
  }

  private let loop: Loop
  private weak var asker: (any ResolverDelegate)?
  private var channel: AresChannel
  private var settings: Settings.Resolver
  private var slot = Slot.none
  private var hosts: HostsTable
  private var cache: NameCache
  private var lookups: [HostName: Lookup] = [:]
  /// Answers that were there before their asker could wait for them.
  private var deliveries: [Delivery] = []
  private var counted = Counts()

  init(loop: Loop, settings: Settings, hosts: HostsTable) throws(SystemError) {
    self.loop = loop
    self.hosts = hosts
    self.settings = settings.resolver
    cache = NameCache(namesMax: settings.limits.dnsCacheNames)
    channel = try AresChannel(loop: loop, settings: settings.resolver)
    slot = loop.register(self)
    channel.report(to: self)
  }

  func report(to asker: any ResolverDelegate) { self.asker = asker }

  /// The loop lets go of it.
  func end() {
    channel.cancel()
    loop.release(slot)
    slot = .none
  }

  var counts: Counts {
    var counts = counted
    (counts.underWay, counts.cachedNames) = (lookups.count, cache.count)
    return counts
  }

  func replaceHosts(_ hosts: HostsTable) { self.hosts = hosts }

  /// A reload reads the system's resolver configuration anew; questions under way end without an answer.
  func replaceSettings(_ settings: Settings) throws(SystemError) {
    if settings.resolver.servers.isEmpty { try requireSystemSettings() }
    let fresh = try AresChannel(loop: loop, settings: settings.resolver)
    if settings.resolver != self.settings { cache = NameCache(namesMax: settings.limits.dnsCacheNames) }
    self.settings = settings.resolver
    fresh.report(to: self)
    let unanswered = lookups
    channel.cancel()
    channel = fresh
    lookups = [:]
    for lookup in unanswered.values {
      for waiter in lookup.waiters {
        if lookup.v6 == nil {
          deliveries.append(Delivery(waiter: waiter, answer: .failed(.v6)))
        }
        if lookup.v4 == nil {
          deliveries.append(Delivery(waiter: waiter, answer: .failed(.v4)))
        }
      }
    }
    if !deliveries.isEmpty { loop.again(slot) }
  }

  /// Where there are some that cannot be read, c-ares would ask the loopback.
  private func requireSystemSettings() throws(SystemError) {
    let path = "/etc/resolv.conf"
    if FileStamp(path: path) != nil { try FileBytes.require(path) }
  }

  func resolve(_ name: HostName, for asker: Slot, token: UInt64) -> Resolution {
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
    let waiter = Waiter(slot: asker, token: token)
    if var lookup = lookups[name] {
      counted.shared &+= 1
      lookup.waiters.append(waiter)
      lookups[name] = lookup
      deliverKnown(lookup.v4, lookup.v6, to: waiter)
    } else {
      counted.asked &+= 1
      counted.questions &+= (v4 == nil ? 1 : 0) + (v6 == nil ? 1 : 0)
      lookups[name] = Lookup(waiters: [waiter], v4: v4, v6: v6)
      deliverKnown(v4, v6, to: waiter)
      if v6 == nil { channel.ask(name, .v6) }
      if v4 == nil { channel.ask(name, .v4) }
      if channel.hasReplies { loop.again(slot) }
      armTimeout()
    }
    return .pending
  }

  private func deliverKnown(_ v4: NameAnswer?, _ v6: NameAnswer?, to waiter: Waiter) {
    if let v6 { deliveries.append(Delivery(waiter: waiter, answer: v6)) }
    if let v4 { deliveries.append(Delivery(waiter: waiter, answer: v4)) }
    if v4 != nil || v6 != nil { loop.again(slot) }
  }

  // MARK: - Replies

  func progressed() {
    take(channel.takeReplies())
    armTimeout()
  }

  private func take(_ replies: [LookupReply]) {
    for reply in replies {
      count(reply)
      cache.keep(reply, nowMs: loop.nowMs)
      guard var lookup = lookups[reply.name] else { continue }
      let answer = reply.answer
      switch answer.family {
      case .v4: lookup.v4 = answer
      case .v6: lookup.v6 = answer
      }
      let isDone = lookup.v4 != nil && lookup.v6 != nil
      lookups[reply.name] = isDone ? nil : lookup
      for waiter in lookup.waiters { asker?.resolved(answer, for: waiter.slot, token: waiter.token) }
    }
  }

  private func count(_ reply: LookupReply) {
    if !reply.answer.addresses.isEmpty {
      counted.found &+= 1
    } else if reply.answer.absence != .failure {
      counted.absent &+= 1
    } else if reply.isTimeout {
      counted.timedOut &+= 1
    } else {
      counted.failed &+= 1
    }
  }

  private func armTimeout() {
    loop.setDeadline(slot, atMs: channel.timeoutMs().map { loop.nowMs + $0 } ?? .max)
  }

  // MARK: - Source

  func ready(_ readiness: Readiness, tag: UInt8) {}

  func deadlinePassed() { channel.process(reading: AresChannel.noSocket, writing: AresChannel.noSocket) }

  func resume() {
    let waiting = deliveries
    deliveries = []
    for delivery in waiting {
      asker?.resolved(delivery.answer, for: delivery.waiter.slot, token: delivery.waiter.token)
    }
    progressed()
  }
}

extension NameAnswer {
  fileprivate static func failed(_ family: Family) -> NameAnswer {
    NameAnswer(family: family, addresses: [], absence: .failure)
  }
}

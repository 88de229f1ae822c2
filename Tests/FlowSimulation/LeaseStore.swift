// The group's store as a model: the same operations as the gate's Redis script, on a clock that a simulation moves.
// Gate/SharedLimits/LimitsScript.swift is the other copy; the client tests hold that one to a real server.

package import Policy

package struct LeaseStore {
  package var clockUs: UInt64 = 1_700_000_000_000_000
  private var buckets: [LeaseKey: UInt64] = [:]
  private var slots: [LeaseKey: [Int: (count: Int, untilUs: UInt64)]] = [:]
  private var gates: [Int: UInt64] = [:]
  private var mark = ""
  private var bornUs: UInt64 = 0

  package init() {}

  /// It was restarted without its data.
  package mutating func forget() {
    let clockUs = clockUs
    self = LeaseStore()
    self.clockUs = clockUs
  }

  /// Another copy of it took over, which had not heard of the last moments.
  package mutating func fallBack(to old: LeaseStore) {
    let clockUs = clockUs
    self = old
    self.clockUs = clockUs
  }

  package mutating func perform(_ request: LeaseRequest, by gate: Int) -> LeaseReply {
    switch (request.command, request.key) {
    case (.announce(let known, let fresh), _): return announce(gate, known, fresh)
    case (.tokens(let asked), let key?): return tokens(asked, key)
    case (.slots(let asked), let key?): return slots(asked, key, gate)
    default:
      gates[gate] = nil
      return .left
    }
  }

  private mutating func announce(_ gate: Int, _ known: String, _ fresh: String) -> LeaseReply {
    if mark.isEmpty {
      mark = fresh
      bornUs = known.isEmpty ? 0 : clockUs
    } else if !known.isEmpty, known != mark, bornUs == 0 {
      bornUs = clockUs
    }
    gates[gate] = clockUs + LeaseTimes.gateExpiryMs * 1000
    gates = gates.filter { $0.value > clockUs }
    return .group(gates: gates.count, mark: mark, bornUs: bornUs)
  }

  private mutating func tokens(_ asked: TokensAsked, _ key: LeaseKey) -> LeaseReply {
    let window = asked.limit.windowUs
    if asked.untilUs > 0, clockUs > asked.untilUs {
      return .tokens(granted: nil, fullAtUs: buckets[key] ?? 0, nowUs: clockUs)
    }
    let perMinute = Double(asked.limit.perMinute)
    func cost(_ count: Int) -> Double { Double(count) * 60_000_000 / perMinute }
    var full = buckets[key] ?? (asked.bornUs > 0 ? asked.bornUs + window : 0)
    full = max(full, asked.seenFullAtUs, clockUs) + UInt64(cost(asked.charge).rounded(.up))
    full = min(full, clockUs + window * 2)
    full = max(clockUs, full - min(full, UInt64(cost(asked.back))))
    let room = clockUs + window - min(full, clockUs + window)
    let granted = min(asked.want, Int(Double(room) * perMinute / 60_000_000))
    full += min(room, UInt64(cost(granted).rounded(.up)))
    buckets[key] = full
    return .tokens(granted: granted, fullAtUs: full, nowUs: clockUs)
  }

  private mutating func slots(_ asked: SlotsAsked, _ key: LeaseKey, _ gate: Int) -> LeaseReply {
    var held = (slots[key] ?? [:]).filter { $0.value.untilUs > clockUs }
    let others = held.reduce(0) { $0 + ($1.key == gate ? 0 : $1.value.count) }
    let isYoung = asked.bornUs > 0 && clockUs < asked.bornUs + LeaseTimes.slotGraceMs * 1000
    let mine = isYoung ? asked.live : max(asked.live, min(asked.want, asked.limit - others))
    held[gate] = mine > 0 ? (mine, clockUs + LeaseTimes.slotExpiryMs * 1000) : nil
    slots[key] = held
    return .slots(mine: mine, others: others)
  }
}

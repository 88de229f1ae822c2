// Random calls on the table beside a model that is too simple to be wrong; a failure prints the seed that replays it.

import Flow
import Policy
import Testing
import Wire

@testable import Gate

private struct Choices: RandomNumberGenerator {
  var state: UInt64
  /// SplitMix64.
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = (state ^ state >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }
}

/// A list of what there is, searched whole for each question.
private struct Model {
  struct Held {
    var name: HostName
    var index: Int
    var usedMs: UInt64
    /// Tells the order of uses at one time.
    var tick: Int
    var connections = 0
  }

  let namesMax: Int
  let holdMs: UInt64
  var held: [Held] = []
  var nowMs: UInt64 = 0
  var tick = 0

  mutating func answer(_ name: HostName) -> Int? {
    tick += 1
    if let at = held.firstIndex(where: { $0.name == name }) {
      held[at].usedMs = nowMs
      held[at].tick = tick
      return held[at].index
    }
    var index = held.count + 1
    if held.count == namesMax {
      let unused = held.filter { $0.connections == 0 }
      guard let oldest = unused.min(by: { $0.tick < $1.tick }), oldest.usedMs + holdMs <= nowMs else { return nil }
      index = oldest.index
      held.removeAll { $0.index == index }
    }
    held.append(Held(name: name, index: index, usedMs: nowMs, tick: tick))
    return index
  }

  mutating func retain(_ index: Int) -> HostName? {
    guard let at = held.firstIndex(where: { $0.index == index }) else { return nil }
    held[at].connections += 1
    return held[at].name
  }

  mutating func release(_ index: Int) {
    guard let at = held.firstIndex(where: { $0.index == index }) else { return }
    tick += 1
    held[at].connections -= 1
    if held[at].connections > 0 { return }
    held[at].usedMs = nowMs
    held[at].tick = tick
  }
}

@Suite struct SyntheticNamesModelTests {
  @Test(arguments: 0..<UInt64(40))
  func theTableDoesWhatTheModelDoes(seed: UInt64) throws {
    var choices = Choices(state: seed)
    let namesMax = Int.random(in: 1...12, using: &choices)
    let networks = [
      AddressPrefix(.v4(0x0a00_0000), length: 28), AddressPrefix(.v6(high: 1 << 60, low: 0), length: 64),
    ]
    let table = SyntheticNames(networks: networks, served: [.v4, .v6], namesMax: namesMax, ttlSeconds: 10)
    var model = Model(namesMax: namesMax, holdMs: 10_000 + SyntheticNames.graceMs)
    let names = try (0..<20).map { try HostName("n\($0).example") }
    var retained: [IPAddress] = []
    var reused = 0

    func address(_ index: Int, _ family: Family) -> IPAddress {
      family == .v4 ? .v4(0x0a00_0000 + UInt32(index)) : .v6(high: 1 << 60, low: UInt64(index))
    }
    func index(_ address: IPAddress) -> Int {
      switch address {
      case .v4(let value): Int(value & 15)
      case .v6(_, let low): Int(low)
      }
    }

    for step in 0..<2_000 {
      let family: Family = Bool.random(using: &choices) ? .v4 : .v6
      let place = address(Int.random(in: 0...15, using: &choices), family)
      switch Int.random(in: 0..<8, using: &choices) {
      case 0..<4:
        model.nowMs += UInt64.random(in: 0...model.holdMs / 8, using: &choices)
        guard let asked = names.randomElement(using: &choices) else { continue }
        let before = model.held.map(\.name)
        let expected = model.answer(asked)
        if before.count == namesMax && model.held.map(\.name) != before { reused += 1 }
        let got = table.address(
          of: asked, family: family, for: ShareOwner(client: "one"), .addresses, nowMs: model.nowMs)
        #expect(got == expected.map { address($0, family) }, "seed \(seed), step \(step)")
      case 4, 5:
        let expected = model.retain(index(place))
        #expect(table.retain(place) == expected, "seed \(seed), step \(step)")
        if expected != nil { retained.append(place) }
      case 6:
        guard let at = retained.indices.randomElement(using: &choices) else { continue }
        let place = retained.remove(at: at)
        model.nowMs += UInt64.random(in: 0...model.holdMs / 8, using: &choices)
        model.release(index(place))
        table.release(place, nowMs: model.nowMs)
      default:
        #expect(
          table.name(of: place) == model.held.first { $0.index == index(place) }?.name, "seed \(seed), step \(step)")
      }
    }
    // A run in which nothing was ever reused would show nothing.
    #expect(reused > 0 || namesMax == 12, "seed \(seed)")
  }
}

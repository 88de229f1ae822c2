// Gates that share a limit hold to it together: the bound of docs/at-scale.md, under every fault, seed by seed.

import FlowSimulation
import Policy
import Testing

@Suite struct LeaseTests {
  /// Above what the limit grants from the moment the bucket is first empty: what gates hold, and what gathers
  /// in it while those that found it empty wait.
  private static func slack(_ perMinute: Int, gates: Int) -> Int { perMinute / 10 + gates }

  @Test(arguments: [10, 60, 600, 6_000, 60_000]) func eachMinuteIsWithinATwentiethOfTheLimit(perMinute: Int) throws {
    var world = LeaseWorld(gates: 10, LeaseWorld.limit(perMinute: perMinute), seed: UInt64(perMinute))
    // The first minute spends the burst as well.
    world.run(seconds: 75) { $0.hot = [$0.choose(below: 10)] }
    for minute in 0..<3 {
      world.run(seconds: 60) { $0.hot = [$0.choose(below: 10)] }
      let sum = world.spent.suffix(60).reduce(0, +)
      let off = max(perMinute / 20, 1)
      #expect(abs(sum - perMinute) <= off, "minute \(minute): \(sum) of \(perMinute)")
    }
  }

  @Test func aShortBurstIsLeftToTheWholeGroup() throws {
    var world = LeaseWorld(gates: 4, LeaseWorld.limit(perMinute: 600, burst: 20), seed: 7)
    world.run(seconds: 5) { $0.hot = [] }
    world.run(seconds: 1) { $0.hot = [0, 1, 2, 3] }
    #expect((20...31).contains(world.spent.suffix(1).reduce(0, +)), "\(world.spent.suffix(1))")
    world.run(seconds: 60)
    let sum = world.spent.suffix(60).reduce(0, +)
    #expect(abs(sum - 600) <= 30, "\(sum)")
  }

  @Test(arguments: LeaseWorld.Fault.allCases) func noFaultLetsOutMoreThanTheBound(fault: LeaseWorld.Fault) throws {
    for (perMinute, seeds) in [(60, 0..<1), (600, 6..<7), (12_000, 12..<13)] {
      for seed in seeds { try hold(fault, perMinute, UInt64(seed)) }
    }
  }

  private func hold(_ fault: LeaseWorld.Fault, _ perMinute: Int, _ seed: UInt64) throws {
    let count = 5
    var world = LeaseWorld(
      gates: count, LeaseWorld.limit(perMinute: perMinute), seed: seed, lossPercent: fault == .none ? 1 : 0)
    func mix(_ world: inout LeaseWorld) { world.hot = [world.choose(below: count), world.choose(below: count)] }
    world.run(seconds: 75, each: mix)
    let emptyAt = world.spent.count
    for _ in 0..<3 {
      world.begin(fault)
      world.run(seconds: 10, each: mix)
      world.end(fault)
      world.run(seconds: 12, each: mix)
    }
    #expect(world.isShared, "seed \(seed): the store was back for twelve seconds")
    let rate = Double(perMinute) / 60
    // A gate that is cut off alone has its share beside the others; a newcomer shares before others count it.
    let more = fault == .cutOff || fault == .none ? 3 * 5.5 * rate / Double(count) : 0
    var sum = 0.0
    for (second, spent) in world.spent[emptyAt...].enumerated() {
      sum += Double(spent)
      let bound = rate * Double(second + 1) + Double(Self.slack(perMinute, gates: count)) + more
      #expect(sum <= bound, "seed \(seed), \(fault), second \(second): \(sum) of \(bound)")
      if sum > bound { return }
    }
    // A quiet minute behind it all is worth a whole limit again.
    world.run(seconds: 60, each: mix)
    let last = world.spent.suffix(60).reduce(0, +)
    #expect(Double(last) >= Double(perMinute) * 0.9, "seed \(seed), \(fault): \(last) of \(perMinute)")
  }

  @Test func whileTheStoreIsGoneARefusingGateLetsNothingOut() {
    var world = LeaseWorld(gates: 3, LeaseWorld.limit(perMinute: 600), onLoss: .refuse, seed: 3)
    world.run(seconds: 80) { $0.hot = [0, 1, 2] }
    world.begin(.stopped)
    world.run(seconds: 2)
    world.run(seconds: 8)
    #expect(world.spent.suffix(8).allSatisfy { $0 == 0 })
    world.end(.stopped)
    world.run(seconds: 1)
    #expect(world.isShared)
    world.run(seconds: 1)
    #expect(world.spent.suffix(1).reduce(0, +) > 0)
  }

  @Test func unspentTokensGoBackAndNothingIsAskedMore() {
    var world = LeaseWorld(gates: 2, LeaseWorld.limit(perMinute: 6_000), seed: 5)
    world.run(seconds: 90) { $0.hot = [0] }
    world.run(seconds: 5) { $0.hot = [] }
    #expect(world.heldTokens == 0)
    let before = world.operations
    world.run(seconds: 60)
    // The two gates announce themselves, and that is all.
    #expect(world.operations - before <= 14)
  }

  @Test func tokensInHandAreNoOlderWhileTheStoreIsGone() {
    // More than the load takes, so that the gate holds a lease.
    var world = LeaseWorld(gates: 2, LeaseWorld.limit(perMinute: 60_000_000), seed: 9)
    world.run(seconds: 3) { $0.hot = [0] }
    #expect(world.heldTokens > 0)
    world.begin(.stopped)
    world.run(seconds: 4) { $0.hot = [] }
    #expect(world.heldTokens == 0)
    world.end(.stopped)
    world.run(seconds: 2)
    #expect(world.isShared)
  }

  @Test(arguments: [1, 4, 10]) func aBusyLimitCostsFewOperations(gates: Int) {
    var world = LeaseWorld(gates: gates, LeaseWorld.limit(perMinute: 10_000), seed: 11)
    world.run(seconds: 90) { $0.hot = [$0.choose(below: gates)] }
    let (operations, spent) = (world.operations, world.spent.reduce(0, +))
    world.run(seconds: 60) { $0.hot = [$0.choose(below: gates)] }
    let cost = Double(world.operations - operations) * 1000 / Double(world.spent.reduce(0, +) - spent)
    #expect(cost <= 20, "\(cost) operations per 1,000 requests")
  }

  // MARK: - Slots

  @Test(arguments: LeaseWorld.Fault.allCases) func slotsAreNeverMoreThanThereAre(fault: LeaseWorld.Fault) {
    for seed in UInt64(0)..<2 {
      let limit = 12
      var world = LeaseWorld(gates: 4, LeaseWorld.limit(perMinute: 60, concurrent: limit), seed: seed)
      func mix(_ world: inout LeaseWorld) { world.hot = [world.choose(below: 4), world.choose(below: 4)] }
      world.run(seconds: 30, each: mix)
      for _ in 0..<3 {
        world.begin(fault)
        world.run(seconds: 10, each: mix)
        world.end(fault)
        world.run(seconds: 20, each: mix)
      }
      // What was free when the store went is divided by what each gate had heard, up to a renewal ago.
      let most = [.none, .killed, .clockBack].contains(fault) ? limit : limit + limit / 4
      #expect(world.enteredMost <= most, "seed \(seed), \(fault): \(world.enteredMost) of \(limit)")
      #expect(world.enteredMost >= limit - 2, "seed \(seed): the slots were hardly used")
    }
  }
}

// Shares of one resource: what one may hold, what others get however much he holds, and turns in a queue.

import Testing
import Wire

@testable import Policy

@Suite struct FairShareTests {
  private let owners = (0..<6).map { ShareOwner(client: "client\($0)") }

  /// What each holds who takes as much as he gets, one after the other.
  private func greedy(_ sharing: Sharing, of capacity: Int, _ count: Int) -> [Int] {
    var share = FairShare()
    for owner in owners.prefix(count) { while share.take(of: capacity, for: owner, sharing) {} }
    return owners.prefix(count).map { share.held(by: $0) }
  }

  @Test func howeverMuchTheFirstOnesTakeSomethingIsLeft() {
    #expect(greedy(.clients, of: 200, 6) == [100, 50, 25, 12, 6, 3])
    #expect(greedy(.addresses, of: 200, 3) == [150, 38, 12])
    #expect(greedy(.clients, of: 6, 4) == [3, 1, 1, 1])
    for capacity in 1...64 {
      for count in 1...3 {
        let taken = greedy(.clients, of: capacity, count)
        #expect(taken.reduce(0, +) <= capacity && taken.allSatisfy { $0 > 0 } == (capacity >= count), "\(capacity)")
      }
    }
  }

  @Test func aFewPlacesAreThereForAnyAddress() {
    #expect(greedy(.addresses, of: 16, 2) == [16, 0])
    #expect(greedy(.addresses, of: 3, 2) == [3, 0])
  }

  @Test func whenAllAskAgainAndAgainAllGetTheSame() {
    var share = FairShare()
    while share.take(of: 300, for: owners[0], .clients) {}
    for _ in 0..<300 {
      // One place of each comes back, and each tries to take as much as he can.
      for owner in owners.prefix(2) {
        if share.held(by: owner) > 0 { share.give(by: owner) }
        for other in owners.prefix(2).reversed() { _ = share.take(of: 300, for: other, .clients) }
      }
    }
    #expect(owners.prefix(2).allSatisfy { (95...105).contains(share.held(by: $0)) }, "a third each")
  }

  @Test func whatIsGivenBackMayBeTakenAndALowerLimitHolds() {
    var share = FairShare()
    let isTaken = share.take(60, of: 100, for: owners[0], .addresses)
    let isTakenBeyondTheLimit = share.take(of: 50, for: owners[1], .clients)
    #expect(isTaken && !isTakenBeyondTheLimit, "a reload has lowered the limit")
    share.give(60, by: owners[0])
    let isTakenThen = share.take(of: 50, for: owners[1], .clients)
    #expect(isTakenThen && share.used == 1)
  }

  @Test func addressesOfOneNetworkOfIPv6AreOne() throws {
    func owner(_ text: String) throws -> ShareOwner { ShareOwner(address: try #require(IPAddress(text))) }
    #expect(try owner("2001:db8::1") == owner("2001:db8::ffff:1") && owner("2001:db8::1") != owner("2001:db8:0:1::1"))
    #expect(try owner("192.0.2.1") != owner("192.0.2.2"))
  }

  @Test func aQueueServesItsOwnersInTurns() {
    var queue = FairQueue<Int>()
    for number in 0..<5 { _ = queue.append(number, of: 100, for: owners[0], .clients) }
    for number in 10..<12 { _ = queue.append(number, of: 100, for: owners[1], .clients) }
    let first = (0..<4).map { _ in queue.popFirst() }
    #expect(first == [0, 10, 1, 11] && queue.count == 3)
    queue.removeAll { $0 == 3 }
    let rest = (0..<3).map { _ in queue.popFirst() }
    #expect(rest == [2, 4, nil] && queue.isEmpty)
    let taken = (0..<4).map { queue.append($0, of: 4, for: owners[0], .clients) }
    let isTakenOfAnother = queue.append(9, of: 4, for: owners[1], .clients)
    #expect(taken == [true, true, false, false] && isTakenOfAnother)
  }
}

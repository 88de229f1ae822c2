// The table of made-up addresses, under a clock of the test's own.

import Flow
import Policy
import Testing
import Wire

@testable import Gate

private func name(_ text: String) throws -> HostName { try HostName(text) }
private let v4 = AddressPrefix(.v4(0xc612_0000), length: 15)
private let v6 = AddressPrefix(.v6(high: 0xfd73_6c75_6963_0000, low: 0), length: 64)

private func table(
  _ networks: [AddressPrefix] = [v4, v6], served: [Family] = [.v4, .v6], namesMax: Int = 4
) -> SyntheticNames {
  SyntheticNames(networks: networks, served: served, namesMax: namesMax, ttlSeconds: 60)
}

/// 60 seconds of TTL and the grace.
private let holdMs: UInt64 = 360_000

@Suite struct SyntheticNamesTests {
  @Test func oneClientLeavesTheOthersHalf() throws {
    let table = table(namesMax: 6)
    func ask(_ number: Int, for owner: String, atMs: UInt64 = 1) throws -> IPAddress? {
      table.address(
        of: try name("n\(number).example"), family: .v4, for: ShareOwner(client: owner), .clients, nowMs: atMs)
    }
    for number in 0..<3 { #expect(try ask(number, for: "one") != nil) }
    #expect(try ask(3, for: "one") == nil, "it has its share")
    #expect(try ask(2, for: "one") != nil, "what it knows it may ask again")
    #expect(try ask(10, for: "two") != nil && ask(11, for: "two") == nil, "it may hold as much as is free")
    #expect(try ask(20, for: "three") != nil && ask(30, for: "four") != nil, "everyone may have one")
    #expect(try ask(40, for: "five") == nil, "the table is full")
    // The oldest is free again, and makes room for its owner alone while that one has its share.
    let later = UInt64(60_000) + SyntheticNames.graceMs + 1
    #expect(try ask(12, for: "two", atMs: later) == nil)
    #expect(try ask(3, for: "one", atMs: later) != nil)
    #expect(try ask(40, for: "five", atMs: later) != nil)
  }

  @Test func aNameHasOneAddressAFamilyAndAnAddressOneName() throws {
    let table = table()
    let (a, b) = (try name("a.example"), try name("b.example"))
    #expect(
      table.address(of: a, family: .v4, for: ShareOwner(client: "one"), .addresses, nowMs: 1) == IPAddress("198.18.0.1")
    )
    #expect(
      table.address(of: b, family: .v6, for: ShareOwner(client: "one"), .addresses, nowMs: 1)
        == IPAddress("fd73:6c75:6963::2"))
    #expect(
      table.address(of: a, family: .v6, for: ShareOwner(client: "one"), .addresses, nowMs: 2)
        == IPAddress("fd73:6c75:6963::1"))
    #expect(
      table.address(of: b, family: .v4, for: ShareOwner(client: "one"), .addresses, nowMs: 2) == IPAddress("198.18.0.2")
    )
    for (text, owner) in [("198.18.0.1", a), ("fd73:6c75:6963::1", a), ("198.18.0.2", b), ("fd73:6c75:6963::2", b)] {
      #expect(table.name(of: try #require(IPAddress(text))) == owner)
    }
    for text in [
      "198.18.0.0", "198.18.0.3", "198.17.255.255", "198.19.255.255", "fd73:6c75:6963::", "fd73:6c75:6963::3",
      "fd73:6c75:6963:1::1", "::1",
    ] {
      #expect(table.name(of: try #require(IPAddress(text))) == nil, "\(text)")
      #expect(table.retain(try #require(IPAddress(text))) == nil, "\(text)")
    }
  }

  @Test func whatIsInsideTheNetworks() throws {
    let table = table()
    for text in ["198.18.0.0", "198.19.255.255", "fd73:6c75:6963::", "fd73:6c75:6963:0:ffff::"] {
      #expect(table.contains(try #require(IPAddress(text))), "\(text)")
    }
    for text in ["198.20.0.0", "198.17.255.255", "fd73:6c75:6963:1::", "::ffff:198.18.0.1"] {
      #expect(!table.contains(try #require(IPAddress(text))), "\(text)")
    }
  }

  @Test func aFamilyThatIsNotServedHasNoAddresses() throws {
    let only = table(served: [.v4])
    #expect(only.has(.v4) && !only.has(.v6))
    #expect(
      only.address(of: try name("a.example"), family: .v6, for: ShareOwner(client: "one"), .addresses, nowMs: 1) == nil)
    #expect(
      table([v6]).address(of: try name("a.example"), family: .v4, for: ShareOwner(client: "one"), .addresses, nowMs: 1)
        == nil)
    #expect(
      table([]).address(of: try name("a.example"), family: .v4, for: ShareOwner(client: "one"), .addresses, nowMs: 1)
        == nil)
  }

  @Test func neitherTheFirstAddressNorTheBroadcastIsGivenOut() throws {
    let small = table([AddressPrefix(.v4(0xc000_0200), length: 28)], namesMax: 1000)
    #expect(small.namesMax == 14)
    var seen: Set<IPAddress> = []
    for number in 0..<14 {
      seen.insert(
        try #require(
          small.address(
            of: try name("n\(number).example"), family: .v4, for: ShareOwner(client: "one"), .addresses, nowMs: 1)))
    }
    #expect(seen.count == 14)
    #expect(!seen.contains(.v4(0xc000_0200)) && !seen.contains(.v4(0xc000_020f)))
    #expect(
      small.address(of: try name("one-more.example"), family: .v4, for: ShareOwner(client: "one"), .addresses, nowMs: 1)
        == nil)
  }

  @Test func aFreshAnswerIsNotReusedAndTheOldestIsReusedFirst() throws {
    let table = table()
    for (number, at) in [(1, 10), (2, 20), (3, 30), (4, 40)] {
      _ = table.address(
        of: try name("n\(number).example"), family: .v4, for: ShareOwner(client: "one"), .addresses, nowMs: UInt64(at))
    }
    let late = try name("late.example")
    #expect(table.address(of: late, family: .v4, for: ShareOwner(client: "one"), .addresses, nowMs: holdMs + 9) == nil)
    // Asked for again, the first is fresh again, and the second is the oldest.
    #expect(
      table.address(
        of: try name("n1.example"), family: .v6, for: ShareOwner(client: "one"), .addresses, nowMs: holdMs + 10) != nil)
    #expect(table.address(of: late, family: .v4, for: ShareOwner(client: "one"), .addresses, nowMs: holdMs + 19) == nil)
    #expect(
      table.address(of: late, family: .v4, for: ShareOwner(client: "one"), .addresses, nowMs: holdMs + 20)
        == IPAddress("198.18.0.2"))
    #expect(table.name(of: .v4(0xc612_0002)) == late)
    #expect(
      table.address(
        of: try name("n2.example"), family: .v4, for: ShareOwner(client: "one"), .addresses, nowMs: holdMs + 30)
        == IPAddress("198.18.0.3"))
  }

  @Test func aConnectionKeepsItsName() throws {
    let table = table(namesMax: 1)
    let (one, other) = (try name("one.example"), try name("other.example"))
    let address = try #require(
      table.address(of: one, family: .v6, for: ShareOwner(client: "one"), .addresses, nowMs: 0))
    #expect(table.retain(address) == one)
    #expect(table.retain(.v4(0xc612_0001)) == one)
    #expect(
      table.address(of: other, family: .v4, for: ShareOwner(client: "one"), .addresses, nowMs: 10 * holdMs) == nil)
    table.release(address, nowMs: 11 * holdMs)
    #expect(
      table.address(of: other, family: .v4, for: ShareOwner(client: "one"), .addresses, nowMs: 11 * holdMs) == nil)
    // The end of a connection counts as a use, also where no name was asked for in a long time.
    table.release(.v4(0xc612_0001), nowMs: 15 * holdMs)
    #expect(
      table.address(of: other, family: .v4, for: ShareOwner(client: "one"), .addresses, nowMs: 16 * holdMs - 1) == nil)
    #expect(
      table.address(of: other, family: .v4, for: ShareOwner(client: "one"), .addresses, nowMs: 16 * holdMs) != nil)
    #expect(table.name(of: address) == other)
  }

  @Test func aLongerTTLHoldsLongerAndAShorterOneDoesNotCutWhatWasPromised() throws {
    let table = table(namesMax: 1)
    _ = table.address(of: try name("one.example"), family: .v4, for: ShareOwner(client: "one"), .addresses, nowMs: 0)
    table.note(ttlSeconds: 600)
    table.note(ttlSeconds: 1)
    #expect(
      table.address(
        of: try name("other.example"), family: .v4, for: ShareOwner(client: "one"), .addresses, nowMs: 899_999) == nil)
    #expect(
      table.address(
        of: try name("other.example"), family: .v4, for: ShareOwner(client: "one"), .addresses, nowMs: 900_000) != nil)
  }
}

// How much of a shared resource one client may hold: one rule for connections, look-ups, names, queues and held bytes.
// It relies on the caller for a lock where loops share it, and for giving back exactly what was taken.
package import Wire

/// Owner of a share: a client by its name, or an address where no more is known.
package struct ShareOwner: Hashable, Sendable {
  /// Drawn with the key of this process, so nobody can choose a name that has the digest of another.
  private let digest: Int

  private init(_ kind: UInt8, _ add: (inout Hasher) -> Void) {
    var hasher = Hasher()
    hasher.combine(kind)
    add(&hasher)
    digest = hasher.finalize()
  }

  package init(client name: String) { self.init(0) { $0.combine(name) } }

  /// A host has a whole /64 of IPv6 to choose from (RFC 6177), and so that counts as one address.
  package init(address: IPAddress) {
    switch address {
    case .v4(let value): self.init(1) { $0.combine(value) }
    case .v6(let high, _): self.init(2) { $0.combine(high) }
    }
  }

  /// For names that are refused: however many its owner asks for, those that it is allowed have a share of their own.
  package var ofRefusals: ShareOwner { ShareOwner(4) { $0.combine(digest) } }

  /// The gate's own business.
  package static let gate = ShareOwner(3) { _ in }
}

/// Among whom a resource is shared. With each, everyone may hold a multiple of what he leaves free: however much the
/// first ones hold, something is left for the next, and when many ask, all get the same.
package enum Sharing: Sendable {
  /// Clients that the policy tells apart: each may hold as much as is free. One alone gets a half, two get a third
  /// each.
  case clients
  /// The policy knows one client, and its addresses are told apart: each may hold three times what is free. One alone
  /// gets three quarters, two get three sevenths each. A small number of places is no one's share.
  case addresses

  fileprivate func allows(_ held: Int, free: Int) -> Bool {
    switch self {
    case .clients: held <= free
    case .addresses: held / 3 <= free
    }
  }

  /// So many places everyone may have while there are any.
  fileprivate var alwaysMax: Int { self == .clients ? 1 : 16 }
}

package struct FairShare: Sendable {
  package private(set) var used = 0
  private var held: [ShareOwner: Int] = [:]

  package init() {}

  /// False: none is free, or the owner has its share.
  package mutating func take(_ count: Int = 1, of capacity: Int, for owner: ShareOwner, _ sharing: Sharing) -> Bool {
    let free = capacity - used - count
    guard free >= 0 else { return false }
    let holds = held[owner, default: 0] + count
    guard holds <= sharing.alwaysMax || sharing.allows(holds, free: free) else { return false }
    add(count, to: owner)
    return true
  }

  /// Whatever the share: for what is there already.
  package mutating func add(_ count: Int, to owner: ShareOwner) {
    used += count
    held[owner, default: 0] += count
  }

  package mutating func give(_ count: Int = 1, by owner: ShareOwner) {
    let left = held[owner, default: 0] - count
    precondition(left >= 0, "no more is given back than was taken")
    used -= count
    held[owner] = left > 0 ? left : nil
  }

  package func held(by owner: ShareOwner) -> Int { held[owner, default: 0] }
}

/// Waiting elements, in turns: one of each owner, however many of one there are.
package struct FairQueue<Element> {
  private var waiting: [ShareOwner: [Element]] = [:]
  /// Owners of whom something waits.
  private var turns: [ShareOwner] = []
  private var share = FairShare()

  package init() {}

  package var count: Int { share.used }
  package var isEmpty: Bool { share.used == 0 }

  /// False where there is no place for it.
  package mutating func append(
    _ element: Element, of capacity: Int, for owner: ShareOwner, _ sharing: Sharing
  ) -> Bool {
    guard share.take(of: capacity, for: owner, sharing) else { return false }
    if waiting[owner] == nil { turns.append(owner) }
    waiting[owner, default: []].append(element)
    return true
  }

  package mutating func popFirst() -> Element? {
    guard !turns.isEmpty else { return nil }
    let owner = turns.removeFirst()
    guard let first = waiting[owner]?.removeFirst() else { return nil }
    share.give(by: owner)
    if waiting[owner]?.isEmpty == true { waiting[owner] = nil } else { turns.append(owner) }
    return first
  }

  package mutating func removeAll(where isUnwanted: (Element) -> Bool) {
    for owner in turns {
      let left = (waiting[owner] ?? []).filter { !isUnwanted($0) }
      share.give((waiting[owner]?.count ?? 0) - left.count, by: owner)
      waiting[owner] = left.isEmpty ? nil : left
    }
    turns.removeAll { waiting[$0] == nil }
  }
}

extension Policy {
  package var sharing: Sharing { tellsClientsApart ? .clients : .addresses }

  /// Owner of a connection before it has said a password: known by its address until then.
  package func shareOwner(source: IPAddress, sandbox: String? = nil) -> ShareOwner {
    switch identify(source: source, sandbox: sandbox) {
    case .client(let client): shareOwner(of: client, source: source)
    case .needsCredentials: ShareOwner(address: source.unmapped)
    }
  }

  package func shareOwner(of client: Client, source: IPAddress) -> ShareOwner {
    tellsClientsApart ? ShareOwner(client: client.name) : ShareOwner(address: source.unmapped)
  }
}

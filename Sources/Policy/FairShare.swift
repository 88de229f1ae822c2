// The share of one client in a resource: one rule for connections, lookups, names, queues and held bytes.
// It relies on the caller for a lock where loops share it, and for returning exactly what was taken.
package import Wire

/// Owner of a share: a client by its name, or an address if the client is not known.
package struct ShareOwner: Hashable, Sendable {
  /// A hash under this process's random key, so that nobody can choose a name whose digest collides with another's.
  private let digest: Int

  private init(_ kind: UInt8, _ add: (inout Hasher) -> Void) {
    var hasher = Hasher()
    hasher.combine(kind)
    add(&hasher)
    digest = hasher.finalize()
  }

  package init(client name: String) { self.init(0) { $0.combine(name) } }

  /// A host may own a whole IPv6 /64 (RFC 6177), so a /64 counts as one address.
  package init(address: IPAddress) {
    switch address {
    case .v4(let value): self.init(1) { $0.combine(value) }
    case .v6(let high, _): self.init(2) { $0.combine(high) }
    }
  }

  /// A separate share for refused names, so that a flood of them does not use up the share of allowed names.
  package var ofRefusals: ShareOwner { ShareOwner(4) { $0.combine(digest) } }

  /// The owner of the gate's own requests.
  package static let gate = ShareOwner(3) { _ in }
}

/// The parties that share a resource. Each may hold a multiple of what it leaves free: however much the first ones
/// hold, something is left for the next, and many parties get equal shares.
package enum Sharing: Sendable {
  /// Clients of the policy: each may hold as much as is free. A single client gets a half, two get a third each.
  case clients
  /// Addresses, if the policy knows only one client: each may hold three times what is free. A single address gets
  /// three quarters, two get three sevenths each. Below `alwaysMax`, no share limit applies.
  case addresses

  fileprivate func allows(_ held: Int, free: Int) -> Bool {
    switch self {
    case .clients: held <= free
    case .addresses: held / 3 <= free
    }
  }

  /// The number that each owner may hold regardless of shares, while any are free.
  fileprivate var alwaysMax: Int { self == .clients ? 1 : 16 }
}

package struct FairShare: Sendable {
  package private(set) var used = 0
  private var held: [ShareOwner: Int] = [:]

  package init() {}

  /// False if none is free, or if the owner's share is used up.
  package mutating func take(_ count: Int = 1, of capacity: Int, for owner: ShareOwner, _ sharing: Sharing) -> Bool {
    let free = capacity - used - count
    guard free >= 0 else { return false }
    let holds = held[owner, default: 0] + count
    guard holds <= sharing.alwaysMax || sharing.allows(holds, free: free) else { return false }
    add(count, to: owner)
    return true
  }

  /// Adds without a check of the share: the resource is held already.
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

/// A queue that serves owners in turns: one element per owner, however many an owner has queued.
package struct FairQueue<Element> {
  private var waiting: [ShareOwner: [Element]] = [:]
  /// Owners with queued elements.
  private var turns: [ShareOwner] = []
  private var share = FairShare()

  package init() {}

  package var count: Int { share.used }
  package var isEmpty: Bool { share.used == 0 }

  /// False if the queue or the owner's share is full.
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

  /// The owner of a connection before its client authenticates: its address.
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

// How full the limits of each client's rules are, as far as labels may go: those that are the emptiest come first.
// It relies on buckets that all loops share: their levels are read here, and nobody is asked.
import Policy

struct LimitLevels {
  /// A pair of client and rule has up to four limits, and each limit is two series.
  static let pairsMax = 200

  enum Limit: String {
    case requests
    case uploadBytes = "upload_bytes"
    case downloadBytes = "download_bytes"
    case concurrent
  }

  struct Level {
    let limit: Limit
    let left: UInt64
    let capacity: UInt64
  }

  struct Pair {
    let client: String
    let rule: AllowRule
    let levels: [Level]

    /// Of the limit that is nearest to its end.
    fileprivate var leftShare: Double { levels.map { Double($0.left) / Double(max(1, $0.capacity)) }.min() ?? 1 }
  }

  let shown: [Pair]
  let leftOut: Int

  init(_ policy: Policy, nowNs: UInt64) {
    var pairs: [Pair] = []
    for client in [policy.fallback] + policy.clients {
      for rule in client.network.rulesInForce {
        let levels = Self.levels(rule, nowNs)
        if !levels.isEmpty { pairs.append(Pair(client: client.name, rule: rule, levels: levels)) }
      }
    }
    leftOut = max(0, pairs.count - Self.pairsMax)
    guard leftOut > 0 else {
      shown = pairs
      return
    }
    let shares = pairs.map(\.leftShare)
    let emptiest = shares.indices.sorted { (shares[$0], $0) < (shares[$1], $1) }.prefix(Self.pairsMax)
    shown = emptiest.sorted().map { pairs[$0] }
  }

  private static func levels(_ rule: AllowRule, _ nowNs: UInt64) -> [Level] {
    var levels: [Level] = []
    if let requests = rule.requests {
      let level = requests.level(nowNs: nowNs)
      levels.append(
        Level(limit: .requests, left: UInt64(clamping: level.tokens), capacity: UInt64(clamping: level.capacity)))
    }
    for (limit, bucket) in [(Limit.uploadBytes, rule.uploadBytes), (.downloadBytes, rule.downloadBytes)] {
      guard let bucket else { continue }
      levels.append(Level(limit: limit, left: bucket.level(nowNs: nowNs), capacity: bucket.perMinute))
    }
    if let concurrent = rule.concurrent {
      levels.append(
        Level(
          limit: .concurrent, left: UInt64(clamping: concurrent.limit - concurrent.live),
          capacity: UInt64(clamping: concurrent.limit)))
    }
    return levels
  }
}

// The certificates that this loop has shown, by host: each is signed once.
// It relies on the CA; the cache is a loop's own, so it needs no lock.
import Wire

struct LeafCache {
  private static let leavesMax = 1024
  /// Made anew well before the week that it is good for is over.
  private static let ageMsMax: UInt64 = 3 * 86_400_000

  private var leaves: [Host: (certificate: Certificate, issuer: CertificateAuthority, madeMs: UInt64)] = [:]
  /// The oldest first.
  private var order: [Host] = []

  mutating func leaf(
    for host: Host, _ authority: CertificateAuthority, key: PrivateKey, nowMs: UInt64
  ) throws(TLSProblem) -> Certificate {
    if let leaf = leaves[host], leaf.issuer === authority, nowMs < leaf.madeMs + Self.ageMsMax {
      return leaf.certificate
    }
    let certificate = try authority.issue(host, key: key)
    if leaves.updateValue((certificate, authority, nowMs), forKey: host) == nil { order.append(host) }
    if order.count > Self.leavesMax {
      // A quarter at once: else each further name would move the whole order.
      for old in order.prefix(Self.leavesMax / 4) { leaves[old] = nil }
      order.removeFirst(Self.leavesMax / 4)
    }
    return certificate
  }
}

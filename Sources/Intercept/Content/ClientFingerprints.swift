// Fingerprints of things that a client got: tokens that may go out again, files whose beginning was seen.
// It relies on fingerprints telling things apart; nothing of the things is kept. All loops share it, and the lock is
// held for one look.
import Synchronization

package final class ClientFingerprints: Sendable {
  private static let perClientMax = 4096
  private static let clientsMax = 1024

  private struct Known {
    var all: Set<Int> = []
    /// The oldest one goes first.
    var order: [Int] = []
    var next = 0
  }

  private let clients = Mutex<[String: Known]>([:])

  func add(_ fingerprints: [Int], client: String) {
    guard !fingerprints.isEmpty else { return }
    clients.withLock { clients in
      if clients[client] == nil, clients.count >= Self.clientsMax, let other = clients.keys.first {
        clients[other] = nil
      }
      var known = clients.removeValue(forKey: client) ?? Known()
      for fingerprint in fingerprints where known.all.insert(fingerprint).inserted {
        if known.order.count < Self.perClientMax {
          known.order.append(fingerprint)
        } else {
          known.all.remove(known.order[known.next])
          known.order[known.next] = fingerprint
          known.next = (known.next + 1) % Self.perClientMax
        }
      }
      clients[client] = known
    }
  }

  func has(_ fingerprint: Int, client: String) -> Bool {
    clients.withLock { $0[client]?.all.contains(fingerprint) ?? false }
  }
}

// Questions of the main thread to workers, and their answers: values that cross threads by mail.
// It relies on numbers and shared immutable things alone; texts are made of them on the main thread.
package import Flow
import Policy
import Wire

package enum WorkerQuestion: Sendable {
  case counts
  case tunnels(max: Int)
  /// The connection of this number; with an ordinal only if that request is under way.
  case close(id: UInt64, ordinal: UInt32?)
  /// Names of the clients that have a connection.
  case clients
}

package struct WorkerReport: Sendable {
  package enum Body: Sendable {
    case counts(WorkerCounts)
    case tunnels([TunnelFacts])
    case clients(Set<String>)
    /// A step of a request that needs a person. Nobody asked for this.
    case approval(ApprovalEvent)
    /// True if it was there.
    case closed(Bool)
    /// How many connections the new policy ended.
    case replaced(cut: Int)
    case adopted(Bool)
    /// The worker knows that a sandbox checks itself, or has done so.
    case probing
    /// How many connections of the sandbox are left.
    case dismissed(left: Int)
    /// The worker's last word: what it has counted in all.
    case ended(WorkerCounts)
  }

  let worker: Int
  let token: UInt64
  let body: Body
}

package struct WorkerCounts: Sendable {
  var counters = Counters()
  /// Open connections that were let out, and their bytes.
  var open = 0
  var liveBytesUp: UInt64 = 0
  var liveBytesDown: UInt64 = 0
  var names = Resolver.Counts()
  var loops: [LoopUse] = []

  static func += (sum: inout WorkerCounts, other: WorkerCounts) {
    sum.counters += other.counters
    sum.open += other.open
    sum.liveBytesUp &+= other.liveBytesUp
    sum.liveBytesDown &+= other.liveBytesDown
    sum.names += other.names
    sum.loops += other.loops
  }

  var bytesUp: UInt64 { counters.bytesUp &+ liveBytesUp }
  var bytesDown: UInt64 { counters.bytesDown &+ liveBytesDown }
}

/// How much of its time one loop has worked.
package struct LoopUse: Sendable {
  let worker: Int
  let busyNs: UInt64
  let idleNs: UInt64
  let turns: UInt64
}

/// One connection whose target was let out.
package struct TunnelFacts: Sendable {
  let id: UInt64
  let ordinal: UInt32
  let client: Client
  let via: Via
  let target: Target
  let address: IPAddress?
  let rule: SourceLine?
  /// False while its upstream, or the first bytes of its client, are waited for.
  let isOpen: Bool
  let bytesUp: UInt64
  let bytesDown: UInt64
  let ageMs: UInt64
  let idleMs: UInt64
}

// Bytes are charged to a byte limit here, and nowhere else inside a tunnel: where they are sent to the other side.
// It relies on the rule's bucket; whatever buffer the bytes waited in, and whichever protocol framed them, they pass
// here.
import Kernel
import Policy

struct ByteAllowance {
  /// A read's worth: a grant is not taken from others for longer than it is needed.
  private static let grantBytesMax = 16 * 1024

  private var bucket: ByteBucket?
  private var nowNs: UInt64 = 0
  /// Granted and not sent: a write that would block has to be tried again with the same bytes.
  private var granted = 0
  /// The gate's own replies that are still to be sent: they cost the client nothing.
  private var own = 0
  /// No byte was granted: why, and for how long.
  private(set) var starved: ByteBucket.Grant?

  /// Of the turn that begins. Nil: nothing bounds the bytes.
  mutating func begin(_ bucket: ByteBucket?, nowNs: UInt64) {
    self.bucket = bucket
    self.nowNs = nowNs
    starved = nil
  }

  mutating func exempt(_ count: Int) { own += count }

  /// How many of the next bytes may be sent.
  mutating func grant(upTo count: Int) -> Int {
    guard let bucket else { return count }
    if own > 0 { return min(own, count) }
    if granted == 0, count > 0 {
      let reserved = bucket.reserve(upTo: min(count, Self.grantBytesMax), nowNs: nowNs)
      granted = reserved.granted
      starved = granted == 0 ? reserved : nil
    }
    return min(granted, count)
  }

  /// How many of the bytes that were sent count as payload.
  mutating func sent(_ count: Int) -> Int {
    let free = min(own, count)
    own -= free
    if bucket != nil { granted -= min(granted, count - free) }
    return count - free
  }

  /// The connection is gone: what it was granted is for others.
  mutating func giveBack() {
    bucket?.refund(granted)
    granted = 0
  }
}

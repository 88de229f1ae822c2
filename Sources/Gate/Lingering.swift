// The time for which a finished connection is still read (RFC 9112 section 9.6): until the peer stops, or a limit.
// It relies on its owner to read and drop the bytes, and to keep the deadline.

/// Many clients read an answer only after sending the whole request. A refused upload has to be read to its end:
/// otherwise the reset for its bytes overtakes the refusal.
struct Lingering {
  /// Lingering ends after this time without bytes.
  static let quietMs: UInt64 = 2_000
  private static let mostMs: UInt32 = 30_000
  private static let bytesMax: UInt32 = 64 << 20
  /// Chunks dropped in one turn of the loop.
  static let chunksMax = 16

  private var bytes: UInt32 = 0
  /// The low bits of the clock: a connection's object has no room for more.
  private var beganMs: UInt32 = 0

  mutating func begin(nowMs: UInt64) { beganMs = UInt32(truncatingIfNeeded: nowMs) }

  /// Counts dropped bytes. False if the limit is reached.
  mutating func takes(_ count: Int) -> Bool {
    bytes &+= min(UInt32(clamping: count), Self.bytesMax)
    return bytes < Self.bytesMax
  }

  func deadlineMs(nowMs: UInt64) -> UInt64 {
    let elapsedMs = UInt32(truncatingIfNeeded: nowMs) &- beganMs
    return nowMs + min(Self.quietMs, UInt64(Self.mostMs - min(elapsedMs, Self.mostMs)))
  }
}

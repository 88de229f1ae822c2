// Numbers of approvals: short enough to type, and no two alike that a slip of the hand would make of one another.
// It relies on a seed of the process: an id of an earlier gate approves nothing in this one.

struct ApprovalIDs: Sendable {
  /// Without 0, 1, i, l and o, which look like one another.
  private static let letters = Array("23456789abcdefghjkmnpqrstuvwxyz".utf8)
  private static let length = 5

  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next(unless isTaken: (String) -> Bool) -> String {
    while true {
      // SplitMix64: a counter, mixed.
      state &+= 0x9e37_79b9_7f4a_7c15
      var value = state
      value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
      value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
      value ^= value >> 31
      var bytes: [UInt8] = []
      for _ in 0..<Self.length {
        bytes.append(Self.letters[Int(truncatingIfNeeded: value % UInt64(Self.letters.count))])
        value /= UInt64(Self.letters.count)
      }
      let id = String(decoding: bytes, as: UTF8.self)
      if !isTaken(id) { return id }
    }
  }

  /// True for a text that could be an id.
  static func isID(_ text: String) -> Bool { text.utf8.count == length && text.utf8.allSatisfy(letters.contains) }
}

extension ApprovalEntry {
  package static func mayBeID(_ text: String) -> Bool { ApprovalIDs.isID(text) }
}

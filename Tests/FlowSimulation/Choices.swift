// Where a simulation takes its choices from: a seed, or the bytes that a fuzzer made.
// Both replay: the same seed or bytes give the same run.

package protocol Choices {
  /// A number from 0 to `bound - 1`.
  mutating func next(below bound: Int) -> Int
  var isExhausted: Bool { get }
}

/// SplitMix64.
package struct SeededChoices: Choices {
  private var state: UInt64

  package init(seed: UInt64) { state = seed }

  package var isExhausted: Bool { false }

  package mutating func next(below bound: Int) -> Int {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    mixed ^= mixed >> 31
    return Int(mixed % UInt64(max(1, bound)))
  }
}

package struct ByteChoices: Choices {
  private let bytes: [UInt8]
  private var offset = 0

  package init(_ bytes: [UInt8]) { self.bytes = bytes }

  package var isExhausted: Bool { offset >= bytes.count }

  package mutating func next(below bound: Int) -> Int {
    guard offset < bytes.count else { return 0 }
    defer { offset += 1 }
    return Int(bytes[offset]) % max(1, bound)
  }
}

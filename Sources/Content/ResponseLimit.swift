// How many bytes of an answer may pass, and what happens to the rest.
// It relies on nothing: the caller counts by it.

public struct ResponseLimit: Sendable, Hashable {
  public enum Mode: String, Sendable, CaseIterable {
    /// The rest is left out.
    case cut
    /// The whole answer is refused.
    case refuse
  }

  public let bytesMax: Int
  public let mode: Mode
  private var taken = 0
  public private(set) var isExceeded = false

  public init(bytesMax: Int, mode: Mode) {
    precondition(bytesMax >= 0, "a limit is not negative")
    (self.bytesMax, self.mode) = (bytesMax, mode)
  }

  /// How many of the next `count` bytes may pass: all, or up to the limit.
  public mutating func take(_ count: Int) -> Int {
    let allowed = min(count, bytesMax - taken)
    taken += allowed
    if allowed < count { isExceeded = true }
    return mode == .refuse && isExceeded ? 0 : allowed
  }
}

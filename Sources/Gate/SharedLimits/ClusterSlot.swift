// The slot of a key, one of a Redis Cluster's 16,384, and the answers of a node that does not hold that slot.
// It relies on CRC-16/XMODEM over the whole key: the gate's keys have no braces.
import Policy
import Wire

enum ClusterSlot {
  static let count = 16_384

  static func of(_ key: [UInt8]) -> Int {
    var crc: UInt16 = 0
    for byte in key {
      crc ^= UInt16(truncatingIfNeeded: byte) << 8
      for _ in 0..<8 { crc = crc & 0x8000 == 0 ? crc << 1 : crc << 1 ^ 0x1021 }
    }
    return Int(clamping: crc) % count
  }
}

/// `MOVED 3999 127.0.0.1:6381`, or the same with ASK: once, while the slot moves.
struct Redirection: Equatable {
  let slot: Int
  let target: Target
  let isOnce: Bool

  /// `asked`: the host of the node that said so, for one that leaves out its own.
  init?(_ error: String, asked: Host) {
    let words = error.split(separator: " ")
    guard words.count == 3, words[0] == "MOVED" || words[0] == "ASK", let slot = Int(words[1]),
      (0..<ClusterSlot.count).contains(slot), let target = Self.target(words[2], asked: asked)
    else { return nil }
    (self.slot, self.target, isOnce) = (slot, target, words[0] == "ASK")
  }

  /// IPv6 stands there without brackets.
  private static func target(_ text: Substring, asked: Host) -> Target? {
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0 else {
      return nil
    }
    return node(String(text[..<colon]), port: port, asked: asked)
  }

  static func node(_ host: String, port: UInt16, asked: Host) -> Target? {
    if host.isEmpty { return Target(host: asked, port: port) }
    if let address = IPAddress(host) { return Target(host: .address(address), port: port) }
    let bytes = Array(host.utf8)
    // A node that calls itself something else cannot be reached.
    return (try? Host(parsing: bytes.span)).map { Target(host: $0, port: port) }
  }
}

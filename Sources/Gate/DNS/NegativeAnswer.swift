// How long a "no such name" or "no such address" may be believed: the SOA in its authority section (RFC 2308).
// It relies on nothing: c-ares reads addresses, but not this.

enum NegativeAnswer {
  private static let soa = 6

  /// nil without a SOA: such an answer is not kept (RFC 2308 section 5).
  static func ttlSeconds(_ message: [UInt8]) -> UInt32? {
    guard message.count >= 12 else { return nil }
    let counts = [4, 6, 8].map { number(message, $0, 2) }
    var index = 12
    for _ in 0..<counts[0] {
      guard let end = skipName(message, index) else { return nil }
      index = end + 4
    }
    for record in 0..<(counts[1] + counts[2]) {
      guard let end = skipName(message, index), end + 10 <= message.count else { return nil }
      let length = number(message, end + 8, 2)
      let data = end + 10
      guard data + length <= message.count else { return nil }
      if record >= counts[1] && number(message, end, 2) == soa && length >= 20 {
        let minimum = number(message, data + length - 4, 4)
        return UInt32(clamping: min(number(message, end + 4, 4), minimum))
      }
      index = data + length
    }
    return nil
  }

  /// Behind a name, whether it is written out or points elsewhere (RFC 1035 section 4.1.4).
  private static func skipName(_ message: [UInt8], _ start: Int) -> Int? {
    var index = start
    while index < message.count {
      let length = Int(message[index])
      if length == 0 { return index + 1 }
      if length >= 0xc0 { return index + 2 <= message.count ? index + 2 : nil }
      index += length + 1
    }
    return nil
  }

  private static func number(_ message: [UInt8], _ index: Int, _ count: Int) -> Int {
    message[index..<index + count].reduce(0) { $0 << 8 | Int($1) }
  }
}

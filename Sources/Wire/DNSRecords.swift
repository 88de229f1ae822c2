// The SRV and TXT records of an answer, with their data in the form of the gate's reply.
// It relies on RFC 1035 and RFC 2782; compressed names are expanded, and malformed records are skipped.

package enum DNSRecords {
  private static let fixedBytes = 10
  /// A name has 127 labels at most, and each may be reached by a pointer of its own.
  private static let pointersMax = 127

  /// The data of each record of the type; nil: the message is none.
  package static func data(of message: Span<UInt8>, _ type: DNSType) -> [[UInt8]]? {
    guard message.count >= DNSReplyHead.byteCount else { return nil }
    var index = DNSReplyHead.byteCount
    for _ in 0..<message.number(at: 4, as: UInt16.self) {
      guard let end = skipName(message, index), end + 4 <= message.count else { return nil }
      index = end + 4
    }
    var found: [[UInt8]] = []
    for _ in 0..<message.number(at: 6, as: UInt16.self) {
      guard let end = skipName(message, index), end + fixedBytes <= message.count else { return nil }
      let start = end + fixedBytes
      let stop = start + Int(message.number(at: end + 8, as: UInt16.self))
      guard stop <= message.count else { return nil }
      if DNSType(rawValue: message.number(at: end)) == type, message.number(at: end + 2, as: UInt16.self) == 1,
        let data = type == .srv ? service(message, start..<stop) : text(message, start..<stop)
      {
        found.append(data)
      }
      index = stop
    }
    return found
  }

  private static func skipName(_ message: Span<UInt8>, _ start: Int) -> Int? {
    var index = start
    while index < message.count {
      let length = Int(message[index])
      if length == 0 { return index + 1 }
      if length >= 0xc0 { return index + 2 <= message.count ? index + 2 : nil }
      index += length + 1
    }
    return nil
  }

  /// Priority, weight, port, and the name of the host.
  private static func service(_ message: Span<UInt8>, _ range: Range<Int>) -> [UInt8]? {
    guard range.count >= 7 else { return nil }
    var data: [UInt8] = []
    data.append(message.extracting(range.lowerBound..<range.lowerBound + 6))
    var index = range.lowerBound + 6
    var pointers = 0
    while index < message.count, data.count <= 6 + 255 {
      let length = Int(message[index])
      if length >= 0xc0 {
        guard index + 1 < message.count, pointers < pointersMax else { return nil }
        pointers += 1
        index = (length & 0x3f) << 8 | Int(message[index + 1])
      } else if length > 63 {
        return nil
      } else if length == 0 {
        data.append(0)
        return data.count <= 6 + 255 ? data : nil
      } else {
        guard index + 1 + length <= message.count else { return nil }
        data.append(message.extracting(index..<index + 1 + length))
        index += 1 + length
      }
    }
    return nil
  }

  /// One or more texts, each behind its length.
  private static func text(_ message: Span<UInt8>, _ range: Range<Int>) -> [UInt8]? {
    var index = range.lowerBound
    while index < range.upperBound { index += 1 + Int(message[index]) }
    guard index == range.upperBound, !range.isEmpty else { return nil }
    var data: [UInt8] = []
    data.append(message.extracting(range))
    return data
  }
}

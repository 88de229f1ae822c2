// Reads one DNS query as strictly as a filter must: one question, at most one OPT record, and no extra bytes.
// It relies on RFC 1035 section 4 and RFC 6891; a query that two readers could take for different names is refused.

package enum DNSQueryResult: Hashable, Sendable {
  case query(DNSQuery)
  /// Answer with `DNSReplyHead.write` and this code; that reply is never longer than the query.
  case answerable(DNSReplyHead, DNSResponseCode)
  /// Send no answer: the message is half a header, or is itself an answer. Two servers must not answer each other
  /// forever.
  case drop
}

/// A query of class IN.
package struct DNSQuery: Hashable, Sendable {
  package let head: DNSReplyHead
  /// Length-prefixed labels with the empty one at the end, in the case in which they were sent: the reply repeats
  /// them so, since a resolver may have hidden random bits in the case (0x20) and know its answer by them.
  package let nameBytes: [UInt8]
  /// Nil if the name is not a host name: the root, other bytes, or a number at its end.
  package let name: HostName?
  package let type: DNSType
  package let edns: EDNS?

  /// `bytes` is one datagram, or what a TCP length prefix announced.
  package static func parse(_ bytes: Span<UInt8>) -> DNSQueryResult {
    guard bytes.count >= DNSReplyHead.byteCount, bytes[2] & 0x80 == 0 else { return .drop }
    let head = DNSReplyHead(bytes)
    do throws(DNSResponseCode) {
      return .query(try DNSQuery(bytes, head))
    } catch {
      return .answerable(head, error)
    }
  }

  package var id: UInt16 { head.id }
  package var isRecursionDesired: Bool { head.isRecursionDesired }
  package var isCheckingDisabled: Bool { head.isCheckingDisabled }

  /// The address of a PTR question. Nil for other questions, and for a partial address.
  package var reverseAddress: IPAddress? {
    guard type == .ptr, let name else { return nil }
    return DNSName.reverseAddress(name)
  }

  /// How long a reply over UDP may be. 1232 bytes pass every IPv6 path without fragments (DNS flag day 2020), and a
  /// fragment can be forged.
  package var udpBytesMax: Int { max(512, min(Int(edns?.udpPayloadBytes ?? 512), 1232)) }

  private init(_ bytes: Span<UInt8>, _ head: DNSReplyHead) throws(DNSResponseCode) {
    guard head.opcode == 0 else { throw .notImplemented }
    let (questions, answers): (UInt16, UInt16) = (bytes.number(at: 4), bytes.number(at: 6))
    let (authorities, additional): (UInt16, UInt16) = (bytes.number(at: 8), bytes.number(at: 10))
    // A query carries no answers, and beside OPT at most a signature (RFC 8945), which is passed over unread.
    let isTruncated = bytes[2] & 0x02 != 0
    guard !isTruncated, questions == 1, answers == 0, authorities == 0, additional <= 2 else { throw .formatError }

    let nameEnd = try DNSName.end(bytes, from: DNSReplyHead.byteCount)
    guard bytes.count - nameEnd >= 4 else { throw .formatError }
    let records = try DNSAdditional.read(bytes, from: nameEnd + 4, count: Int(additional))
    guard records.version == 0 else { throw .badVersion }
    guard bytes.number(at: nameEnd + 2, as: UInt16.self) == 1 else { throw .refused }

    self.head = head
    var nameBytes: [UInt8] = []
    nameBytes.append(bytes.extracting(DNSReplyHead.byteCount..<nameEnd))
    self.nameBytes = nameBytes
    name = DNSName.host(bytes, DNSReplyHead.byteCount..<nameEnd)
    type = DNSType(rawValue: bytes.number(at: nameEnd))
    edns = records.edns
  }
}

/// The additional section of a query.
private enum DNSAdditional {
  /// Type, class, TTL and length of data.
  private static let fixedBytes = 10

  /// All records must end where the message ends.
  static func read(
    _ bytes: Span<UInt8>, from start: Int, count: Int
  ) throws(DNSResponseCode) -> (edns: EDNS?, version: UInt8) {
    var index = start
    var found: (edns: EDNS?, version: UInt8) = (nil, 0)
    for _ in 0..<count {
      let nameEnd = try DNSName.end(bytes, from: index)
      guard bytes.count - nameEnd >= fixedBytes else { throw .formatError }
      let data = nameEnd + fixedBytes
      let length = Int(bytes.number(at: nameEnd + 8, as: UInt16.self))
      guard bytes.count - data >= length else { throw .formatError }
      if DNSType(rawValue: bytes.number(at: nameEnd)) == .opt {
        guard found.edns == nil, nameEnd == index + 1 else { throw .formatError }
        found = (
          EDNS(udpPayloadBytes: bytes.number(at: nameEnd + 2), isDNSSECWanted: bytes[nameEnd + 6] & 0x80 != 0),
          bytes[nameEnd + 5]
        )
        // The data of a later version cannot be known here.
        if found.version == 0 { try checkOptions(bytes, data..<(data + length)) }
      }
      index = data + length
    }
    guard index == bytes.count else { throw .formatError }
    return found
  }

  /// Each option is a code, a length and as many bytes (RFC 6891 section 6.1.2).
  private static func checkOptions(_ bytes: Span<UInt8>, _ data: Range<Int>) throws(DNSResponseCode) {
    var index = data.lowerBound
    while index < data.upperBound {
      guard data.upperBound - index >= 4 else { throw .formatError }
      let length = Int(bytes.number(at: index + 2, as: UInt16.self))
      guard data.upperBound - index - 4 >= length else { throw .formatError }
      index += 4 + length
    }
  }
}

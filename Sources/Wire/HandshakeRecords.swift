// The TLS record layer before a ClientHello: finds the end of the message and joins its pieces.
// It relies on RFC 8446 section 5.1; every error depends only on the bytes, not on how they were split.

enum HandshakeRecords {
  private static let headerBytes = 5
  private static let payloadBytesMax = 1 << 14
  private static let messageHeaderBytes = 4

  static func read(_ bytes: Span<UInt8>, bytesMax: Int) throws(ClientHelloProblem) -> ClientHelloResult {
    var recordStart = 0
    /// Payload of the records so far, and the message's length once its own header has been seen.
    var received = 0
    var messageHeader: UInt32 = 0
    var messageBytes: Int?
    while true {
      let missing = (messageBytes ?? messageHeaderBytes) - received
      let payloadStart = recordStart + headerBytes
      let leastNeeded = recordStart + wireBytes(missing)
      guard leastNeeded <= bytesMax else { throw .tooLarge }
      guard bytes.count >= payloadStart else { return .incomplete(needed: leastNeeded) }

      let payloadBytes = try payloadLength(bytes, recordStart)
      let recordEnd = payloadStart + payloadBytes
      guard recordEnd <= bytesMax else { throw .tooLarge }

      let headerEnd = min(payloadStart + max(messageHeaderBytes - received, 0), recordEnd)
      if received == 0, bytes.count > payloadStart, bytes[payloadStart] != 1 { throw .notClientHello }
      guard bytes.count >= headerEnd else { return .incomplete(needed: headerEnd) }
      for index in payloadStart..<headerEnd { messageHeader = messageHeader << 8 | UInt32(bytes[index]) }
      received += payloadBytes
      if received >= messageHeaderBytes { messageBytes = messageHeaderBytes + Int(messageHeader & 0xff_ffff) }

      let rest = (messageBytes ?? messageHeaderBytes) - received
      guard rest >= 0 else { throw .trailingBytes }
      let needed = recordEnd + wireBytes(rest)
      guard needed <= bytesMax else { throw .tooLarge }
      guard bytes.count >= recordEnd else { return .incomplete(needed: needed) }
      if received == messageBytes { return .complete(try message(bytes, recordStart: recordStart, end: recordEnd)) }
      recordStart = recordEnd
    }
  }

  /// The fewest bytes that records need to carry `payload`.
  private static func wireBytes(_ payload: Int) -> Int {
    payload + (payload + payloadBytesMax - 1) / payloadBytesMax * headerBytes
  }

  private static func payloadLength(_ bytes: Span<UInt8>, _ start: Int) throws(ClientHelloProblem) -> Int {
    // Another content type in between would be seen by one parser and skipped by the next.
    guard bytes[start] == 0x16 else { throw .recordType }
    guard bytes[start + 1] == 3 else { throw .recordVersion }
    let length = Int(bytes[start + 3]) << 8 | Int(bytes[start + 4])
    guard (1...payloadBytesMax).contains(length) else { throw .recordLength }
    return length
  }

  private static func message(
    _ bytes: Span<UInt8>, recordStart: Int, end: Int
  ) throws(ClientHelloProblem) -> ClientHello {
    // A hello in one record is read in place; only a hello in pieces is copied.
    if recordStart == 0 { return try HelloBody.parse(bytes.extracting(headerBytes..<end), length: end) }
    var whole: [UInt8] = []
    whole.reserveCapacity(end)
    var start = 0
    while start < end {
      let recordEnd = start + headerBytes + (try payloadLength(bytes, start))
      whole.append(bytes.extracting((start + headerBytes)..<recordEnd))
      start = recordEnd
    }
    return try HelloBody.parse(whole.span, length: end)
  }
}

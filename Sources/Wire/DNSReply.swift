// Writes the replies of the gate's DNS responder: addresses, a name, nothing, or a failure that says why.
// It relies on a parsed `DNSQuery`; every name but that of a PTR answer is a pointer to the question at byte 12.

extension DNSReplyHead {
  /// Appends the reply to what could not be read: a header, and for BADVERS the OPT record that its code needs.
  package func write(_ code: DNSResponseCode, into out: inout [UInt8]) {
    let isExtended = code.rawValue > 15
    append(code, additional: isExtended ? 1 : 0, to: &out)
    if isExtended { EDNS.append(code, isDNSSECWanted: false, extendedError: nil, to: &out) }
  }

  /// QR and RA are set; AA and AD are not, since the gate is no authority and validates nothing.
  fileprivate func append(
    _ code: DNSResponseCode, isTruncated: Bool = false, questions: UInt16 = 0, answers: UInt16 = 0,
    authorities: UInt16 = 0, additional: UInt16, to out: inout [UInt8]
  ) {
    out.append(number: id)
    out.append(0x80 | opcode << 3 | (isTruncated ? 0x02 : 0) | (isRecursionDesired ? 0x01 : 0))
    out.append(0x80 | (isCheckingDisabled ? 0x10 : 0) | code.rawValue & 0x0f)
    out.append(number: questions)
    out.append(number: answers)
    out.append(number: authorities)
    out.append(number: additional)
  }
}

/// Each appends one message of at most `bytesMax` bytes (512 to 65535: `udpBytesMax`, or what the length prefix of TCP
/// can say), offsets counted from where it begins. A TTL above 2^31 - 1 is cut to that (RFC 2181 section 8).
extension DNSQuery {
  /// Answers with the addresses of the requested family, or with an empty answer if there are none. If the answers do
  /// not fit, all are omitted and TC is set.
  package func answer(
    addresses: [IPAddress], extendedError: DNSExtendedError? = nil, ttlSeconds: UInt32, into out: inout [UInt8],
    bytesMax: Int
  ) {
    let width = type == .a ? 32 : type == .aaaa ? 128 : 0
    let fitting = addresses.filter { $0.width == width }
    guard !fitting.isEmpty else {
      return noData(extendedError: extendedError, ttlSeconds: ttlSeconds, into: &out, bytesMax: bytesMax)
    }
    let dataBytes = width / 8
    guard room(bytesMax) >= fitting.count * (DNSQuery.recordBytes + dataBytes) else { return truncated(into: &out) }
    begin(.noError, answers: UInt16(fitting.count), into: &out)
    for address in fitting {
      appendRecord(type, ttlSeconds: ttlSeconds, dataBytes: dataBytes, to: &out)
      out.append(address)
    }
    let left = room(bytesMax) - fitting.count * (DNSQuery.recordBytes + dataBytes)
    end(.noError, extendedError: fitted(extendedError, left), into: &out)
  }

  /// Answers with records of the requested type. If they do not fit, all are omitted and TC is set.
  package func answer(records: [[UInt8]], ttlSeconds: UInt32, into out: inout [UInt8], bytesMax: Int) {
    let bytes = records.reduce(0) { $0 + DNSQuery.recordBytes + $1.count }
    guard room(bytesMax) >= bytes else { return truncated(into: &out) }
    begin(.noError, answers: UInt16(records.count), into: &out)
    for data in records {
      appendRecord(type, ttlSeconds: ttlSeconds, dataBytes: data.count, to: &out)
      out.append(data.span)
    }
    end(.noError, extendedError: nil, into: &out)
  }

  /// The name of an address, to a PTR question; any other question has no data.
  package func pointer(to host: HostName, ttlSeconds: UInt32, into out: inout [UInt8], bytesMax: Int) {
    guard type == .ptr else { return noData(ttlSeconds: ttlSeconds, into: &out, bytesMax: bytesMax) }
    let dataBytes = DNSName.byteCount(host)
    guard room(bytesMax) >= DNSQuery.recordBytes + dataBytes else { return truncated(into: &out) }
    begin(.noError, answers: 1, into: &out)
    appendRecord(.ptr, ttlSeconds: ttlSeconds, dataBytes: dataBytes, to: &out)
    DNSName.append(host, to: &out)
    end(.noError, extendedError: nil, into: &out)
  }

  /// The name exists without data of this type (RFC 2308 section 2.2). A resolver may cache that for `ttlSeconds`.
  package func noData(
    extendedError: DNSExtendedError? = nil, ttlSeconds: UInt32, into out: inout [UInt8], bytesMax: Int
  ) {
    negative(.noError, extendedError, ttlSeconds: ttlSeconds, into: &out, bytesMax: bytesMax)
  }

  /// `ttlSeconds` is how long a resolver may keep an NXDOMAIN; any other failure carries nothing that could be kept.
  package func failure(
    _ code: DNSResponseCode, extendedError: DNSExtendedError? = nil, ttlSeconds: UInt32 = 0,
    into out: inout [UInt8], bytesMax: Int
  ) {
    precondition(code != .badVersion, "the version of a parsed query is right")
    if code == .nameError {
      return negative(code, extendedError, ttlSeconds: ttlSeconds, into: &out, bytesMax: bytesMax)
    }
    let error = fitted(extendedError, room(bytesMax))
    begin(code, into: &out)
    end(code, extendedError: error, into: &out)
  }
}

// MARK: - The parts of a reply

extension DNSQuery {
  /// A record without its data: a pointer for its name, type, class, TTL, length.
  private static let recordBytes = 12
  /// Two empty names and five numbers.
  private static let authorityDataBytes = 22

  /// Resolvers cache what is not there only with an SOA record beside it (RFC 2308 section 5). This one says nothing
  /// of any zone: its owner is the name itself, which is inside whatever zone the resolver believes to be asking.
  private func negative(
    _ code: DNSResponseCode, _ extendedError: DNSExtendedError?, ttlSeconds: UInt32, into out: inout [UInt8],
    bytesMax: Int
  ) {
    let error = fitted(extendedError, room(bytesMax) - DNSQuery.recordBytes - DNSQuery.authorityDataBytes)
    begin(code, authorities: 1, into: &out)
    appendRecord(.soa, ttlSeconds: ttlSeconds, dataBytes: DNSQuery.authorityDataBytes, to: &out)
    out.append(number: UInt16(0))
    for number in [1, 3600, 600, 86_400, DNSQuery.clamped(ttlSeconds)] { out.append(number: number) }
    end(code, extendedError: error, into: &out)
  }

  private func truncated(into out: inout [UInt8]) {
    begin(.noError, isTruncated: true, into: &out)
    end(.noError, extendedError: nil, into: &out)
  }

  /// Room for records beside the header, the question and an empty OPT. The longest name leaves 230 of 512.
  private func room(_ bytesMax: Int) -> Int {
    precondition((512...65_535).contains(bytesMax), "a DNS message is at least 512 bytes and has a 16-bit length")
    return bytesMax - DNSReplyHead.byteCount - nameBytes.count - 4 - (edns == nil ? 0 : EDNS.recordBytes)
  }

  /// The error, without its text if that does not fit.
  private func fitted(_ error: DNSExtendedError?, _ room: Int) -> DNSExtendedError? {
    guard edns != nil, let error else { return nil }
    return error.optionBytes <= room ? error : DNSExtendedError(code: error.code, text: [])
  }

  /// The header, and the question exactly as it was asked.
  private func begin(
    _ code: DNSResponseCode, isTruncated: Bool = false, answers: UInt16 = 0, authorities: UInt16 = 0,
    into out: inout [UInt8]
  ) {
    head.append(
      code, isTruncated: isTruncated, questions: 1, answers: answers, authorities: authorities,
      additional: edns == nil ? 0 : 1, to: &out)
    out.append(nameBytes.span)
    out.append(number: type.rawValue)
    out.append(number: UInt16(1))
  }

  /// An OPT record when the query had one, and only then (RFC 6891 section 7).
  private func end(_ code: DNSResponseCode, extendedError: DNSExtendedError?, into out: inout [UInt8]) {
    guard let edns else { return }
    EDNS.append(code, isDNSSECWanted: edns.isDNSSECWanted, extendedError: extendedError, to: &out)
  }

  private func appendRecord(_ type: DNSType, ttlSeconds: UInt32, dataBytes: Int, to out: inout [UInt8]) {
    out.append(number: 0xc000 | UInt16(DNSReplyHead.byteCount))
    out.append(number: type.rawValue)
    out.append(number: UInt16(1))
    out.append(number: DNSQuery.clamped(ttlSeconds))
    out.append(number: UInt16(dataBytes))
  }

  private static func clamped(_ ttlSeconds: UInt32) -> UInt32 { min(ttlSeconds, 0x7fff_ffff) }
}

extension EDNS {
  /// The size of an OPT record without options.
  fileprivate static let recordBytes = 11
  /// The largest UDP message that the gate reads.
  private static let ownPayloadBytes: UInt16 = 1232
  private static let extendedErrorOption: UInt16 = 15

  /// DO is repeated, as RFC 3225 section 3 wants it.
  fileprivate static func append(
    _ code: DNSResponseCode, isDNSSECWanted: Bool, extendedError: DNSExtendedError?, to out: inout [UInt8]
  ) {
    out.append(0)
    out.append(number: DNSType.opt.rawValue)
    out.append(number: ownPayloadBytes)
    out.append(code.rawValue >> 4)
    out.append(0)
    out.append(number: UInt16(isDNSSECWanted ? 0x8000 : 0))
    guard let extendedError else { return out.append(number: UInt16(0)) }
    out.append(number: UInt16(extendedError.optionBytes))
    out.append(number: extendedErrorOption)
    out.append(number: UInt16(extendedError.optionBytes - 4))
    out.append(number: extendedError.code)
    out.append(extendedError.text.span)
  }
}

extension DNSExtendedError {
  /// Code and length of the option, its own code, its text.
  fileprivate var optionBytes: Int { 6 + text.count }
}

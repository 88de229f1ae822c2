// The replies of the DNS responder, read back by a reader that shares no code with the writer.

import Testing
import Wire

@Suite struct DNSReplyTests {
  private func reply(_ query: [UInt8], _ write: (DNSQuery, inout [UInt8]) -> Void) throws -> DNSReplyReader {
    let query = try parsed(query)
    // Something stands in front, as the length prefix of TCP does: no offset may depend on it.
    var out: [UInt8] = [0xff, 0xff]
    write(query, &out)
    let reply = try DNSReplyReader(Array(out.dropFirst(2)))
    #expect(reply.question.dropLast(4) == query.nameBytes[...])
    #expect(reply.counts[3] == (query.edns == nil ? 0 : 1))
    return reply
  }

  private let addresses = ["192.0.2.1", "2001:db8::1", "192.0.2.2"].compactMap { IPAddress($0) }

  @Test func addressesOfTheFamilyAskedForAreAnswered() throws {
    let four = try reply(DNSBytes.query(DNSBytes.name("A.example"))) {
      $0.answer(addresses: addresses, ttlSeconds: 60, into: &$1, bytesMax: 512)
    }
    #expect(four.flags == 0x8180 && four.counts == [1, 2, 0, 0])
    #expect(four.records.map(\.data) == [[192, 0, 2, 1], [192, 0, 2, 2]])
    #expect(four.records.allSatisfy { $0.type == 1 && $0.ttlSeconds == 60 })
    let six = try reply(DNSBytes.withOPT("a.example", type: .aaaa, DNSBytes.opt(flags: 0x8000))) {
      $0.answer(addresses: addresses, ttlSeconds: .max, into: &$1, bytesMax: 512)
    }
    #expect(six.counts == [1, 1, 0, 1] && six.records[0].type == 28 && six.records[0].ttlSeconds == 0x7fff_ffff)
    #expect(six.records[0].data == [0x20, 1, 0x0d, 0xb8] + [UInt8](repeating: 0, count: 11) + [1])
    #expect(six.records[1] == DNSReplyReader.Record(type: 41, ttlSeconds: 0x8000, data: []))
  }

  @Test(arguments: [DNSType.aaaa, .https, .any, .txt, .ptr])
  func whereThereIsNoneOfItTheReplySaysSo(type: DNSType) throws {
    let reply = try reply(DNSBytes.query(DNSBytes.name("a.example"), type: type, flags: 0x0010)) {
      $0.answer(addresses: [.v4(1)], ttlSeconds: 9, into: &$1, bytesMax: 512)
    }
    #expect(reply.flags == 0x8090 && reply.counts == [1, 0, 1, 0])
    #expect(reply.records[0].type == 6 && reply.records[0].ttlSeconds == 9)
    // Two root names, then serial, refresh, retry, expire and the minimum that caches go by.
    #expect(reply.records[0].data.count == 22 && reply.records[0].data.prefix(2) == [0, 0])
    #expect(reply.records[0].data.suffix(4) == [0, 0, 0, 9])
  }

  @Test(arguments: [DNSBytes.query(DNSBytes.name("a.example")), DNSBytes.withOPT("a.example")])
  func whatDoesNotFitIsLeftOutWhole(bytes: [UInt8]) throws {
    let hasOPT = try parsed(bytes).edns != nil
    // 12 of header, 15 of question, 16 an address, 11 of OPT.
    let fitting = (512 - 27 - (hasOPT ? 11 : 0)) / 16
    for count in [fitting, fitting + 1, 4000] {
      let reply = try reply(bytes) {
        $0.answer(addresses: Array(repeating: .v4(1), count: count), ttlSeconds: 1, into: &$1, bytesMax: 512)
        #expect($1.count - 2 <= 512)
      }
      #expect(reply.counts[1] == (count == fitting ? fitting : 0))
      #expect(reply.flags == (count == fitting ? 0x8180 : 0x8380))
    }
    let whole = try reply(bytes) {
      $0.answer(addresses: Array(repeating: .v4(1), count: 4000), ttlSeconds: 1, into: &$1, bytesMax: 65_535)
    }
    #expect(whole.counts[1] == 4000)
  }

  @Test func anAddressGetsItsName() throws {
    let host = try HostName("api.example")
    let bytes = DNSBytes.withOPT("4.3.2.1.in-addr.arpa", type: .ptr)
    let pointer = try reply(bytes) { $0.pointer(to: host, ttlSeconds: 5, into: &$1, bytesMax: 512) }
    #expect(pointer.counts == [1, 1, 0, 1] && pointer.records[0].type == 12)
    #expect(pointer.records[0].data == DNSBytes.name("api.example"))
    let other = try reply(DNSBytes.withOPT("a.example")) {
      $0.pointer(to: host, ttlSeconds: 5, into: &$1, bytesMax: 512)
    }
    #expect(other.counts == [1, 0, 1, 1])
    let label = String(repeating: "a", count: 61)
    let longest = try HostName(Array(repeating: label, count: 4).joined(separator: "."))
    let long = DNSBytes.query(DNSBytes.name(Array(repeating: label, count: 4)), type: .ptr)
    let cut = try reply(long) { $0.pointer(to: longest, ttlSeconds: 5, into: &$1, bytesMax: 512) }
    #expect(cut.flags == 0x8380 && cut.counts == [1, 0, 0, 0])
  }

  private let filtered = DNSExtendedError(code: DNSExtendedError.filtered, text: "not_allowed")

  @Test func aRefusedNameSaysWhy() throws {
    let refused = try reply(DNSBytes.withOPT("a.example")) {
      $0.failure(.nameError, extendedError: filtered, ttlSeconds: 5, into: &$1, bytesMax: 512)
    }
    #expect(refused.flags == 0x8183 && refused.counts == [1, 0, 1, 1])
    #expect(refused.records[0].type == 6 && refused.records[0].ttlSeconds == 5)
    #expect(refused.records[1].data == [0, 15, 0, 13, 0, 17] + Array("not_allowed".utf8))
    let plain = try reply(DNSBytes.query(DNSBytes.name("a.example"))) {
      $0.failure(.nameError, extendedError: filtered, ttlSeconds: 5, into: &$1, bytesMax: 512)
    }
    #expect(plain.flags == 0x8183 && plain.counts == [1, 0, 1, 0])
    let noData = try reply(DNSBytes.withOPT("a.example", type: .https)) {
      $0.noData(extendedError: filtered, ttlSeconds: 5, into: &$1, bytesMax: 512)
    }
    #expect(noData.flags == 0x8180 && noData.counts == [1, 0, 1, 1] && noData.records[1].data.count == 17)
  }

  @Test(arguments: [(DNSResponseCode.serverFailure, 0x8182), (.refused, 0x8185), (.notImplemented, 0x8184)])
  func anotherFailureLeavesNothingToCache(code: DNSResponseCode, flags: Int) throws {
    let reply = try reply(DNSBytes.withOPT("a.example")) {
      $0.failure(code, extendedError: filtered, into: &$1, bytesMax: 512)
    }
    #expect(reply.flags == flags && reply.counts == [1, 0, 0, 1] && reply.records[0].data.count == 17)
  }

  @Test func aTextThatDoesNotFitIsLeftOut() throws {
    let label = String(repeating: "a", count: 61)
    let longest = Array(repeating: label, count: 4).joined(separator: ".")
    for count in [0, 100, 200, 5000, 70_000] {
      let error = DNSExtendedError(code: DNSExtendedError.blocked, text: [UInt8](repeating: 0x61, count: count))
      let reply = try reply(DNSBytes.withOPT(longest)) {
        $0.failure(.nameError, extendedError: error, ttlSeconds: 5, into: &$1, bytesMax: 512)
        #expect($1.count - 2 <= 512)
      }
      #expect(reply.records[1].data.count == (count <= 100 ? 6 + count : 6))
    }
  }

  @Test func aVersionThatIsNotSpokenIsNamed() throws {
    guard case .answerable(let head, .badVersion) = DNSQuery.parse(DNSBytes.withOPT("a", DNSBytes.opt(version: 1)).span)
    else {
      Issue.record("version 1 is not spoken")
      return
    }
    var out: [UInt8] = []
    head.write(.badVersion, into: &out)
    let reply = try DNSReplyReader(out)
    #expect(reply.flags == 0x8180 && reply.records == [.init(type: 41, ttlSeconds: 0x0100_0000, data: [])])
  }
}

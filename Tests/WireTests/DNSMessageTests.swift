// DNS queries and the replies to them: tables of good and bad input, every cut, and changed bytes replayed by seed.

import Testing
import Wire

/// Builds queries byte by byte, so that each can be wrong in one place.
enum DNSBytes {
  static func number(_ value: Int) -> [UInt8] { [UInt8(value >> 8 & 0xff), UInt8(value & 0xff)] }

  static func name(_ labels: [String]) -> [UInt8] {
    labels.flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) } + [0]
  }

  static func name(_ text: String) -> [UInt8] { name(text.split(separator: ".").map(String.init)) }

  static func query(
    _ name: [UInt8], type: DNSType = .a, class: Int = 1, flags: Int = 0x0100, counts: [Int] = [1, 0, 0, 0],
    more: [UInt8] = []
  ) -> [UInt8] {
    number(0x1234) + number(flags) + counts.flatMap(number) + name + number(Int(type.rawValue)) + number(`class`) + more
  }

  static func opt(payload: Int = 1232, version: UInt8 = 0, flags: Int = 0, data: [UInt8] = []) -> [UInt8] {
    [0] + number(41) + number(payload) + [0, version] + number(flags) + number(data.count) + data
  }

  static func withOPT(_ text: String, type: DNSType = .a, _ opt: [UInt8] = opt()) -> [UInt8] {
    query(name(text), type: type, counts: [1, 0, 0, 1], more: opt)
  }
}

/// A reply as an independent reader sees it: its header, and its records in order.
struct DNSReplyReader {
  struct Record: Equatable {
    var type: Int
    var ttlSeconds: Int
    var data: [UInt8]
  }

  var flags: Int
  var counts: [Int]
  var question: [UInt8] = []
  var records: [Record] = []

  init(_ bytes: [UInt8]) throws {
    func number(_ index: Int) -> Int { Int(bytes[index]) << 8 | Int(bytes[index + 1]) }
    try #require(bytes.count >= 12)
    flags = number(2)
    counts = [4, 6, 8, 10].map(number)
    var index = 12
    if counts[0] == 1 {
      while bytes[index] != 0 { index += 1 + Int(bytes[index]) }
      index += 5
      question = Array(bytes[12..<index])
    }
    for _ in 0..<counts[1...].reduce(0, +) {
      // Each name of a record is the question's or the root.
      if bytes[index] == 0xc0 {
        try #require(bytes[index + 1] == 12)
        index += 2
      } else {
        try #require(bytes[index] == 0)
        index += 1
      }
      let end = index + 10 + number(index + 8)
      try #require(end <= bytes.count)
      records.append(
        Record(
          type: number(index), ttlSeconds: number(index + 4) << 16 | number(index + 6),
          data: Array(bytes[(index + 10)..<end])))
      index = end
    }
    try #require(index == bytes.count, "bytes behind the records")
  }
}

@Suite struct DNSQueryTests {
  @Test func aQuerySaysWhatItAsks() throws {
    let bytes = DNSBytes.withOPT("Api.eXample", type: .aaaa, DNSBytes.opt(payload: 4096, flags: 0x8000))
    let query = try parsed(bytes)
    #expect(query.id == 0x1234 && query.isRecursionDesired && !query.isCheckingDisabled)
    #expect(query.nameBytes == DNSBytes.name("Api.eXample") && query.type == .aaaa)
    #expect(try query.name == HostName("api.example"))
    #expect(query.edns?.udpPayloadBytes == 4096 && query.edns?.isDNSSECWanted == true)
    let plain = try parsed(DNSBytes.query(DNSBytes.name("a"), type: .https, flags: 0x0010))
    #expect(!plain.isRecursionDesired && plain.isCheckingDisabled && plain.edns == nil && plain.type == .https)
  }

  @Test(arguments: [(nil, 512), (0, 512), (511, 512), (900, 900), (1232, 1232), (65_535, 1232)])
  func aReplyOverUDPIsBounded(payload: Int?, bytesMax: Int) throws {
    let bytes = payload.map { DNSBytes.withOPT("a", DNSBytes.opt(payload: $0)) } ?? DNSBytes.query(DNSBytes.name("a"))
    #expect(try parsed(bytes).udpBytesMax == bytesMax)
  }

  @Test(arguments: [
    [], ["a.example"], ["a\0", "example"], ["a\0.b", "example"], ["bücher", "example"], ["a b", "example"],
    ["-a", "example"], ["127", "1"], ["1", "2", "3", "4"], ["0x7f"], ["a", "example."],
  ])
  func whatIsNoHostNameHasNone(labels: [String]) throws {
    let query = try parsed(DNSBytes.query(DNSBytes.name(labels)))
    #expect(query.name == nil && query.nameBytes == DNSBytes.name(labels))
  }

  @Test func theLongestNameIsRead() throws {
    let labels = Array(repeating: String(repeating: "a", count: 63), count: 3) + [String(repeating: "b", count: 61)]
    let name = DNSBytes.name(labels)
    #expect(name.count == 255)
    #expect(try parsed(DNSBytes.query(name)).name?.bytes.count == 253)
    #expect(
      code(DNSBytes.query(DNSBytes.name(labels.dropLast() + [String(repeating: "b", count: 62)]))) == .formatError)
    #expect(code(DNSBytes.query(DNSBytes.name(Array(repeating: "a", count: 128)))) == .formatError)
  }

  @Test(arguments: [
    ("4.3.2.1.in-addr.arpa", "1.2.3.4"), ("255.0.0.10.IN-ADDR.arpa", "10.0.0.255"), ("0.0.0.0.in-addr.arpa", "0.0.0.0"),
    ("3.2.1.in-addr.arpa", nil), ("5.4.3.2.1.in-addr.arpa", nil), ("04.3.2.1.in-addr.arpa", nil),
    ("256.3.2.1.in-addr.arpa", nil), ("in-addr.arpa", nil), ("4.3.2.1.in-addr.arpa.example", nil),
    ("4.3.2.1.xin-addr.arpa", nil), ("4.3.2.1.ip6.arpa", nil),
    ("B.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa", "4321:0:1:2:3:4:567:89ab"),
    ("a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa", nil),
    ("g.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa", nil),
    ("ba.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.0.ip6.arpa", nil),
    ("b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6xarpa", nil),
  ])
  func aReverseNameIsAWholeAddress(name: String, address: String?) throws {
    let query = try parsed(DNSBytes.query(DNSBytes.name(name), type: .ptr))
    #expect(query.reverseAddress == address.flatMap { IPAddress($0) })
    #expect(try parsed(DNSBytes.query(DNSBytes.name(name), type: .a)).reverseAddress == nil)
  }

  private static let name = DNSBytes.name("a.example")
  private static let opt = DNSBytes.opt()

  @Test(arguments: [
    DNSBytes.query(name, counts: [0, 0, 0, 0]), DNSBytes.query(name, counts: [2, 0, 0, 0]),
    DNSBytes.query(name, counts: [1, 0, 0, 1]), DNSBytes.query(name, more: [0]), DNSBytes.query(name, more: opt),
    DNSBytes.query(name, counts: [1, 1, 0, 0], more: opt), DNSBytes.query(name, counts: [1, 0, 1, 0], more: opt),
    DNSBytes.query(name, counts: [1, 0, 0, 2], more: opt + opt),
    DNSBytes.query(name, counts: [1, 0, 0, 2], more: opt), DNSBytes.query(name, counts: [1, 0, 0, 1], more: opt + [0]),
    DNSBytes.query(name, counts: [1, 0, 0, 1], more: name + opt.dropFirst()),
    DNSBytes.query(name, counts: [1, 0, 0, 1], more: [0xc0, 12] + opt.dropFirst()),
    DNSBytes.withOPT("a", DNSBytes.opt(data: [0, 10])), DNSBytes.withOPT("a", DNSBytes.opt(data: [0, 10, 0, 3, 1, 2])),
    DNSBytes.withOPT("a", DNSBytes.opt(data: [0, 10, 0, 1, 1, 2])),
    DNSBytes.query([0xc0, 12]), DNSBytes.query([1, 0x61, 0xc0, 12]), DNSBytes.query([0xc0, 0]),
    DNSBytes.query([0x40] + [UInt8](repeating: 0x61, count: 64) + [0]), DNSBytes.query([0x80, 0]),
    DNSBytes.query(name, flags: 0x0300), Array(DNSBytes.query(name).prefix(12)),
  ])
  func whatIsMalformedIsToldSo(bytes: [UInt8]) { #expect(code(bytes) == .formatError) }

  @Test func whatIsNotForThisServerIsToldSo() {
    #expect(code(DNSBytes.query(Self.name, flags: 0x2800)) == .notImplemented)
    #expect(code(DNSBytes.query(Self.name, class: 3)) == .refused)
    #expect(code(DNSBytes.query(Self.name, class: 255)) == .refused)
    #expect(code(DNSBytes.withOPT("a", DNSBytes.opt(version: 1, data: [9]))) == .badVersion)
    // Malformed comes first: what does not add up is believed in nothing.
    #expect(code(DNSBytes.withOPT("a", DNSBytes.opt(version: 1)) + [0]) == .formatError)
    #expect(code(DNSBytes.query(Self.name, class: 3, more: [0])) == .formatError)
  }

  @Test func anAnswerIsNotAnswered() {
    for flags in [0x8000, 0x8180, 0xa800] {
      #expect(DNSQuery.parse(DNSBytes.query(Self.name, flags: flags).span) == .drop)
    }
    for count in 0..<12 { #expect(DNSQuery.parse(DNSBytes.query(Self.name).span.extracting(0..<count)) == .drop) }
  }

  @Test func aSignatureIsPassedOver() throws {
    let signature = Self.name + DNSBytes.number(250) + DNSBytes.number(255) + [0, 0, 0, 0, 0, 2, 7, 7]
    for more in [Self.opt + signature, signature + Self.opt] {
      #expect(try parsed(DNSBytes.query(Self.name, counts: [1, 0, 0, 2], more: more)).edns != nil)
    }
    let three = signature + signature + Self.opt
    #expect(code(DNSBytes.query(Self.name, counts: [1, 0, 0, 3], more: three)) == .formatError)
  }

  static let good = [
    DNSBytes.query(name), DNSBytes.query([0]), DNSBytes.withOPT("a.example", type: .https),
    DNSBytes.withOPT("a.b.c.example", DNSBytes.opt(data: [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 12, 0, 0])),
    DNSBytes.query(DNSBytes.name("4.3.2.1.in-addr.arpa"), type: .ptr),
    DNSBytes.query(name, counts: [1, 0, 0, 2], more: name + [0, 250, 0, 255, 0, 0, 0, 0, 0, 1, 7] + opt),
  ]

  @Test(arguments: good) func everyCutIsHalfAQuery(bytes: [UInt8]) throws {
    _ = try parsed(bytes)
    for count in 0..<bytes.count {
      let cut = Array(bytes.prefix(count))
      if count < 12 { #expect(DNSQuery.parse(cut.span) == .drop) } else { #expect(code(cut) == .formatError) }
      expectSmall(cut)
    }
  }

  @Test(arguments: [1, 2, 3] as [UInt64]) func changedBytesAreReadWithoutHarm(seed: UInt64) {
    var random = SplitMix(state: seed)
    var isQuery = 0
    for _ in 0..<2000 {
      var bytes = Self.good[Int(random.next() % UInt64(Self.good.count))]
      for _ in 0...(random.next() % 4) {
        let place = Int(random.next() % UInt64(bytes.count))
        switch random.next() % 4 {
        case 0: bytes[place] = UInt8(truncatingIfNeeded: random.next())
        case 1: bytes[place] ^= 1 << UInt8(random.next() % 8)
        case 2: bytes.insert(UInt8(truncatingIfNeeded: random.next()), at: place)
        default: if bytes.count > 1 { bytes.remove(at: place) }
        }
      }
      expectSmall(bytes)
      if case .query = DNSQuery.parse(bytes.span) { isQuery += 1 }
    }
    #expect(isQuery > 0 && isQuery < 2000)
  }

  /// What is not answered in earnest cannot be used to flood whoever the packet claims to come from.
  private func expectSmall(_ bytes: [UInt8]) {
    guard case .answerable(let head, let code) = DNSQuery.parse(bytes.span) else { return }
    var reply: [UInt8] = []
    head.write(code, into: &reply)
    #expect(reply.count <= 3 * bytes.count && Array(reply.prefix(2)) == Array(bytes.prefix(2)))
    #expect(code == .badVersion ? reply.count == 23 : reply.count == 12)
    #expect(DNSQuery.parse(reply.span) == .drop)
  }
}

func parsed(_ bytes: [UInt8]) throws -> DNSQuery {
  guard case .query(let query) = DNSQuery.parse(bytes.span) else { throw NotAQuery(bytes: bytes) }
  return query
}

private struct NotAQuery: Error { let bytes: [UInt8] }

private func code(_ bytes: [UInt8]) -> DNSResponseCode? {
  guard case .answerable(_, let code) = DNSQuery.parse(bytes.span) else { return nil }
  return code
}

/// The same numbers for the same seed, everywhere.
private struct SplitMix {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }
}

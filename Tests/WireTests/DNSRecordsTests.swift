// The records of an answer: names written out, and nothing hostile read.

import Testing

@testable import Wire

@Suite struct DNSRecordsTests {
  /// An answer to `a.test` with one record of this data.
  private func message(_ type: DNSType, _ data: [UInt8], length: Int? = nil) -> [UInt8] {
    let question: [UInt8] = [1, 0x61, 4, 0x74, 0x65, 0x73, 0x74, 0, 0, UInt8(type.rawValue), 0, 1]
    let count = length ?? data.count
    return [0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0] + question + [
      0xc0, 12, 0, UInt8(type.rawValue), 0, 1, 0, 0, 0, 60,
    ]
      + [UInt8(count >> 8), UInt8(count & 255)] + data
  }

  private func data(_ type: DNSType, _ data: [UInt8], length: Int? = nil) -> [[UInt8]]? {
    DNSRecords.data(of: message(type, data, length: length).span, type)
  }

  @Test func aCompressedNameIsWrittenOut() {
    let start: [UInt8] = [0, 1, 0, 2, 0, 80]
    let name: [UInt8] = [1, 0x61, 4, 0x74, 0x65, 0x73, 0x74, 0]
    #expect(data(.srv, start + [0xc0, 12]) == [start + name])
    #expect(data(.srv, start + name) == [start + name])
    #expect(data(.srv, start + [1, 0x62, 0xc0, 14]) == [start + [1, 0x62] + name.dropFirst(2)])
  }

  @Test func whatBreaksTheFormIsNoRecord() {
    let start: [UInt8] = [0, 1, 0, 2, 0, 80]
    // The data begins behind the header, the question and twelve bytes of the record; its name points to itself.
    let own = UInt8(12 + 12 + 12 + 6)
    #expect(data(.srv, start + [0xc0, own]) == [] && data(.srv, start + [0xff, 0xff]) == [])
    #expect(data(.srv, start) == [] && data(.srv, start + [0x41]) == [] && data(.srv, []) == [])
    #expect(data(.txt, []) == [] && data(.txt, [5, 0x61]) == [] && data(.txt, [1, 0x61]) == [[1, 0x61]])
    #expect(data(.txt, [1, 0x61], length: 9) == nil)
    let whole = message(.srv, start + [0xc0, 12])
    for end in 0..<whole.count {
      let records = DNSRecords.data(of: whole.span.extracting(0..<end), .srv)
      #expect(records == nil, "cut at \(end)")
    }
  }
}

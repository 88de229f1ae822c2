// JSON values: tables of good and bad texts, every cut of one, and what is written is read again.

import Testing

@testable import Wire

@Suite struct JSONValueTests {
  @Test(arguments: [
    ("null", JSONValue.null), (" true ", .bool(true)), ("false", .bool(false)), ("0", .number(0)),
    ("-7", .number(-7)), ("9223372036854775807", .number(.max)), ("-9223372036854775808", .number(.min)),
    (#""a\"\\\/\b\f\n\r\tA""#, .text("a\"\\/\u{8}\u{c}\n\r\tA")), (#""\u0041\ud83d\ude00é""#, .text("A😀é")),
    ("[]", .list([])), ("[1,[2]]", .list([.number(1), .list([.number(2)])])), ("{}", .object([])),
    (
      "\t{ \"a\" : 1 , \"b\":{\"a\":[]}}\r\n",
      .object([JSONMember("a", .number(1)), JSONMember("b", .object([JSONMember("a", .list([]))]))])
    ),
  ])
  func isRead(text: String, value: JSONValue) throws {
    #expect(try JSONValue.parse(Array(text.utf8)) == value)
    #expect(try JSONValue.parse(value.line) == value)
    #expect(value.line.last == 0x0a && !value.line.dropLast().contains(0x0a))
  }

  @Test(arguments: [
    "", " ", "nul", "True", "01", "-", "1.5", "1e3", "9223372036854775808", "+1", "'a'", "\"a", "\"\\x\"",
    "\"\\u12g4\"",
    #""\ud800""#, #""\ud800A""#, #""\udc00""#, "\"\u{1}\"", "[1,]", "[1 2]", "[,1]", "{a:1}", "{\"a\"}", "{\"a\":}",
    "{\"a\":1,}", "{\"a\":1,\"a\":2}", "1 2", "{} x", "[1}", String(repeating: "[", count: 100_000), "//", "\u{feff}1",
  ])
  func isRefused(text: String) {
    #expect(throws: JSONProblem.self) { try JSONValue.parse(Array(text.utf8)) }
  }

  @Test func invalidUTF8IsRefused() {
    #expect(throws: JSONProblem.self) { try JSONValue.parse([0x22, 0xff, 0x22]) }
    #expect(throws: JSONProblem.self) { try JSONValue.parse([0x22, 0xed, 0xa0, 0x80, 0x22]) }
  }

  @Test func noCutOfATextIsOne() {
    let text = Array(#"{"a":[1,"\u00e9\ud83d\ude00",true,null],"b":{"c":"d"}}"#.utf8)
    for count in 0..<text.count {
      #expect(throws: JSONProblem.self) { try JSONValue.parse(Array(text.prefix(count))) }
    }
    #expect(throws: Never.self) { try JSONValue.parse(text) }
  }
}

// The outline of a JSON text: where values stand, and what texts say; what is no JSON is the table of JSONValueTests.

import Testing

@testable import Wire

@Suite struct JSONOutlineTests {
  private func text(_ json: String, _ name: String) throws -> String? {
    let bytes = Array(json.utf8)
    return try JSONOutline(of: bytes)[name]?.text(in: bytes).map { String(decoding: $0, as: UTF8.self) }
  }

  @Test func textsAreFoundByNameHoweverTheyAreEscaped() throws {
    #expect(try text(#"{"a":"x","b":[{"a":"y"}]}"#, "a") == "x")
    #expect(try text(#"{"\u0061":"\"\\\/\u00e9\ud83d\ude00é"}"#, "a") == "\"\\/é😀é")
    #expect(try text(#"{"a":1}"#, "a") == nil)
    #expect(try text(#"{"a":"x"}"#, "b") == nil)
    #expect(try text(#"["a"]"#, "a") == nil)
  }

  @Test func aNameInTwoSpellingsStandsTwice() {
    #expect(throws: JSONProblem(offset: 15, text: "a name stands twice")) { try text(#"{"a":1,"\u0061":2}"#, "a") }
  }

  @Test(arguments: ["0", "-0", "12", "1.50", "-1.5e+3", "1E9", "2e-7"])
  func numbersStayAsTheyAreWritten(number: String) throws {
    let bytes = Array("[\(number)]".utf8)
    guard case .list(let list) = try JSONOutline(of: bytes), case .number(let range)? = list.first else {
      Issue.record("no list of a number")
      return
    }
    #expect(bytes[range].elementsEqual(number.utf8))
  }

  @Test(arguments: ["1.", ".5", "1e", "1e+", "-", "00", "-01", "1.e5", "0x1", "NaN"])
  func whatIsNoNumberIsRefused(number: String) {
    #expect(throws: JSONProblem.self) { try JSONOutline(of: Array(number.utf8)) }
  }

  @Test func invalidUTF8IsSaidWhereItStands() {
    #expect(throws: JSONProblem(offset: 2, text: "no UTF-8")) { try JSONOutline(of: [0x22, 0x61, 0xff, 0x22]) }
  }
}

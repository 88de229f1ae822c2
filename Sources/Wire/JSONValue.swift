// A JSON text as a value, and back: requests and replies of the admin socket, one per line.
// It relies on JSONOutline for reading, and is stricter than RFC 8259: only whole numbers of 64 bits.

package indirect enum JSONValue: Equatable, Sendable {
  case null
  case bool(Bool)
  case number(Int)
  case text(String)
  case list([JSONValue])
  case object([JSONMember])

  /// The value of a member. Nil if this is not an object, or has no such member.
  package subscript(name: String) -> JSONValue? {
    guard case .object(let members) = self else { return nil }
    return members.first { $0.name == name }?.value
  }

  package var asText: String? { if case .text(let text) = self { text } else { nil } }
  package var asNumber: Int? { if case .number(let number) = self { number } else { nil } }
  package var asBool: Bool? { if case .bool(let bool) = self { bool } else { nil } }
  package var asList: [JSONValue] { if case .list(let list) = self { list } else { [] } }
  package var members: [JSONMember] { if case .object(let members) = self { members } else { [] } }

  /// Writes the value without spaces, on one line.
  package func append(to out: inout [UInt8]) {
    switch self {
    case .null: out.append("null")
    case .bool(let bool): out.append(bool ? "true" : "false")
    case .number(let number): JSONText.appendDecimal(number, to: &out)
    case .text(let text): JSONText.appendString(text, to: &out)
    case .list(let list):
      out.append(UInt8(ascii: "["))
      for (index, value) in list.enumerated() {
        if index > 0 { out.append(UInt8(ascii: ",")) }
        value.append(to: &out)
      }
      out.append(UInt8(ascii: "]"))
    case .object(let members):
      out.append(UInt8(ascii: "{"))
      for (index, member) in members.enumerated() {
        if index > 0 { out.append(UInt8(ascii: ",")) }
        JSONText.appendString(member.name, to: &out)
        out.append(UInt8(ascii: ":"))
        member.value.append(to: &out)
      }
      out.append(UInt8(ascii: "}"))
    }
  }

  package var line: [UInt8] {
    var out: [UInt8] = []
    append(to: &out)
    out.append(.lineFeed)
    return out
  }
}

package struct JSONMember: Equatable, Sendable {
  package let name: String
  package let value: JSONValue

  package init(_ name: String, _ value: JSONValue) { (self.name, self.value) = (name, value) }
}

extension JSONValue {
  /// Reads the whole text as one value.
  package static func parse(_ bytes: [UInt8]) throws(JSONProblem) -> JSONValue {
    try JSONValue(JSONOutline(of: bytes), in: bytes)
  }

  private init(_ outline: JSONOutline, in bytes: [UInt8]) throws(JSONProblem) {
    switch outline {
    case .null: self = .null
    case .bool(let bool): self = .bool(bool)
    case .number(let range): self = .number(try Self.whole(bytes, range))
    case .text: self = .text(String(decoding: outline.text(in: bytes) ?? [], as: UTF8.self))
    case .list(let list):
      var values: [JSONValue] = []
      for value in list { values.append(try JSONValue(value, in: bytes)) }
      self = .list(values)
    case .object(let members):
      var read: [JSONMember] = []
      for member in members {
        read.append(
          JSONMember(String(decoding: member.name, as: UTF8.self), try JSONValue(member.value, in: bytes)))
      }
      self = .object(read)
    }
  }

  private static func whole(_ bytes: [UInt8], _ range: Range<Int>) throws(JSONProblem) -> Int {
    let text = bytes[range]
    guard text.allSatisfy({ $0.isDigit || $0 == UInt8(ascii: "-") }) else {
      throw JSONProblem(offset: range.lowerBound, text: "whole numbers alone")
    }
    guard let value = Int(String(decoding: text, as: UTF8.self)) else {
      throw JSONProblem(offset: range.lowerBound, text: "a number beyond 64 bits")
    }
    return value
  }
}

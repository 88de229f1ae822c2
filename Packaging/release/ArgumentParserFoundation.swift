//===----------------------------------------------------------------------===//
// In place of Utilities/Foundation.swift of swift-argument-parser (Apache-2.0 with Runtime Library Exception) in the
// release build: the same two declarations without FoundationEssentials, which is 5 MB of a static binary.
//===----------------------------------------------------------------------===//

extension Error {
  func describe() -> String { String(describing: self) }
}

/// Writes what `--experimental-dump-help` prints: keys sorted, nothing else of JSON's many options.
enum JSONEncoder {
  static func encode<T: Encodable>(_ value: T) -> String {
    let node = JSONNode()
    do { try value.encode(to: JSONNodeEncoder(node: node, codingPath: [])) } catch { return "" }
    return node.text
  }
}

private final class JSONNode {
  enum Content {
    case literal(String)
    case list([JSONNode])
    case object([String: JSONNode])
  }

  var content = Content.literal("null")

  var text: String {
    switch content {
    case .literal(let text): text
    case .list(let items): "[" + items.map(\.text).joined(separator: ",") + "]"
    case .object(let members):
      "{"
        + members.sorted { $0.key < $1.key }.map { Self.quoted($0.key) + ":" + $0.value.text }.joined(separator: ",")
        + "}"
    }
  }

  static func quoted(_ text: String) -> String {
    var out = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": out += "\\\""
      case "\\": out += "\\\\"
      case "\n": out += "\\n"
      case "\t": out += "\\t"
      case "\r": out += "\\r"
      case let control where control.value < 0x20:
        let digits = String(control.value, radix: 16)
        out += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: out.unicodeScalars.append(scalar)
      }
    }
    return out + "\""
  }

  func member(_ key: String) -> JSONNode {
    let node = JSONNode()
    var members: [String: JSONNode] = [:]
    if case .object(let known) = content { members = known }
    members[key] = node
    content = .object(members)
    return node
  }

  func item() -> JSONNode {
    let node = JSONNode()
    var items: [JSONNode] = []
    if case .list(let known) = content { items = known }
    content = .list(items + [node])
    return node
  }

  func set<T: Encodable>(_ value: T) throws {
    switch value {
    case let text as String: content = .literal(Self.quoted(text))
    case let flag as Bool: content = .literal(flag ? "true" : "false")
    case let number as any FixedWidthInteger: content = .literal("\(number)")
    default: try value.encode(to: JSONNodeEncoder(node: self, codingPath: []))
    }
  }
}

private struct JSONNodeEncoder: Encoder {
  let node: JSONNode
  let codingPath: [any CodingKey]
  var userInfo: [CodingUserInfoKey: Any] { [:] }

  func container<Key: CodingKey>(keyedBy type: Key.Type) -> KeyedEncodingContainer<Key> {
    node.content = .object([:])
    return KeyedEncodingContainer(Keyed(node: node))
  }

  func unkeyedContainer() -> any UnkeyedEncodingContainer {
    node.content = .list([])
    return Unkeyed(node: node)
  }

  func singleValueContainer() -> any SingleValueEncodingContainer { Single(node: node) }

  private struct Keyed<Key: CodingKey>: KeyedEncodingContainerProtocol {
    let node: JSONNode
    var codingPath: [any CodingKey] { [] }

    func encodeNil(forKey key: Key) throws { _ = node.member(key.stringValue) }
    func encode<T: Encodable>(_ value: T, forKey key: Key) throws { try node.member(key.stringValue).set(value) }

    func nestedContainer<Nested: CodingKey>(
      keyedBy type: Nested.Type, forKey key: Key
    ) -> KeyedEncodingContainer<Nested> {
      JSONNodeEncoder(node: node.member(key.stringValue), codingPath: []).container(keyedBy: type)
    }

    func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
      JSONNodeEncoder(node: node.member(key.stringValue), codingPath: []).unkeyedContainer()
    }

    func superEncoder() -> any Encoder { JSONNodeEncoder(node: node.member("super"), codingPath: []) }
    func superEncoder(forKey key: Key) -> any Encoder {
      JSONNodeEncoder(node: node.member(key.stringValue), codingPath: [])
    }
  }

  private struct Unkeyed: UnkeyedEncodingContainer {
    let node: JSONNode
    var codingPath: [any CodingKey] { [] }
    var count: Int {
      if case .list(let items) = node.content { return items.count }
      return 0
    }

    func encodeNil() throws { _ = node.item() }
    func encode<T: Encodable>(_ value: T) throws { try node.item().set(value) }

    func nestedContainer<Nested: CodingKey>(keyedBy type: Nested.Type) -> KeyedEncodingContainer<Nested> {
      JSONNodeEncoder(node: node.item(), codingPath: []).container(keyedBy: type)
    }

    func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer {
      JSONNodeEncoder(node: node.item(), codingPath: []).unkeyedContainer()
    }

    func superEncoder() -> any Encoder { JSONNodeEncoder(node: node.item(), codingPath: []) }
  }

  private struct Single: SingleValueEncodingContainer {
    let node: JSONNode
    var codingPath: [any CodingKey] { [] }

    func encodeNil() throws { node.content = .literal("null") }
    func encode<T: Encodable>(_ value: T) throws { try node.set(value) }
  }
}

// Method overrides: many frameworks execute a method from a field or parameter instead of the request line's.
// It relies on the names that frameworks read; a rule's `methods` apply to each method found here.
import Wire

/// Overrides in fields that Rails, Laravel, Symfony, Express' method-override, ASP.NET, OData and Google's APIs read,
/// and in the query parameter `_method`.
package struct MethodOverrides: Sendable {
  /// In upper case, as frameworks compare them.
  package private(set) var methods: [[UInt8]] = []

  private static let fields = ["x-http-method-override", "x-http-method", "x-method-override"].map { Array($0.utf8) }
  private static let parameters = fields + [Array("_method".utf8)]

  package init() {}

  /// Reads one field of a request, whatever its name.
  package mutating func note(name: Span<UInt8>, value: Span<UInt8>) {
    // Every request has many fields; the shortest name that matters has 13 bytes and begins with an x.
    guard name.count >= 13, name[0] | 0x20 == UInt8(ascii: "x") else { return }
    var bytes: [UInt8] = []
    bytes.append(name)
    guard Self.fields.contains(Self.folded(bytes)) else { return }
    var text: [UInt8] = []
    text.append(value)
    add(text)
  }

  /// Reads the query of a request target.
  package init(query target: Span<UInt8>) {
    var mark = 0
    while mark < target.count, target[mark] != UInt8(ascii: "?") { mark += 1 }
    // Most targets have no query, and cost no copy.
    guard mark < target.count else { return }
    for pair in target.array[(mark + 1)...].split(whereSeparator: { $0 == UInt8(ascii: "&") || $0 == UInt8(ascii: ";") }
    ) {
      guard let equals = pair.firstIndex(of: UInt8(ascii: "=")) else { continue }
      let name = Self.decoded(pair[..<equals])
      if Self.parameters.contains(Self.folded(name)) { add(Self.decoded(pair[(equals + 1)...])) }
    }
  }

  /// Adds a value, which is a list if repeated fields were joined.
  private mutating func add(_ value: [UInt8]) {
    for part in value.split(separator: UInt8(ascii: ",")) {
      let word = part.drop { $0 == 0x20 || $0 == 0x09 }
      let end = word.lastIndex { $0 != 0x20 && $0 != 0x09 }
      guard let end else { continue }
      let method = word[...end].map { $0 &- 0x61 < 26 ? $0 - 0x20 : $0 }
      if !methods.contains(method) { methods.append(method) }
    }
  }

  /// CGI, WSGI and PHP read `_` and `-` alike, and PHP a dot or a space as `_`.
  private static func folded(_ name: [UInt8]) -> [UInt8] {
    var folded = name.map { byte in
      byte &- 0x41 < 26 ? byte | 0x20 : byte == UInt8(ascii: "-") || byte == 0x2e || byte == 0x20 ? 0x5f : byte
    }
    // All fields above are spelled with hyphens; the parameter alone begins with an underscore.
    for index in folded.indices.dropFirst() where folded[index] == 0x5f { folded[index] = UInt8(ascii: "-") }
    return folded
  }

  private static func decoded(_ text: ArraySlice<UInt8>) -> [UInt8] {
    let spaced = text.map { $0 == UInt8(ascii: "+") ? 0x20 : $0 }
    return Percent.decode(spaced.span) ?? spaced
  }

  static func detail(_ method: [UInt8]) -> String {
    "the request asks to be carried out as \(String(decoding: method.prefix(32), as: UTF8.self)), by a field such as"
      + " X-HTTP-Method-Override or by _method in its query, and the rule does not allow that"
  }
}

extension Span<UInt8> {
  fileprivate var array: [UInt8] {
    var bytes: [UInt8] = []
    bytes.append(self)
    return bytes
  }
}

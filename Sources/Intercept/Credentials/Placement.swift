// Puts a credential into a request's head, or its value in the placeholder's place.
// It relies on the head being judged already: who calls this knows that rule, authority and verified upstream agree.
import Policy
import Wire

enum PlacementResult: Equatable {
  case placed
  /// `replace`, and the client sent nothing there.
  case absent
  /// Something else stands where the credential belongs: it would be another account.
  case foreign
}

struct CredentialPlacement {
  let credential: Credential
  let value: CredentialValue

  /// Header, Basic and query. SigV4 is its own.
  func put(into head: inout MessageHead) -> PlacementResult {
    switch credential.placement {
    case .header(let name, let prefix, let suffix): return putHeader(&head, name, prefix, suffix)
    case .basic(let user): return putBasic(&head, user)
    case .query(let name): return putQuery(&head, Array(name.utf8))
    case .sigv4: preconditionFailure("a signature is not put in, but made")
    }
  }

  private var placeholder: [UInt8]? { credential.placeholder.map { Array($0.utf8) } }

  private func putHeader(_ head: inout MessageHead, _ name: String, _ prefix: String, _ suffix: String)
    -> PlacementResult
  {
    let name = Array(name.lowercased().utf8)
    guard let placeholder else {
      head.fields.removeAll { $0.name == name }
      let text = Array(prefix.utf8) + value.secret.copy + Array(suffix.utf8)
      head.fields.append(MessageHead.Field(name: name, value: text, isSensitive: true))
      return .placed
    }
    return replaceFields(&head, name) { field in
      field.replacing(placeholder, with: value.secret.copy)
    }
  }

  /// With `inject` the user is the policy's; with `replace` the client's own user stays, and the password is the value.
  private func putBasic(_ head: inout MessageHead, _ user: String) -> PlacementResult {
    let name = Array("authorization".utf8)
    guard let placeholder else {
      head.fields.removeAll { $0.name == name }
      head.fields.append(
        MessageHead.Field(name: name, value: Self.basic(Array("\(user):".utf8) + value.secret.copy), isSensitive: true))
      return .placed
    }
    return replaceFields(&head, name) { field in
      let scheme = Array("basic ".utf8)
      guard field.prefix(6).map(\.lowercase) == scheme, let pair = Base64.decode(Array(field.dropFirst(6)).span),
        let replaced = pair.replacing(placeholder, with: value.secret.copy)
      else { return nil }
      return Self.basic(replaced)
    }
  }

  private static func basic(_ pair: [UInt8]) -> [UInt8] {
    var text = Array("Basic ".utf8)
    Base64.append(pair, to: &text)
    return text
  }

  /// `replace` gives nil where the placeholder is not in the text.
  private func replaceFields(
    _ head: inout MessageHead, _ name: [UInt8], _ replace: ([UInt8]) -> [UInt8]?
  ) -> PlacementResult {
    var result = PlacementResult.absent
    for index in head.fields.indices where head.fields[index].name == name {
      guard result == .absent, let text = replace(head.fields[index].value) else { return .foreign }
      head.fields[index].value = text
      head.fields[index].isSensitive = true
      result = .placed
    }
    return result
  }

  private func putQuery(_ head: inout MessageHead, _ name: [UInt8]) -> PlacementResult {
    let mark = head.path.firstIndex(of: UInt8(ascii: "?")) ?? head.path.endIndex
    var text: [UInt8] = []
    Percent.append(value.secret.copy, to: &text)
    var result = PlacementResult.absent
    var parts: [[UInt8]] = []
    for part in head.path[mark...].dropFirst().split(separator: UInt8(ascii: "&")) {
      guard Self.names(part, name) else {
        parts.append(Array(part))
        continue
      }
      // With `inject`, what the client sent there is dropped.
      guard let placeholder else { continue }
      let sent = part.drop { $0 != UInt8(ascii: "=") }.dropFirst()
      guard result == .absent, sent.elementsEqual(placeholder) else { return .foreign }
      parts.append(name + [UInt8(ascii: "=")] + text)
      result = .placed
    }
    if placeholder == nil {
      parts.append(name + [UInt8(ascii: "=")] + text)
      result = .placed
    }
    guard result == .placed else { return .absent }
    head.path = Array(head.path[..<mark]) + [UInt8(ascii: "?")] + parts.joined(separator: [UInt8(ascii: "&")])
    return .placed
  }

  /// However its name is encoded: two parameters of one name are read by each server in its own way.
  private static func names(_ part: ArraySlice<UInt8>, _ name: [UInt8]) -> Bool {
    let raw = Array(part.prefix { $0 != UInt8(ascii: "=") })
    return (Percent.decode(raw.span) ?? raw) == name
  }
}

extension MessageHead {
  /// All that a client can say in it.
  var texts: [[UInt8]] { [method, path] + fields.flatMap { [$0.name, $0.value] } }

  mutating func add(_ name: StaticString, _ value: [UInt8], isSensitive: Bool = false) {
    fields.append(Field(name: Array("\(name)".utf8), value: value, isSensitive: isSensitive))
  }
}

extension UInt8 {
  fileprivate var lowercase: UInt8 { self &- 0x41 < 26 ? self | 0x20 : self }
}

extension [UInt8] {
  /// Nil where `text` does not stand in it.
  fileprivate func replacing(_ text: [UInt8], with other: [UInt8]) -> [UInt8]? {
    guard let start = firstIndex(of: text) else { return nil }
    let rest = Array(self[(start + text.count)...])
    return Array(self[..<start]) + other + (rest.replacing(text, with: other) ?? rest)
  }
}

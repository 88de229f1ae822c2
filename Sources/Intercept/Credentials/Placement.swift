// Puts a credential into a request's head, or its value in the placeholder's place.
// It relies on the head being judged already: who calls this knows that rule, authority and verified upstream agree.
import Policy
import Wire

enum PlacementResult: Equatable {
  case placed
  /// `replace`, and the client sent nothing there.
  case absent
  /// Something else stands where the credential belongs, or beside the placeholder: it could be another account.
  case foreign
}

struct CredentialPlacement {
  let credential: Credential
  let value: CredentialValue

  /// Header, Basic and query. SigV4 is its own.
  func put(into head: inout MessageHead) -> PlacementResult {
    switch credential.placement {
    case .header(let name, let prefix, let suffix):
      let template = FieldTemplate(prefix: Array(prefix.utf8), suffix: Array(suffix.utf8))
      return putField(&head, name) { sent in
        guard let placeholder, template.matches(sent, placeholder) else {
          return sent == nil ? template.with(value) : nil
        }
        return template.with(value)
      }
    case .basic(let user):
      return putField(&head, "authorization") { sent in
        let template = BasicTemplate(user: Array(user.utf8))
        guard let sent, let placeholder else { return sent == nil ? template.with(value) : nil }
        return template.replaced(sent, placeholder, value)
      }
    case .query(let name): return putQuery(&head, Array(name.utf8))
    case .sigv4: preconditionFailure("a signature is not put in, but made")
    }
  }

  private var placeholder: [UInt8]? { credential.placeholder.map { Array($0.utf8) } }

  /// `write` gives the field's value for what the client sent, and nil where that is not the template with the
  /// placeholder; with `inject` it is given nothing.
  private func putField(
    _ head: inout MessageHead, _ name: String, _ write: ([UInt8]?) -> [UInt8]?
  ) -> PlacementResult {
    let name = Array(name.lowercased().utf8)
    let sent = head.fields.indices.filter { Self.isRead(head.fields[$0].name, as: name) }
    guard placeholder != nil else {
      head.fields.removeAll { Self.isRead($0.name, as: name) }
      head.fields.append(MessageHead.Field(name: name, value: write(nil) ?? [], isSensitive: true))
      return .placed
    }
    guard let index = sent.first else { return .absent }
    guard sent.count == 1, head.fields[index].name == name, let text = write(head.fields[index].value) else {
      return .foreign
    }
    head.fields[index].value = text
    head.fields[index].isSensitive = true
    return .placed
  }

  /// CGI and what follows it knows no difference between `-` and `_` in a name.
  private static func isRead(_ sent: [UInt8], as name: [UInt8]) -> Bool {
    sent.count == name.count
      && zip(sent, name).allSatisfy { $0 == $1 || $0 == UInt8(ascii: "_") && $1 == UInt8(ascii: "-") }
  }

  // MARK: - Query

  private func putQuery(_ head: inout MessageHead, _ name: [UInt8]) -> PlacementResult {
    let mark = head.path.firstIndex(of: UInt8(ascii: "?")) ?? head.path.endIndex
    var text = name + [UInt8(ascii: "=")]
    Percent.append(value.secret.copy, to: &text)
    let parameter = QueryParameter(name: name)
    let sent = head.path[mark...].dropFirst()
    guard let placeholder else {
      let rest = parameter.removed(from: sent)
      head.path =
        Array(head.path[..<mark]) + [UInt8(ascii: "?")] + (rest.isEmpty ? [] : rest + [UInt8(ascii: "&")]) + text
      return .placed
    }
    guard parameter.count(in: sent) > 0 else { return .absent }
    let template = name + [UInt8(ascii: "=")] + placeholder
    var parts = sent.split(separator: UInt8(ascii: "&"), omittingEmptySubsequences: false).map { Array($0) }
    guard parameter.count(in: sent) == 1, let index = parts.firstIndex(of: template) else { return .foreign }
    parts[index] = text
    head.path = Array(head.path[...mark]) + parts.joined(separator: [UInt8(ascii: "&")])
    return .placed
  }
}

/// A field's value as the policy writes it: what stands before and behind the token.
private struct FieldTemplate {
  let prefix: [UInt8]
  let suffix: [UInt8]

  func with(_ value: CredentialValue) -> [UInt8] { prefix + value.secret.copy + suffix }

  /// The placeholder is the whole token. The scheme before it is read whatever its case, and however many blanks
  /// follow.
  func matches(_ sent: [UInt8]?, _ placeholder: [UInt8]) -> Bool {
    guard let sent else { return false }
    return Self.words(sent) == Self.words(prefix + placeholder + suffix) && sent.firstIndex(of: placeholder) != nil
  }

  private static func words(_ text: [UInt8]) -> [[UInt8]] {
    text.split { $0 == 0x20 || $0 == 0x09 }.map { $0.map(\.lowercase) }
  }
}

/// `Basic` with the pair of user and password (RFC 7617). With `replace` the placeholder is the policy's user's
/// password, the password alone, or the user alone, as clients send a token that needs no password.
private struct BasicTemplate {
  private static let scheme = Array("basic".utf8)

  let user: [UInt8]

  func with(_ value: CredentialValue) -> [UInt8] { Self.basic(user + [UInt8(ascii: ":")] + value.secret.copy) }

  func replaced(_ sent: [UInt8], _ placeholder: [UInt8], _ value: CredentialValue) -> [UInt8]? {
    let words = sent.split { $0 == 0x20 || $0 == 0x09 }
    guard words.count == 2, words[0].map(\.lowercase) == Self.scheme, let pair = Base64.decode(Array(words[1]).span)
    else { return nil }
    let colon = [UInt8(ascii: ":")]
    switch pair {
    case user + colon + placeholder, colon + placeholder: return with(value)
    case placeholder + colon: return Self.basic(value.secret.copy + colon)
    default: return nil
    }
  }

  private static func basic(_ pair: [UInt8]) -> [UInt8] {
    var text = Array("Basic ".utf8)
    Base64.append(pair, to: &text)
    return text
  }
}

/// One parameter of a query, in all the spellings that frameworks read as its name.
struct QueryParameter {
  private let name: [UInt8]

  init(name: [UInt8]) { self.name = Self.read(name[...]) }

  /// The query without it. `;` parts two parameters too, for some.
  func removed(from query: ArraySlice<UInt8>) -> [UInt8] {
    let kept = query.split(separator: UInt8(ascii: "&")).compactMap { part -> [UInt8]? in
      let pieces = part.split(separator: UInt8(ascii: ";"), omittingEmptySubsequences: false)
      let left = pieces.filter { !isNamed($0) }
      if left.count == pieces.count { return Array(part) }
      return left.isEmpty ? nil : Array(left.joined(separator: [UInt8(ascii: ";")]))
    }
    return Array(kept.joined(separator: [UInt8(ascii: "&")]))
  }

  func count(in query: ArraySlice<UInt8>) -> Int {
    query.split { $0 == UInt8(ascii: "&") || $0 == UInt8(ascii: ";") }.filter(isNamed).count
  }

  private func isNamed(_ part: ArraySlice<UInt8>) -> Bool { Self.read(part.prefix { $0 != UInt8(ascii: "=") }) == name }

  /// Percent-encoded (also an equals sign), blanks around it, an index behind it, a zero that ends it, whatever the
  /// case; and
  /// PHP reads a blank, a dot and a bracket in a name as `_`.
  private static func read(_ raw: ArraySlice<UInt8>) -> [UInt8] {
    var name: [UInt8] = []
    var index = raw.startIndex
    while index < raw.endIndex {
      let end = min(index + 3, raw.endIndex)
      if raw[index] == UInt8(ascii: "%"), let byte = Percent.decode(Array(raw[index..<end]).span), byte.count == 1 {
        name += byte
        index = end
      } else {
        name.append(raw[index] == UInt8(ascii: "+") ? 0x20 : raw[index])
        index += 1
      }
    }
    let text = name.drop { $0 <= 0x20 }.prefix { $0 != 0 && $0 != UInt8(ascii: "[") && $0 != UInt8(ascii: "=") }
    let trimmed = text.reversed().drop { $0 <= 0x20 }.reversed()
    return trimmed.map { $0 == 0x20 || $0 == UInt8(ascii: ".") ? UInt8(ascii: "_") : $0.lowercase }
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

// Calls of AWS that answer with other keys: a client without a key must not get one by a call that the gate signs.
// It relies on the service that is signed for, as AWS refuses a signature for another one, and on the whole body being
// there.
import Wire

struct KeyIssuing {
  private enum Kind {
    /// Nearly all it does is handing out keys: what is not known to be harmless is refused.
    case tokens
    /// Some of its calls make keys.
    case identities
    case other
  }

  /// Of STS: those that answer with no key.
  private static let harmless: Set<String> = [
    "getcalleridentity", "getaccesskeyinfo", "decodeauthorizationmessage",
  ]
  /// Begin so, in any service, where they only look, or take away.
  private static let looking = [
    "list", "delete", "describe", "tag", "untag", "deactivate", "enable", "disable", "update",
  ]
  /// Stand in the name of each call that makes a key, a password or a seed, or gives one out.
  private static let keys = [
    "accesskey", "credential", "sessiontoken", "federationtoken", "mfadevice", "bearertoken", "authorizationtoken",
    "assumerole", "assumeroot", "loginprofile", "dataaccess", "createsession", "createtoken",
  ]
  /// Only tell of keys, and never give one.
  private static let telling: Set<String> = ["getaccesskeylastused", "getcredentialreport", "generatecredentialreport"]

  private let kind: Kind

  init(service: String, host: [UInt8]) {
    let labels = String(decoding: host, as: UTF8.self).split(separator: ".")
    if service == "sts" || labels.first == "sts" {
      kind = .tokens
    } else {
      kind = service == "iam" || labels.first == "iam" ? .identities : .other
    }
  }

  /// What is called may stand in the body.
  var needsBody: Bool { kind != .other }

  /// The call that answers with keys; nil where none does.
  func issuing(_ head: MessageHead) -> String? {
    let actions = Self.actions(head)
    if let action = actions.first(where: { issues($0.lowercased()) }) { return action.isEmpty ? "The call" : action }
    // Which call it is cannot be told.
    return kind != .other && actions.isEmpty ? "A call without an Action" : nil
  }

  private func issues(_ action: String) -> Bool {
    if kind == .tokens { return !Self.harmless.contains(action) }
    if Self.telling.contains(action) || Self.looking.contains(where: action.hasPrefix) { return false }
    return Self.keys.contains { action.contains($0) }
  }

  /// All that may be read as the name of the call: in the query, in a form, and in the field of the JSON protocols.
  private static func actions(_ head: MessageHead) -> [String] {
    var actions = head.fields.filter { $0.name.elementsEqual("x-amz-target".utf8) }.map { field in
      String(decoding: field.value, as: UTF8.self).split(separator: ".").last.map(String.init) ?? ""
    }
    let query = head.path.drop { $0 != UInt8(ascii: "?") }.dropFirst()
    for text in [Array(query), head.body ?? []] {
      for part in text.split(whereSeparator: { "&;\r\n".utf8.contains($0) }) {
        let pair = part.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
        guard decoded(pair[0]).lowercased() == "action" else { continue }
        actions.append(pair.count == 2 ? decoded(pair[1]) : "")
      }
    }
    return actions
  }

  private static func decoded(_ text: ArraySlice<UInt8>) -> String {
    let bytes = Array(text)
    let plain = String(decoding: Percent.decode(bytes.span) ?? bytes, as: UTF8.self)
    return plain.filter { $0 != " " && $0 != "+" }
  }
}

// One entry of the gate's approvals as the page shows it: what an approval would allow, in plain words, and what speaks
// against it. It relies on TerminalText: all that a client wrote comes out as printable ASCII.
import LogView
import Policy
package import Wire

package enum ApprovalWords {
  package static let shownMax = 200

  /// The lines of the gate's answer, newest last; `trusted` are names that the operator's rules allow.
  package static func entries(_ lines: [JSONValue], trusted: [HostName]) -> [JSONValue] {
    let entries = lines.compactMap { $0["approval"] }
    let approved = entries.filter { $0["state"]?.asText == "approved" }.compactMap(host).compactMap { host in
      if case .name(let name) = host { name } else { nil }
    }
    let suspicion = Suspicion(trusted: trusted + approved)
    return entries.suffix(shownMax).map { entry($0, suspicion) }
  }

  private static func entry(_ entry: JSONValue, _ suspicion: Suspicion) -> JSONValue {
    var members: [JSONMember] = []
    for name in [
      "id", "state", "client", "host", "method", "path", "note", "by", "for", "reason", "content", "excerpt",
    ] {
      if let text = entry[name]?.asText { members.append(JSONMember(name, .text(TerminalText.safe(text.utf8)))) }
    }
    for name in ["port", "count", "waiting", "left_ms", "age_ms"] {
      if let number = entry[name]?.asNumber { members.append(JSONMember(name, .number(number))) }
    }
    members.append(JSONMember("allows", .text(sentence(entry))))
    var warnings: [String] = []
    if let host = host(entry) {
      warnings = suspicion.reasons(against: host)
      if case .name(let name) = host { members.append(JSONMember("owner", .text(NameOwner.text(of: name)))) }
    }
    members.append(JSONMember("warnings", .list(warnings.map { .text(TerminalText.safe($0.utf8)) })))
    return .object(members)
  }

  private static func host(_ entry: JSONValue) -> Host? {
    guard let text = entry["host"]?.asText else { return nil }
    let bare = text.hasPrefix("[") ? String(text.dropFirst().dropLast()) : text
    if let address = IPAddress(bare) { return .address(address) }
    // The gate names hosts in the one spelling that is a name.
    return (try? HostName(bare)).map(Host.name)
  }

  private static func sentence(_ entry: JSONValue) -> String {
    if let content = entry["content"]?.asText { return flagged(content, entry) }
    let port = entry["port"]?.asNumber ?? 0
    if let method = entry["method"]?.asText {
      return "Allows \(TerminalText.safe(method.utf8)) requests to this path on port \(port), and no others."
    }
    let kind = port == 443 ? " (HTTPS)" : port == 80 ? " (HTTP)" : port == 22 ? " (SSH)" : ""
    return
      "Allows connections to this host on port \(port)\(kind), with anything in them: the gate does not look inside."
  }

  private static func flagged(_ content: String, _ entry: JSONValue) -> String {
    let found = entry["found"]?.asList.compactMap(\.asText) ?? []
    let names = TerminalText.safe(found.joined(separator: ", ").utf8)
    if content == "request" {
      let place = TerminalText.safe((entry["place"]?.asText ?? "request").utf8)
      return "Lets out a request with what looks like a secret: \(names), in its \(place)."
    }
    return
      "Lets in an answer that reads like instructions to an agent: \(names). The command `sluice review` shows all of "
      + "it, and can mark or remove the passages."
  }
}

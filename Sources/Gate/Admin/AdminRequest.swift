// Requests to a running gate: one line of JSON becomes one request, or a text that says what is wrong with it.
// It relies on Wire.JSONValue, and knows every member of every command: what it does not know is an error.
package import Flow
package import Policy
package import Wire

package enum AdminRequest: Equatable, Sendable {
  case status
  case metrics
  case reload
  case tunnels(max: Int)
  case close(id: UInt64, ordinal: UInt32?)
  case drain
  /// Entries of the approvals.
  case approvals(max: Int)
  case approve(id: String, ApprovalGrant, rule: String?)
  case refuse(id: String, isAlways: Bool)
  /// Flagged content: shown, or let through.
  case review(id: String, ReviewDecision?)
  /// The facts that a sandbox of this name needs before it is made.
  case client(name: String, probe: HostName)
  /// Listeners of a sandbox, in the order of the descriptors that come with the line.
  case attach(name: String, listeners: [AttachedListener], hasMore: Bool, isProbing: Bool)
  /// The sandbox of this connection has checked itself.
  case probed
  case detach

  package static let lineBytesMax = 4096
  package static let tunnelsMax = 10_000
  static let tunnelsDefault = 1_000
}

package struct AttachedListener: Equatable, Sendable {
  package let door: ListenerKind
  package let transport: BoundSocket.Transport

  package init(_ door: ListenerKind, _ transport: BoundSocket.Transport) {
    (self.door, self.transport) = (door, transport)
  }

  /// The word that stands for it; a datagram socket is that of DNS alone.
  package init?(word: String) {
    if word == "dns-udp" {
      self.init(.dns, .datagram)
    } else if let door = ListenerKind(rawValue: word) {
      self.init(door, .stream)
    } else {
      return nil
    }
  }

  package var word: String { transport == .datagram ? "dns-udp" : door.rawValue }
}

package struct AdminProblem: Error, Equatable {
  package let text: String
  package init(_ text: String) { self.text = text }
}

extension AdminRequest {
  private static let commands = [
    "status", "metrics", "reload", "tunnels", "close", "drain", "approvals", "approve", "refuse", "review", "client",
    "attach", "probed", "detach",
  ]

  package static func parse(_ line: [UInt8]) throws(AdminProblem) -> AdminRequest {
    let value: JSONValue
    do throws(JSONProblem) { value = try JSONValue.parse(line) } catch {
      throw AdminProblem("no JSON: \(error); a request is one object on one line, such as {\"command\":\"status\"}")
    }
    guard case .object(let members) = value, let command = value["command"]?.asText else {
      throw AdminProblem("a request is an object with `command`, such as {\"command\":\"status\"}")
    }
    let fields = AdminFields(value: value)
    switch command {
    case "status", "metrics", "reload", "drain", "probed", "detach": try fields.check(members, [])
    case "tunnels", "approvals": try fields.check(members, ["limit"])
    case "approve": try fields.check(members, ["id", "for", "rule"])
    case "refuse": try fields.check(members, ["id", "always"])
    case "review": try fields.check(members, ["id", "decision"])
    case "close": try fields.check(members, ["id"])
    case "client": try fields.check(members, ["name", "probe"])
    case "attach": try fields.check(members, ["name", "listeners", "more", "probing"])
    default: throw AdminProblem("no such command; there are \(commands.joined(separator: ", "))")
    }
    switch command {
    case "metrics": return .metrics
    case "reload": return .reload
    case "drain": return .drain
    case "probed": return .probed
    case "detach": return .detach
    case "approvals": return .approvals(max: try fields.limit())
    case "approve":
      return .approve(id: try fields.approvalID(), try fields.grant(), rule: try fields.rule())
    case "refuse": return .refuse(id: try fields.approvalID(), isAlways: try fields.flag("always"))
    case "review": return .review(id: try fields.approvalID(), try fields.decision())
    case "tunnels": return .tunnels(max: try fields.limit())
    case "close": return try fields.close()
    case "client": return .client(name: try fields.name(), probe: try fields.probe())
    case "attach":
      return .attach(
        name: try fields.name(), listeners: try fields.listeners(), hasMore: try fields.flag("more"),
        isProbing: try fields.flag("probing"))
    default: return .status
    }
  }

  /// True for a text that `approve` takes as a time.
  package static func isTime(_ text: String) -> Bool {
    if case .seconds? = ApprovalGrant(text) { true } else { false }
  }

  /// As the log writes it: the connection's number in hexadecimal, and with `-N` its Nth further request.
  package static func id(_ text: String) -> (id: UInt64, ordinal: UInt32?)? {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    guard (1...2).contains(parts.count), parts[0].utf8.allSatisfy({ $0.isDigit || (0x61...0x66).contains($0) }),
      let id = UInt64(parts[0], radix: 16)
    else { return nil }
    guard parts.count == 2 else { return (id, nil) }
    guard parts[1].utf8.allSatisfy(\.isDigit), let ordinal = UInt32(parts[1]) else { return nil }
    return (id, ordinal)
  }
}

private struct AdminFields {
  let value: JSONValue

  func check(_ members: [JSONMember], _ known: [String]) throws(AdminProblem) {
    guard members.allSatisfy({ $0.name == "command" || known.contains($0.name) }) else {
      let may = known.isEmpty ? "nothing" : known.joined(separator: ", ")
      throw AdminProblem("an unknown member; this command takes \(may) beside `command`")
    }
  }

  func limit() throws(AdminProblem) -> Int {
    guard let limit = value["limit"] else { return AdminRequest.tunnelsDefault }
    guard let number = limit.asNumber, (1...AdminRequest.tunnelsMax).contains(number) else {
      throw AdminProblem("`limit` is a number from 1 to \(AdminRequest.tunnelsMax)")
    }
    return number
  }

  func close() throws(AdminProblem) -> AdminRequest {
    guard let text = value["id"]?.asText, let (id, ordinal) = AdminRequest.id(text) else {
      throw AdminProblem("`id` is a text such as \"1f\" or \"1f-2\", as `sluice tunnels` and the log show it")
    }
    return .close(id: id, ordinal: ordinal)
  }

  func approvalID() throws(AdminProblem) -> String {
    guard let text = value["id"]?.asText, ApprovalEntry.mayBeID(text) else {
      throw AdminProblem("`id` is a text of five letters and digits, as `sluice approvals` shows it")
    }
    return text
  }

  func grant() throws(AdminProblem) -> ApprovalGrant {
    let text = value["for"].map { $0.asText ?? "" } ?? ApprovalGrant.once.text
    guard let grant = ApprovalGrant(text) else { throw AdminProblem("`for` is \(ApprovalGrant.form)") }
    return grant
  }

  func decision() throws(AdminProblem) -> ReviewDecision? {
    guard let value = value["decision"] else { return nil }
    guard let decision = value.asText.flatMap(ReviewDecision.init(rawValue:)) else {
      throw AdminProblem("`decision` is \(ReviewDecision.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    return decision
  }

  func rule() throws(AdminProblem) -> String? {
    guard let rule = value["rule"] else { return nil }
    guard let text = rule.asText, !text.isEmpty else {
      throw AdminProblem("`rule` is a text such as api.example.com:443")
    }
    return text
  }

  func name() throws(AdminProblem) -> String {
    guard let name = value["name"]?.asText, Client.mayBeCalled(name) else {
      throw AdminProblem("`name` is made of letters, digits, '-', '_' and '.', at most 64, and not `default`")
    }
    return name
  }

  func probe() throws(AdminProblem) -> HostName {
    // A text that is no host name says the same as none at all.
    guard let text = value["probe"]?.asText, let name = try? HostName(text) else {
      throw AdminProblem("`probe` is a host name")
    }
    return name
  }

  func listeners() throws(AdminProblem) -> [AttachedListener] {
    guard case .list(let items)? = value["listeners"], !items.isEmpty else {
      throw AdminProblem("`listeners` is a list of words, one for each descriptor that comes with the line")
    }
    var listeners: [AttachedListener] = []
    for item in items {
      guard let word = item.asText, let listener = AttachedListener(word: word) else {
        throw AdminProblem("a listener is connect, transparent, dns or dns-udp")
      }
      listeners.append(listener)
    }
    return listeners
  }

  func flag(_ name: String) throws(AdminProblem) -> Bool {
    guard let flag = value[name] else { return false }
    guard let isSet = flag.asBool else { throw AdminProblem("`\(name)` is true or false") }
    return isSet
  }
}

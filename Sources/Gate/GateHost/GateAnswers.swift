// The pages of `sluice.internal` as JSON and as text: a client hears of itself, and of nobody else.
// It relies on the client's own rules and refusals being handed in; names of credentials and places of rules stay out.
import Flow
import HTTPService
import Policy
import Wire

enum GateAnswers {
  /// A policy of ten thousand rules is no page for a reader.
  static let rulesMax = 500

  static func answer(
    _ status: Int, _ body: JSONValue, text: String, wantsText: Bool, fields: [String] = []
  ) -> HTTPAnswer {
    let more = ["Cache-Control: no-store", "X-Content-Type-Options: nosniff"] + fields
    if wantsText {
      return HTTPAnswer(
        status, type: HTTPAnswer.plainText, Array((text.hasSuffix("\n") ? text : text + "\n").utf8), fields: more)
    }
    return HTTPAnswer(status, type: "application/json", body.line, fields: more)
  }

  static func guide(wantsText: Bool) -> HTTPAnswer {
    let pages = ["/policy", "/refusals", "/requests/ID", "POST /requests"]
    let body = JSONValue.object([
      JSONMember("pages", .list(pages.map { .text($0) })), JSONMember("guide", .text(AgentGuide.text)),
    ])
    return answer(200, body, text: AgentGuide.text, wantsText: wantsText)
  }

  // MARK: - Policy

  static func policy(_ client: Client, nowNs: UInt64, nowUnix: Int64, waitSeconds: Int?, wantsText: Bool) -> HTTPAnswer
  {
    let network = client.network
    var rules: [ReachableRule] = []
    var leftOut = 0
    for rule in network.rulesInForce where !rule.isExpired(nowUnix: nowUnix) {
      guard rules.count < rulesMax else {
        leftOut += 1
        continue
      }
      if let reachable = ReachableRule(rule, network, nowUnix: nowUnix) { rules.append(reachable) }
    }
    let mode = network.isReportOnly ? "report" : "enforce"
    var members = [
      JSONMember("client", .text(client.name)), JSONMember("mode", .text(mode)),
      JSONMember("default", .text(network.defaultAllows ? "allow" : "deny")),
      JSONMember("allow", .list(rules.map { $0.json(nowNs: nowNs) })),
    ]
    if leftOut > 0 { members.append(JSONMember("left_out", .number(leftOut))) }
    if let waitSeconds {
      members.append(
        JSONMember(
          "approvals",
          .object([
            JSONMember("wait_seconds", .number(waitSeconds)), JSONMember("ask", .text("POST /requests")),
          ])))
    }
    var lines = ["You are the client \(client.name) of an egress gate (mode: \(mode)). You may reach:"]
    lines += rules.map { "  \($0.text(nowNs: nowNs))" }
    if rules.isEmpty { lines.append("  nothing") }
    if leftOut > 0 { lines.append("  and the targets of \(leftOut) more rules") }
    if waitSeconds != nil { lines.append("Ask for more: POST \(GateHost.url)requests") }
    return answer(200, .object(members), text: lines.joined(separator: "\n"), wantsText: wantsText)
  }

  // MARK: - Refusals

  static func refusals(_ refusals: [RememberedRefusal], wantsText: Bool) -> HTTPAnswer {
    let body = JSONValue.object([JSONMember("refusals", .list(refusals.map(\.json)))])
    let text = refusals.isEmpty ? "Nothing of yours was refused." : refusals.map(\.text).joined(separator: "\n")
    return answer(200, body, text: text, wantsText: wantsText)
  }
}

// MARK: - Requests

extension GateAnswers {
  /// A request for an approval, as its own client may know it: who decided is not told.
  static func request(_ entry: ApprovalEntry, status: Int, wantsText: Bool) -> HTTPAnswer {
    let target = "\(entry.key.subject.target)"
    var members = [
      JSONMember("id", .text(entry.id)), JSONMember("target", .text(target)),
      JSONMember("state", .text(entry.state.rawValue)),
      JSONMember("asked", .text(Timestamp.text(entry.askedUnixMs / 1000))),
    ]
    if let request = entry.key.subject.request {
      members += [JSONMember("method", .text(request.method)), JSONMember("path", .text(request.path))]
    }
    if let grant = entry.decision?.grant { members.append(JSONMember("for", .text(grant.text))) }
    return answer(
      status, .object(members), text: "\(entry.id)  \(target)  \(entry.state.rawValue)", wantsText: wantsText)
  }

  /// A target that the policy settles: no person is asked.
  static func settled(_ target: Target, isAllowed: Bool, _ reason: Reason?, wantsText: Bool) -> HTTPAnswer {
    let state = isAllowed ? "allowed" : "refused"
    var members = [JSONMember("target", .text("\(target)")), JSONMember("state", .text(state))]
    var text = "\(target)  \(state)"
    if let reason {
      members += [
        JSONMember("reason", .text(reason.rawValue)), JSONMember("message", .text("\(reason.explanation)")),
      ]
      text += "  \(reason.rawValue)  \(reason.explanation)"
    }
    return answer(200, .object(members), text: text, wantsText: wantsText)
  }
}

extension RememberedRefusal {
  var json: JSONValue {
    var members = [JSONMember("id", .text(id)), JSONMember("time", .text(timeText)), JSONMember("state", .text(state))]
    if let request { members.append(JSONMember("request_id", .text(request))) }
    members += [JSONMember("via", .text(via)), JSONMember("reason", .text(reason.rawValue))]
    if let host { members.append(JSONMember("host", .text(host))) }
    if let port { members.append(JSONMember("port", .number(Int(clamping: port)))) }
    members.append(JSONMember("message", .text("\(reason.explanation)")))
    return .object(members)
  }

  var text: String {
    let target = (host ?? "?") + (port.map { ":\($0)" } ?? "")
    return "\(timeText)  \(target)  \(reason.rawValue) (\(state))  \(reason.explanation)  id \(id)"
  }

  private var timeText: String {
    var out: [UInt8] = []
    Timestamp.append(unixMilliseconds: wallMs, to: &out)
    return String(decoding: out, as: UTF8.self)
  }
}

// A request of a browser to the page of approvals, judged: who asks, from which page, for what.
// It relies on PageRules for the address; it is pure. Nothing is changed by GET but that a token opens its session.
import Wire

enum ApprovalRequest: Equatable {
  /// The address that was printed: a session begins.
  case open(token: String)
  case list
  case approve(id: String, grant: String)
  case refuse(id: String, isAlways: Bool)
  /// Flagged content passes as it is.
  case release(id: String)
  case wrongMethod(allowed: String)
  case problem(status: Int, String)

  static let path = "/approvals"
  /// Offered by the buttons. What lasts for ever is for the command, which shows what it writes into the policy.
  static let grants = ["once", "1h", "session"]

  /// nil: the request is for another page. `isOpen`: whether a session has this secret.
  init?(_ head: RequestHead, _ bytes: Span<UInt8>, isOpen: (String) -> Bool) {
    let target = Self.text(bytes.extracting(head.requestTarget))
    let path = target.prefix { $0 != "?" }
    let query = Self.query(target.dropFirst(path.count + 1))
    let isPost = bytes.equals("POST", at: head.method)
    let isRead = bytes.equals("GET", at: head.method)
    switch (path, query["token"]) {
    case (Self.path[...], let token?) where isRead: self = .open(token: token)
    case ("/approvals/list", _):
      self = isRead ? .list : .wrongMethod(allowed: "GET")
    case ("/approvals/approve", _), ("/approvals/refuse", _), ("/approvals/release", _):
      self = isPost ? Self.decision(path, query) : .wrongMethod(allowed: "POST")
    default: return nil
    }
    if case .open = self { return }
    let cookie = head.field("cookie", in: bytes).map { Self.text(bytes.extracting($0)) }
    if let problem = Self.origin(head, bytes, isPost: isPost) {
      self = .problem(status: 403, problem)
    } else if cookie.flatMap(ApprovalSessions.value).map(isOpen) != true {
      self = .problem(status: 403, "no session: open the address that `sluice dashboard` printed last")
    }
  }

  private static func decision(_ path: Substring, _ query: [String: String]) -> ApprovalRequest {
    guard let id = query["id"], (1...64).contains(id.utf8.count),
      id.utf8.allSatisfy({
        $0.isDigit || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0 | 0x20) || $0 == UInt8(ascii: "-")
      })
    else {
      return .problem(status: 400, "the query has no id")
    }
    if path.hasSuffix("/release") { return .release(id: id) }
    if path.hasSuffix("/refuse") { return .refuse(id: id, isAlways: query["always"] == "1") }
    guard let grant = query["for"], grants.contains(grant) else {
      return .problem(status: 400, "`for` is one of \(grants.joined(separator: ", "))")
    }
    return .approve(id: id, grant: grant)
  }

  /// Browsers say of which page a request is; a decision without that word is nobody's.
  private static func origin(_ head: RequestHead, _ bytes: Span<UInt8>, isPost: Bool) -> String? {
    if let site = head.field("sec-fetch-site", in: bytes), !bytes.equals("same-origin", at: site) {
      return "another page asks"
    }
    guard isPost else { return nil }
    guard let origin = head.field("origin", in: bytes), let host = head.field("host", in: bytes) else {
      return "a decision comes from the page itself"
    }
    return text(bytes.extracting(origin)) == "http://" + text(bytes.extracting(host)) ? nil : "another page asks"
  }

  private static func query(_ text: Substring) -> [String: String] {
    var query: [String: String] = [:]
    for part in text.split(separator: "&") {
      let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if pair.count == 2 { query[String(pair[0])] = String(pair[1]) }
    }
    return query
  }

  private static func text(_ span: Span<UInt8>) -> String {
    var bytes: [UInt8] = []
    bytes.append(span)
    return String(decoding: bytes, as: UTF8.self)
  }
}

// A browser's request, judged: only GET and HEAD, only of the address that is listened on, only from the page
// itself.
// It relies on Wire.RequestHead, which has refused what can be read in two ways; it is pure.
import LogView
import Policy
package import Wire

/// Client of the figures, and their time.
struct FiguresChoice: Hashable {
  var gate: String?
  var client: String?
  var span = TimeSpan.tenMinutes
}

enum PageAnswer: Equatable {
  case file(PageFile)
  case figures(FiguresChoice)
  case events(FiguresChoice)
  case problem(status: Int, String)
}

package struct PageRules: Sendable {
  /// A longer head is refused.
  package static let headBytesMax = 8192

  private let address: IPAddress
  private let port: UInt16
  /// A gate is asked: there is a page of approvals.
  private let hasApprovals: Bool

  package init(address: IPAddress, port: UInt16, hasApprovals: Bool = false) {
    (self.address, self.port, self.hasApprovals) = (address, port, hasApprovals)
  }

  package var url: String {
    if case .v6 = address { return "http://[\(address)]:\(port)/" }
    return "http://\(address):\(port)/"
  }

  /// The problem with the address that is asked for, whatever else is wrong.
  func misdirection(_ head: RequestHead) -> PageAnswer? {
    guard case .origin = head.form, let host = head.originHost?.host else {
      return .problem(status: 400, "this is no proxy: ask for a path")
    }
    // A name that an attacker's DNS leads here would make the attacker's page one of this origin.
    return isOwn(host) ? nil : .problem(status: 421, "the dashboard is at \(url), and answers to no other name")
  }

  func answer(_ head: RequestHead, _ bytes: Span<UInt8>) -> PageAnswer {
    if let problem = misdirection(head) { return problem }
    guard head.isHEAD || bytes.equals("GET", at: head.method) else {
      return .problem(status: 405, "the dashboard answers GET and HEAD alone")
    }
    guard head.body == .none else { return .problem(status: 400, "a request here has no body") }
    let target = bytes.extracting(head.requestTarget)
    let mark = target.firstIndex(of: UInt8(ascii: "?"), in: 0..<target.count) ?? target.count
    let path = String(decoding: Self.array(target.extracting(0..<mark)), as: UTF8.self)
    let file = PageFile.allCases.first { $0.path == path && (hasApprovals || !$0.isOfApprovals) }
    if file?.isPage != true, isFromElsewhere(head, bytes) {
      return .problem(status: 403, "another site's page asks; open \(url) itself")
    }
    if let file { return .file(file) }
    guard path == "/figures" || path == "/events" else { return .problem(status: 404, "there is no \(path) here") }
    let query = Self.array(target.extracting(min(mark + 1, target.count)..<target.count))
    guard let choice = Self.choice(query) else {
      return .problem(status: 400, "the query is gate=NAME, client=NAME and span=10m, 2h or all")
    }
    return path == "/figures" ? .figures(choice) : .events(choice)
  }

  /// An address is nobody's name. `localhost` is loopback everywhere (RFC 6761 section 6.3), also at the near end of
  /// an ssh tunnel, so the port is not compared.
  private func isOwn(_ host: Host) -> Bool {
    switch host {
    case .address(let asked): asked == address || address.kind == .unspecified || Self.areLoopback(asked, address)
    case .name(let name): "\(name)" == "localhost" && (address.kind == .loopback || address.kind == .unspecified)
    }
  }

  private static func areLoopback(_ one: IPAddress, _ other: IPAddress) -> Bool {
    one.kind == .loopback && other.kind == .loopback
  }

  /// Browsers say where a request comes from; other programs need not.
  private func isFromElsewhere(_ head: RequestHead, _ bytes: Span<UInt8>) -> Bool {
    guard let field = head.field("sec-fetch-site", in: bytes) else { return false }
    return !bytes.equals("same-origin", at: field) && !bytes.equals("none", at: field)
  }

  private static func choice(_ query: [UInt8]) -> FiguresChoice? {
    var choice = FiguresChoice()
    for part in query.split(separator: UInt8(ascii: "&")) {
      let pair = part.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
      guard pair.count == 2, let value = Percent.decode(Array(pair[1]).span) else { return nil }
      let isGate = pair[0].elementsEqual("gate".utf8)
      if isGate || pair[0].elementsEqual("client".utf8) {
        // As the figures name it: printable ASCII.
        guard value.allSatisfy({ (0x20..<0x7f).contains($0) }) else { return nil }
        let name = value.isEmpty ? nil : String(decoding: value, as: UTF8.self)
        if isGate { choice.gate = name } else { choice.client = name }
      } else if pair[0].elementsEqual("span".utf8) {
        guard let span = TimeSpan(rawValue: String(decoding: value, as: UTF8.self)) else { return nil }
        choice.span = span
      } else {
        return nil
      }
    }
    return choice
  }

  private static func array(_ span: Span<UInt8>) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.append(span)
    return bytes
  }
}

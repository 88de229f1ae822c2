// `HOST:PORT` as an operator writes it, with an answer for each way to write it wrong.
// It relies on Wire for names and addresses: what stands here is what a request's target is compared with.
import Policy
import Wire
import YAML

struct RuleText: Hashable, Sendable {
  var pattern: HostPattern
  var ports: PortSet

  /// The reason why a text is not a rule; `description` says what to write.
  struct Problem: Error, CustomStringConvertible { let description: String }

  /// `portsDefault` applies if the text names no port; nil makes that a problem. A deny rule may name a network.
  static func parse(_ text: String, portsDefault: PortSet? = nil, isDeny: Bool = false) throws(Problem) -> RuleText {
    if isDeny, let network = try parseNetwork(text, portsDefault) { return network }
    try rejectLookalikes(text)
    let (host, port) = try split(text)
    guard let ports = try port.map(parsePorts) ?? portsDefault else {
      throw Problem(description: "the port is missing; write \(host):443 (or \(host):* for all ports)")
    }
    return RuleText(pattern: try parsePattern(String(host)), ports: ports)
  }

  /// Texts that people paste in place of `HOST:PORT`.
  private static func rejectLookalikes(_ text: String) throws(Problem) {
    if text.isEmpty { throw Problem(description: "the rule is empty; write HOST:PORT") }
    for scalar in text.unicodeScalars {
      if let advice = Typography.advice(scalar) { throw Problem(description: advice) }
    }
    try rejectUDP(text)
    if text.contains("${") || text.contains("{{") || text.hasPrefix("$") || text.hasPrefix("%") {
      throw Problem(description: "a policy has no variables; write the host itself in place of `\(text.quotable)`")
    }
    try rejectKey(text)
    if let pattern = regularExpression(text) {
      throw Problem(
        description:
          "a rule is not a regular expression (`\(pattern)` means nothing here); write *.example.com:443 for every"
          + " name below example.com, and a rule for each other name")
    }
    if text.contains(" "), let last = text.split(separator: " ").last, last.utf8.allSatisfy(\.isDigit) {
      throw Problem(
        description:
          "a space between host and port; write \(String(text.prefix { $0 != " " }).quotable):\(last.prefix(9))")
    }
    if text.contains(" - "), !text.contains("[") {
      throw Problem(
        description: "the next entry is indented deeper, and so continues this text; indent each `-` of a list alike")
    }
    if let end = text.firstIndex(of: " "), !text.contains("[") {
      throw Problem(
        description: "a rule names one host; write an entry for each, such as \(String(text[..<end]).quotable)")
    }
    if let separator = text.first(where: { $0 == ";" || $0 == "," }), !text.contains("[") {
      let first = text.prefix { $0 != separator }
      let isList = text.dropFirst(first.count + 1).contains(".")
      throw Problem(
        description: isList
          ? "a rule names one host; write an entry for each, such as \(String(first).quotable)"
          : "`\(separator)` stands between ports; write them in a list: HOST:[80, 443]")
    }
    if let scheme = text.firstRange(of: "://") {
      let whole = text[scheme.upperBound...].prefix { $0 != "/" && $0 != "?" }
      let rest = whole.split(separator: "@").last ?? whole
      let port = servicePorts[text[..<scheme.lowerBound].lowercased()].map(String.init) ?? "PORT"
      let authority = rest.contains(":") ? String(rest) : "\(rest):\(port)"
      throw Problem(description: "a rule is HOST:PORT without a scheme; write \(authority.quotable)")
    }
    if text.contains("@") { throw Problem(description: "a rule has no user part; write HOST:PORT") }
    if let slash = text.firstIndex(of: "/") {
      let front = String(text[..<slash])
      if IPAddress(front) != nil {
        throw Problem(
          description: "a network is not a host; name the host, and list \(text.quotable) under its `addresses`")
      }
      throw Problem(description: "a rule has no path; write \(front.contains(":") ? front : front + ":443")")
    }
  }

  /// `host:a.test:443`, a key without the space behind its colon.
  private static func rejectKey(_ text: String) throws(Problem) {
    guard text.hasPrefix("host:"), let rest = text.split(separator: ":", maxSplits: 1).last, rest.contains(".") else {
      return
    }
    let value = String(rest.prefix { $0 != " " }).quotable
    throw Problem(
      description: "a space is missing behind `host:`; write `host: \(value)`, and each key in its own line")
  }

  /// Ports for advice only: names that people write in place of a number.
  private static let servicePorts: [String: Int] = [
    "http": 80, "ws": 80, "https": 443, "wss": 443, "grpc": 443, "ssh": 22, "sftp": 22, "git": 9418, "ftp": 21,
    "smtp": 25, "imap": 143, "imaps": 993, "ldap": 389, "ldaps": 636, "dns": 53, "domain": 53, "postgres": 5432,
    "postgresql": 5432, "mysql": 3306, "redis": 6379, "rediss": 6379, "mongodb": 27017, "amqp": 5672, "amqps": 5671,
  ]

  private static func rejectUDP(_ text: String) throws(Problem) {
    let lower = text.lowercased()
    if lower.hasPrefix("udp://") || lower.hasPrefix("udp:") || lower.hasSuffix("/udp") {
      throw Problem(
        description:
          "no rule lets UDP out; names are answered by the gate's own DNS (`listen: {dns: …}`), and for TCP write"
          + " HOST:PORT")
    }
    if lower.hasSuffix("/tcp") || lower.hasPrefix("tcp:") {
      throw Problem(description: "every rule is about TCP; write HOST:PORT")
    }
  }

  /// The part of a text that is only a regular expression's.
  private static func regularExpression(_ text: String) -> String? {
    for part in [".*", ".+", "\\", "^", "$", "(", ")", "|", "{", "}", "+", "?"] where text.contains(part) {
      // `a.*.test` is a wildcard in the wrong place.
      if part == ".*", isMisplacedWildcard(text) { return nil }
      // A URL with a query gets its own message.
      return text.contains("://") ? nil : part
    }
    guard let bracket = text.firstIndex(of: "["), bracket > text.startIndex else { return nil }
    return text[text.index(before: bracket)] == ":" ? nil : "["
  }

  private static func isMisplacedWildcard(_ text: String) -> Bool {
    text.first != "." && text.contains(".*.")
      && text.allSatisfy { $0.isLetter || $0.isNumber || "-_.:*".contains($0) }
  }

  /// `10.0.0.0/8:*` or `[fd00::/8]:*`; nil where the text is about no network.
  private static func parseNetwork(_ text: String, _ portsDefault: PortSet?) throws(Problem) -> RuleText? {
    guard let slash = text.firstIndex(of: "/"), !text.contains("://") else { return nil }
    let front = String(text[..<slash])
    let isBracketed = front.hasPrefix("[")
    guard let address = IPAddress(isBracketed ? String(front.dropFirst()) : front) else { return nil }
    let isV6 = address.width == 128
    guard isBracketed == isV6 else {
      let form = isV6 ? "an IPv6 network stands in brackets" : "an IPv4 network stands without brackets"
      throw Problem(description: "\(form), with its port behind; write \(isV6 ? "\"[fd00::/8]:*\"" : "10.0.0.0/8:*")")
    }
    let end = isV6 ? text.firstIndex(of: "]") : text.firstIndex(of: ":") ?? text.endIndex
    guard let end else {
      throw Problem(description: "the bracket of the IPv6 network is not closed; write [fd00::/8]:*")
    }
    let prefix: AddressPrefix
    do throws(AddressPrefixProblem) {
      prefix = try AddressPrefix(String(text[(isV6 ? text.index(after: text.startIndex) : text.startIndex)..<end]))
    } catch {
      throw Problem(description: "`\(text.quotable)`: \(error)")
    }
    let pattern = HostPattern.network(prefix)
    let rest = isV6 ? text[end...].dropFirst() : text[end...]
    if rest.isEmpty {
      if let portsDefault { return RuleText(pattern: pattern, ports: portsDefault) }
      throw Problem(description: "the port is missing; write \(pattern):* for all ports")
    }
    guard rest.hasPrefix(":") else {
      throw Problem(description: "behind the network comes :PORT, not `\(String(rest).quotable)`")
    }
    return RuleText(pattern: pattern, ports: try parsePorts(rest.dropFirst()))
  }

  private static func split(_ text: String) throws(Problem) -> (host: Substring, port: Substring?) {
    if text.hasPrefix("[") {
      guard let end = text.firstIndex(of: "]") else {
        throw Problem(description: "the bracket of the IPv6 address is not closed; write [2001:db8::1]:443")
      }
      let rest = text[text.index(after: end)...]
      if rest.isEmpty { return (text[...end], nil) }
      guard rest.hasPrefix(":") else {
        throw Problem(description: "behind the ] comes :PORT, not `\(String(rest).quotable)`")
      }
      return (text[...end], rest.dropFirst())
    }
    guard let colon = text.firstIndex(of: ":") else { return (text[...], nil) }
    let rest = text[text.index(after: colon)...]
    if rest.contains(":") {
      throw Problem(description: "an IPv6 address stands in brackets, and the whole in quotes: \"[2001:db8::1]:443\"")
    }
    return (text[..<colon], rest)
  }

  private static func parsePattern(_ host: String) throws(Problem) -> HostPattern {
    if host == "*" { return .any }
    if host.isEmpty { throw Problem(description: "the host is missing in front of the port") }
    if host.hasPrefix("[") {
      guard let address = IPAddress(String(host.dropFirst().dropLast())), address.width == 128 else {
        throw Problem(
          description: "`\(host.quotable)` is not an IPv6 address; write it as [2001:db8::1], without a zone")
      }
      return .exact(.address(address))
    }
    if host.hasPrefix(".") {
      throw Problem(
        description: "write *\(host.quotable) for the names below, and the name itself in a rule of its own")
    }
    if host.hasPrefix("*.") { return .wildcard(try name(String(host.dropFirst(2)), of: host)) }
    if host.contains("*") {
      throw Problem(description: "a wildcard is one * in place of the first labels, as in *.example.com")
    }
    if let address = IPAddress(host) { return .exact(.address(address)) }
    let exact = try name(host, of: host)
    guard !exact.isGate else {
      throw Problem(
        description:
          "\(GateHost.text) is the gate itself, which tells clients there what they may reach; no rule names it")
    }
    return .exact(.name(exact))
  }

  private static func name(_ text: String, of host: String) throws(Problem) -> HostName {
    if text.contains("*") {
      throw Problem(description: "a wildcard is one * in place of the first labels, as in *.example.com")
    }
    do throws(HostNameProblem) { return try HostName(text) } catch {
      throw Problem(description: "`\(host.quotable)`: \(error)")
    }
  }

  /// `443`, `8000-8010`, `[80, 443]` or `*`.
  static func parsePorts(_ text: Substring) throws(Problem) -> PortSet {
    var text = text
    if text.hasPrefix("["), text.hasSuffix("]") { text = text.dropFirst().dropLast() }
    var ranges: [ClosedRange<UInt16>] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let part = part.trimmed
      if part == "*" {
        ranges.append(1...UInt16.max)
        continue
      }
      let ends = part.split(separator: "-", omittingEmptySubsequences: false)
      guard (1...2).contains(ends.count), let low = port(ends[0].trimmed), let high = port(ends[ends.count - 1].trimmed)
      else {
        throw Problem(description: badPort(String(part)))
      }
      guard low <= high else { throw Problem(description: "the range is reversed; write \(high)-\(low)") }
      ranges.append(low...high)
    }
    return PortSet(ranges)
  }

  private static func badPort(_ part: String) -> String {
    let form = "a port is a number from 1 to 65535, a range 8000-8010, a list [80, 443] or *"
    if part.isEmpty { return "the port is empty; \(form)" }
    if let number = servicePorts[part.lowercased()] { return "a port is a number; write \(number)" }
    return "`\(part.quotable)` is not a port; \(form)"
  }

  private static func port(_ text: Substring) -> UInt16? {
    guard (1...5).contains(text.utf8.count), text.utf8.allSatisfy(\.isDigit), text.first != "0" else {
      return nil
    }
    return UInt16(text)
  }
}

extension Substring {
  fileprivate var trimmed: Substring {
    var text = self
    while text.first == " " { text = text.dropFirst() }
    while text.last == " " { text = text.dropLast() }
    return text
  }
}

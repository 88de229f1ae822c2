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
    if let pattern = regularExpression(text) {
      throw Problem(
        description:
          "a rule is no regular expression (`\(pattern)` means nothing here); write *.example.com:443 for every"
          + " name below example.com, and a rule for each other name")
    }
    if text.contains(" "), let last = text.split(separator: " ").last, last.utf8.allSatisfy(\.isDigit) {
      throw Problem(
        description:
          "a space between host and port; write \(String(text.prefix { $0 != " " }).quotable):\(last.prefix(9))")
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
      let rest = text[scheme.upperBound...].prefix { $0 != "/" && $0 != "?" }
      let port = text.hasPrefix("http:") ? 80 : 443
      let authority = rest.contains(":") ? String(rest) : "\(rest):\(port)"
      throw Problem(description: "a rule is HOST:PORT without a scheme; write \(authority.quotable)")
    }
    if text.contains("@") { throw Problem(description: "a rule has no user part; write HOST:PORT") }
    if let slash = text.firstIndex(of: "/") {
      let front = String(text[..<slash])
      if IPAddress(front) != nil {
        throw Problem(
          description: "a network is no host; name the host, and list \(text.quotable) under its `addresses`")
      }
      throw Problem(description: "a rule has no path; write \(front.contains(":") ? front : front + ":443")")
    }
  }

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
      // A URL with a query gets its own message.
      return text.contains("://") ? nil : part
    }
    return nil
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
        throw Problem(description: "`\(host.quotable)` is no IPv6 address; write it as [2001:db8::1], without a zone")
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
      guard low <= high else { throw Problem(description: "the range is turned round; write \(high)-\(low)") }
      ranges.append(low...high)
    }
    return PortSet(ranges)
  }

  private static func badPort(_ part: String) -> String {
    let form = "a port is a number from 1 to 65535, a range 8000-8010, a list [80, 443] or *"
    if part.isEmpty { return "the port is empty; \(form)" }
    if part == "http" || part == "https" { return "a port is a number; write \(part == "http" ? 80 : 443)" }
    return "`\(part.quotable)` is no port; \(form)"
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

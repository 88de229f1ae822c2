// A POST that the gate itself makes, to an address of its operator's: one request, of the answer the status.
// It relies on BlockingTLS and BlockingSocket, and on being called on a thread that may wait; no redirect is followed.
package import Kernel
import Policy
package import Wire

package struct HTTPPost: Sendable {
  package static let answerBytesMax = 64 * 1024

  package let target: Target
  private let isTLS: Bool
  private let path: String

  /// nil: no `http://` or `https://` address with a host that a request can name. TLS takes a name.
  package init?(url: String) {
    guard let scheme = [("https://", true), ("http://", false)].first(where: { url.hasPrefix($0.0) }),
      url.utf8.allSatisfy({ (0x21...0x7e).contains($0) })
    else { return nil }
    isTLS = scheme.1
    let rest = url.dropFirst(scheme.0.count).prefix { $0 != "#" }
    let authority = rest.prefix { $0 != "/" && $0 != "?" }
    // The reader of the policy says what is wrong with the address.
    guard let target = try? Authority.parse(Array(authority.utf8).span, defaultPort: isTLS ? 443 : 80) else {
      return nil
    }
    if isTLS, case .address = target.host { return nil }
    self.target = target
    let tail = String(rest.dropFirst(authority.count))
    path = tail.hasPrefix("/") ? tail : "/" + tail
  }

  /// The status of the answer.
  package func send(
    _ body: [UInt8], fields: [(name: String, value: String)], to addresses: [SocketAddress]
  ) throws(CredentialProblem) -> Int {
    let answer = try exchange(request(body, fields), addresses)
    var head = ResponseHead()
    guard case .complete = head.parse(answer.span, bytesMax: Self.answerBytesMax) else {
      throw CredentialProblem("\(target) sent no HTTP answer")
    }
    return head.status
  }

  private func exchange(_ request: [UInt8], _ addresses: [SocketAddress]) throws(CredentialProblem) -> [UInt8] {
    guard isTLS else {
      return try BlockingSocket.exchange(request, with: "\(target)", at: addresses, bytesMax: Self.answerBytesMax)
    }
    guard case .name(let name) = target.host else { throw CredentialProblem("https wants a host name, not \(target)") }
    return try BlockingTLS(name: name, addresses: addresses, tls: UpstreamTLS()).exchange(
      request, bytesMax: Self.answerBytesMax)
  }

  func request(_ body: [UInt8], _ fields: [(name: String, value: String)]) -> [UInt8] {
    let host = target.port == (isTLS ? 443 : 80) ? "\(target.host)" : "\(target)"
    var lines = ["POST \(path) HTTP/1.1", "Host: \(host)", "User-Agent: sluice", "Content-Type: application/json"]
    lines += fields.map { "\($0.name): \($0.value)" }
    lines += ["Content-Length: \(body.count)", "Connection: close"]
    return Array((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8) + body
  }
}

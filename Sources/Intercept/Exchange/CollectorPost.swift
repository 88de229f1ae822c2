// Sends one body by POST over HTTP/1.1, with TLS or without, and waits for the answer: for commands, not for loops.
// It relies on BlockingTLS, which verifies the server, on BlockingSocket, and on the caller for addresses. Each request
// has its own connection.
package import Kernel
package import Policy
package import Wire

/// `http(s)://HOST[:PORT][/PATH]`.
package struct PostURL: Equatable, Sendable, CustomStringConvertible {
  package struct Problem: Error, CustomStringConvertible { package let description: String }

  package let isTLS: Bool
  package let target: Target
  package let path: String

  /// `path` is the one where the text has none.
  package init(_ text: String, port: UInt16, path: String) throws(Problem) {
    isTLS = text.hasPrefix("https://")
    guard isTLS || text.hasPrefix("http://") else {
      throw Problem(description: "write http://HOST:PORT or https://HOST:PORT")
    }
    let rest = text.dropFirst(isTLS ? 8 : 7)
    let slash = rest.firstIndex(of: "/") ?? rest.endIndex
    let own = String(rest[slash...])
    self.path = own.isEmpty || own == "/" ? path : own
    guard self.path.utf8.allSatisfy({ (0x21..<0x7f).contains($0) }), !self.path.contains("#") else {
      throw Problem(description: "a path is visible ASCII; escape other bytes as %XX")
    }
    let authority = Array(rest[..<slash].utf8)
    if authority.contains(UInt8(ascii: "@")) {
      throw Problem(description: "no user and password in a URL, where other users see them; use a file of headers")
    }
    do throws(AuthorityProblem) { target = try Authority.parse(authority.span, defaultPort: port) } catch {
      throw Problem(description: "\(error); write http://HOST:PORT or https://HOST:PORT")
    }
    if isTLS, case .address = target.host {
      throw Problem(description: "https needs the name that the server's certificate has, in place of an address")
    }
  }

  package var description: String { "\(isTLS ? "https" : "http")://\(target)\(path)" }
}

package struct CollectorPost: Sendable {
  package struct Problem: Error, CustomStringConvertible {
    package let description: String

    package init(description: String) { self.description = description }
  }

  package struct Answer: Sendable {
    package let status: Int
    /// The pause that the server asks for (RFC 9110 section 10.2.3); a date is not read.
    package let retryAfterSeconds: UInt64?
    package let body: [UInt8]
  }

  private static let answerBytesMax = 64 * 1024

  package let url: PostURL
  private let tls: UpstreamTLS
  /// Lines of the head, each with its end.
  private let fields: [UInt8]

  /// `roots` in place of the system's.
  package init(_ url: PostURL, type: StaticString, roots: UpstreamTLS.PEM?, fields: [String]) {
    self.url = url
    var tls = UpstreamTLS()
    tls.roots = roots
    self.tls = tls
    let all = ["Content-Type: \(type)", "Accept: \(type)", "Connection: close"] + fields
    self.fields = Array(all.map { $0 + "\r\n" }.joined().utf8)
  }

  package func send(_ body: [UInt8], to addresses: [SocketAddress]) throws(Problem) -> Answer {
    var request = Array("POST \(url.path) HTTP/1.1\r\nHost: \(url.target)\r\n".utf8)
    request += fields
    request += Array("Content-Length: \(body.count)\r\n\r\n".utf8)
    request += body
    let bytes = try exchange(request, addresses)
    guard let answer = WholeAnswer(bytes), let body = answer.body else {
      throw Problem(description: "\(url.target) sent no whole HTTP answer")
    }
    return Answer(status: answer.head.status, retryAfterSeconds: answer.retryAfterSeconds, body: body)
  }

  private func exchange(_ request: [UInt8], _ addresses: [SocketAddress]) throws(Problem) -> [UInt8] {
    do throws(CredentialProblem) {
      guard url.isTLS else {
        return try BlockingSocket.exchange(
          request, with: "\(url.target)", at: addresses, bytesMax: Self.answerBytesMax, isWhole: WholeAnswer.isWhole)
      }
      guard case .name(let name) = url.target.host else {
        throw CredentialProblem("https wants a host name, not \(url.target)")
      }
      let stream = try BlockingTLS(name: name, addresses: addresses, tls: tls)
      return try stream.exchange(request, bytesMax: Self.answerBytesMax, isWhole: WholeAnswer.isWhole)
    } catch { throw Problem(description: error.description) }
  }
}

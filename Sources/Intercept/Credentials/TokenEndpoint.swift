// Asks a token endpoint for an access token (RFC 6749 sections 4.4 and 6): one request, one answer.
// It relies on BlockingTLS for the connection; the answer is JSON, and of an error only a code of the RFC is told.
import Kernel
import Policy
import Wire

struct TokenEndpoint {
  /// Most of what is short-lived lives longer; where the endpoint does not say, it is asked again soon.
  private static let unstatedLifetimeMs: UInt64 = 600_000
  private static let errorCodes = [
    "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
    "invalid_scope",
  ]

  let grant: OAuth2
  let addresses: [SocketAddress]

  func ask(
    clientSecret: Secret, refreshToken: Secret?, for placement: Credential.Placement, nowUnix: Int64
  ) throws(CredentialProblem) -> FetchedCredential {
    var request = request(clientSecret, refreshToken)
    defer { Secret.wipe(&request) }
    guard case .name(let name) = grant.endpoint.host else { throw CredentialProblem("the endpoint has no name") }
    let tls = try BlockingTLS(name: name, addresses: addresses, tls: grant.tls)
    var answer = try tls.exchange(request, bytesMax: CredentialText.bytesMax)
    defer { Secret.wipe(&answer) }
    return try read(&answer, placement)
  }

  // MARK: - The request

  func request(_ clientSecret: Secret, _ refreshToken: Secret?) -> [UInt8] {
    // Room for all, encoded: what outgrows its memory leaves a copy behind.
    let texts =
      grant.path.utf8.count + grant.clientID.utf8.count + (grant.scope ?? "").utf8.count
      + (grant.audience ?? "").utf8.count
    let room = 4 * (texts + clientSecret.count + (refreshToken?.count ?? 0)) + 1024
    var form = form(clientSecret, refreshToken, room)
    defer { Secret.wipe(&form) }
    var request: [UInt8] = []
    request.reserveCapacity(2 * room)
    request += "POST \(grant.path) HTTP/1.1\r\nHost: ".utf8
    grant.endpoint.host.append(to: &request)
    if grant.endpoint.port != 443 { request += ":\(grant.endpoint.port)".utf8 }
    request += "\r\nContent-Type: application/x-www-form-urlencoded\r\nAccept: application/json\r\n".utf8
    if grant.authentication == .basic {
      // Both are form-encoded before they are joined (RFC 6749 section 2.3.1).
      var pair: [UInt8] = []
      pair.reserveCapacity(room)
      Percent.append(grant.clientID.utf8, to: &pair)
      pair.append(UInt8(ascii: ":"))
      clientSecret.withCopy { Percent.append($0, to: &pair) }
      request += "Authorization: Basic ".utf8
      Base64.append(pair, to: &request)
      request += "\r\n".utf8
      Secret.wipe(&pair)
    }
    request += "Content-Length: \(form.count)\r\nConnection: close\r\n\r\n".utf8
    request += form
    return request
  }

  private func form(_ clientSecret: Secret, _ refreshToken: Secret?, _ room: Int) -> [UInt8] {
    var form: [UInt8] = []
    form.reserveCapacity(room)
    Self.add("grant_type", refreshToken == nil ? "client_credentials" : "refresh_token", to: &form)
    refreshToken?.withCopy { Self.add("refresh_token", $0, to: &form) }
    if let scope = grant.scope { Self.add("scope", scope, to: &form) }
    if let audience = grant.audience { Self.add("audience", audience, to: &form) }
    if grant.authentication == .body {
      Self.add("client_id", grant.clientID, to: &form)
      clientSecret.withCopy { Self.add("client_secret", $0, to: &form) }
    }
    return form
  }

  private static func add(_ name: String, _ value: String, to form: inout [UInt8]) {
    add(name, Array(value.utf8), to: &form)
  }

  private static func add(_ name: String, _ value: [UInt8], to form: inout [UInt8]) {
    if !form.isEmpty { form.append(UInt8(ascii: "&")) }
    form += name.utf8
    form.append(UInt8(ascii: "="))
    Percent.append(value, to: &form)
  }

  // MARK: - The answer

  func read(_ answer: inout [UInt8], _ placement: Credential.Placement) throws(CredentialProblem) -> FetchedCredential {
    guard var whole = WholeAnswer(answer) else {
      throw CredentialProblem("\(grant.endpoint) sent no HTTP answer")
    }
    let head = whole.head
    guard var body = whole.takeBody() else { throw CredentialProblem("the answer of \(grant.endpoint) ended early") }
    defer { Secret.wipe(&body) }
    CredentialText.withoutMark(&body)
    let value = try? JSONOutline(of: body)  // What stands there is told to nobody.
    guard (200..<300).contains(head.status) else {
      let code = value?["error"]?.text(in: body).map { String(decoding: $0, as: UTF8.self) } ?? ""
      let known = Self.errorCodes.contains(code) ? " (\(code))" : ""
      var problem = CredentialProblem("\(grant.endpoint) answered \(head.status)\(known)")
      problem.endsRefreshToken = head.status < 500 && code == "invalid_grant"
      throw problem
    }
    guard let value, var token = value["access_token"]?.text(in: body) else {
      throw CredentialProblem("\(grant.endpoint) answered without an `access_token`")
    }
    var lifetimeMs = Self.unstatedLifetimeMs
    // Some send the number as a text, and some null. A new refresh token may have come with it: it must not be lost
    // here.
    if let stated = value["expires_in"],
      let seconds = stated.wholeNumber(in: body)
        ?? stated.text(in: body).flatMap({ UInt64(String(decoding: $0, as: UTF8.self)) })
    {
      lifetimeMs = CredentialText.lifetimeMs(seconds: seconds)
    }
    var fetched = FetchedCredential(
      value: CredentialValue(secret: try CredentialText.secret(&token, placement)), lifetimeMs: lifetimeMs)
    if var refresh = value["refresh_token"]?.text(in: body), !refresh.isEmpty {
      fetched.refreshToken = Secret(taking: &refresh)
    }
    return fetched
  }
}

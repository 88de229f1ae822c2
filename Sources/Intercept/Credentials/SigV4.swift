// AWS Signature Version 4: a request signed anew with the gate's keys, over what goes out.
// It relies on OpenSSL for SHA-256 and HMAC; the client's signature says region, service and payload, and is dropped.
import COpenSSL
import Wire

struct SigV4 {
  struct Problem: Error, Equatable, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
  }

  enum Payload: Equatable {
    /// What `x-amz-content-sha256` says, or the hash of a body that is known.
    case stated([UInt8])
    /// The hash of the body, which has to be there whole first.
    case ofBody
  }

  static let algorithm = "AWS4-HMAC-SHA256"
  private static let unsigned = Array("UNSIGNED-PAYLOAD".utf8)

  let region: String
  let service: String

  /// What the policy states, and where it does not, what the client signed for.
  init(region: String?, service: String?, client: [UInt8]?) throws(Problem) {
    let scope = client.flatMap(ClientSignature.init)
    if let text = client, scope == nil, text.starts(with: "AWS4-ECDSA".utf8) {
      throw Problem("the client signs with AWS4-ECDSA-P256-SHA256; make it use AWS4-HMAC-SHA256 (sigv4)")
    }
    guard let region = region ?? scope?.region, let service = service ?? scope?.service else {
      throw Problem("the request is not signed, and the policy states no region and service to sign it for")
    }
    (self.region, self.service) = (region, service)
  }

  /// What of the payload is signed. S3 takes a request without it; elsewhere the body is hashed.
  func payload(of head: MessageHead, hasBody: Bool) throws(Problem) -> Payload {
    if let stated = head["x-amz-content-sha256"] {
      if stated.starts(with: "STREAMING-AWS4".utf8) {
        throw Problem(
          "each chunk of the body is signed with the client's key; make the client send an unsigned payload over TLS")
      }
      return .stated(stated)
    }
    if service == "s3" { return .stated(Self.unsigned) }
    return hasBody ? .ofBody : .stated(Digest.hexadecimal(Digest.sha256([])))
  }

  /// Puts date, session token and signature into the head. `host` is what the upstream is told in Host.
  func sign(_ head: inout MessageHead, host: [UInt8], payload: [UInt8], value: CredentialValue, unixSeconds: Int64) {
    let signedByClient = head["authorization"].flatMap(ClientSignature.init)?.signedHeaders ?? []
    for name in ["authorization", "x-amz-date", "x-amz-security-token", "date"] as [StaticString] { head.remove(name) }
    let date = Self.date(unixSeconds)
    head.add("x-amz-date", date)
    if let session = value.sessionToken { head.add("x-amz-security-token", session.copy, isSensitive: true) }
    if service == "s3", head["x-amz-content-sha256"] == nil { head.add("x-amz-content-sha256", payload) }
    let fields = Self.signedFields(head, host: host, alsoSigned: signedByClient)
    let names = Self.joined(fields.map(\.name), ";")
    let request = canonicalRequest(head, fields, names, payload)
    let scope = Array("\(String(decoding: date.prefix(8), as: UTF8.self))/\(region)/\(service)/aws4_request".utf8)
    let text = Array(Self.algorithm.utf8) + [0x0a] + date + [0x0a] + scope + [0x0a]
    let toSign = text + Digest.hexadecimal(Digest.sha256(request))
    let signature = Digest.hexadecimal(Digest.hmac(signingKey(value.secret, date), toSign))
    var authorization = Array("\(Self.algorithm) Credential=".utf8) + value.keyID + [UInt8(ascii: "/")] + scope
    authorization += Array(", SignedHeaders=".utf8) + names + Array(", Signature=".utf8) + signature
    head.add("authorization", authorization, isSensitive: true)
  }

  // MARK: - The canonical request

  func canonicalRequest(
    _ head: MessageHead, _ fields: [MessageHead.Field], _ names: [UInt8], _ payload: [UInt8]
  ) -> [UInt8] {
    let mark = head.path.firstIndex(of: UInt8(ascii: "?")) ?? head.path.endIndex
    var request = head.method + [0x0a]
    request += canonicalPath(Array(head.path[..<mark])) + [0x0a]
    request += Self.canonicalQuery(head.path[mark...].dropFirst()) + [0x0a]
    for field in fields { request += field.name + [UInt8(ascii: ":")] + field.value + [0x0a] }
    return request + [0x0a] + names + [0x0a] + payload
  }

  /// S3 signs the path as it is sent; all others encode it once more, after dots and double slashes are resolved.
  private func canonicalPath(_ path: [UInt8]) -> [UInt8] {
    if path.isEmpty { return [UInt8(ascii: "/")] }
    if service == "s3" { return path }
    var segments: [ArraySlice<UInt8>] = []
    for segment in path.split(separator: UInt8(ascii: "/")) {
      if segment.elementsEqual(".".utf8) { continue }
      if segment.elementsEqual("..".utf8) { _ = segments.popLast() } else { segments.append(segment) }
    }
    var canonical: [UInt8] = []
    for segment in segments {
      canonical.append(UInt8(ascii: "/"))
      Percent.append(segment, to: &canonical)
    }
    if canonical.isEmpty || path.last == UInt8(ascii: "/") { canonical.append(UInt8(ascii: "/")) }
    return canonical
  }

  static func canonicalQuery(_ query: ArraySlice<UInt8>) -> [UInt8] {
    let pairs = query.split(separator: UInt8(ascii: "&")).map { part -> (name: [UInt8], value: [UInt8]) in
      let equals = part.firstIndex(of: UInt8(ascii: "=")) ?? part.endIndex
      return (encodedAgain(part[..<equals]), encodedAgain(part[equals...].dropFirst()))
    }
    let sorted = pairs.sorted {
      $0.name == $1.name ? $0.value.lexicographicallyPrecedes($1.value) : $0.name.lexicographicallyPrecedes($1.name)
    }
    return joined(sorted.map { $0.name + [UInt8(ascii: "=")] + $0.value }, "&")
  }

  private static func encodedAgain(_ text: ArraySlice<UInt8>) -> [UInt8] {
    var encoded: [UInt8] = []
    Percent.append(Percent.decode(Array(text).span) ?? Array(text), to: &encoded)
    return encoded
  }

  /// Host, what is AWS's own, and what says how to read the body; of the rest what the client signed and no hop
  /// changes.
  private static func signedFields(
    _ head: MessageHead, host: [UInt8], alsoSigned: [[UInt8]]
  ) -> [MessageHead.Field] {
    let always: Set<[UInt8]> = [Array("content-type".utf8), Array("content-md5".utf8)]
    let never: Set<[UInt8]> = Set(
      [
        "authorization", "connection", "host", "content-length", "transfer-encoding", "expect", "user-agent", "via",
        "te",
        "accept-encoding", "x-amzn-trace-id",
      ].map { Array($0.utf8) })
    var values: [[UInt8]: [[UInt8]]] = [Array("host".utf8): [host]]
    for field in head.fields where !never.contains(field.name) {
      guard always.contains(field.name) || field.name.starts(with: "x-amz-".utf8) || alsoSigned.contains(field.name)
      else { continue }
      values[field.name, default: []].append(singleSpaced(field.value))
    }
    return values.keys.sorted { $0.lexicographicallyPrecedes($1) }.map { name in
      MessageHead.Field(name: name, value: joined(values[name] ?? [], ","))
    }
  }

  private static func singleSpaced(_ value: [UInt8]) -> [UInt8] {
    joined(value.split(separator: 0x20).map(Array.init), " ")
  }

  private static func joined(_ parts: [[UInt8]], _ separator: String) -> [UInt8] {
    Array(parts.joined(separator: Array(separator.utf8)))
  }

  // MARK: - Hashes

  private func signingKey(_ secret: Secret, _ date: [UInt8]) -> [UInt8] {
    var first: [UInt8] = []
    first.reserveCapacity(4 + secret.count)
    first += "AWS4".utf8
    secret.withBytes { first.append($0) }
    defer { Secret.wipe(&first) }
    var key = Digest.hmac(first, Array(date.prefix(8)))
    for part in [region, service, "aws4_request"] { key = Digest.hmac(key, Array(part.utf8)) }
    return key
  }

  /// `20150830T123600Z`.
  static func date(_ unixSeconds: Int64) -> [UInt8] {
    var text: [UInt8] = []
    Timestamp.append(unixMilliseconds: unixSeconds * 1000, to: &text)
    return text.prefix(19).filter { $0 != UInt8(ascii: "-") && $0 != UInt8(ascii: ":") } + [UInt8(ascii: "Z")]
  }
}

/// `AWS4-HMAC-SHA256 Credential=ID/20150830/us-east-1/iam/aws4_request, SignedHeaders=host;x-amz-date, Signature=…`
struct ClientSignature {
  let region: String
  let service: String
  let signedHeaders: [[UInt8]]

  init?(_ field: [UInt8]) {
    let text = String(decoding: field, as: UTF8.self)
    guard text.hasPrefix(SigV4.algorithm + " ") else { return nil }
    var parts: [Substring: Substring] = [:]
    for part in text.dropFirst(SigV4.algorithm.count + 1).split(separator: ",") {
      let part = part.drop { $0 == " " }
      guard let equals = part.firstIndex(of: "=") else { return nil }
      parts[part[..<equals]] = part[part.index(after: equals)...]
    }
    guard let scope = parts["Credential"]?.split(separator: "/", omittingEmptySubsequences: false), scope.count >= 5,
      scope[scope.count - 1] == "aws4_request",
      [scope[scope.count - 2], scope[scope.count - 3]].allSatisfy({ part in
        !part.isEmpty && part.utf8.allSatisfy { $0.isUnreserved }
      })
    else { return nil }
    region = String(scope[scope.count - 3])
    service = String(scope[scope.count - 2])
    signedHeaders = parts["SignedHeaders"]?.split(separator: ";").map { Array($0.utf8) } ?? []
  }
}

// Credentials in a request's head: where they are put, what the client may have sent there, and signatures of AWS.

import Policy
import Testing
import Wire

@testable import Intercept

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

private func head(_ method: String = "GET", _ path: String = "/", _ fields: [(String, String)] = []) -> MessageHead {
  var head = MessageHead()
  (head.method, head.path) = (bytes(method), bytes(path))
  head.fields = fields.map { MessageHead.Field(name: bytes($0.0), value: bytes($0.1)) }
  return head
}

private func shown(_ head: MessageHead) -> [String] {
  [String(decoding: head.path, as: UTF8.self)]
    + head.fields.map { "\(String(decoding: $0.name, as: UTF8.self)): \(String(decoding: $0.value, as: UTF8.self))" }
}

private func credential(_ placement: Credential.Placement, placeholder: String? = nil) -> Credential {
  var credential = Credential(
    name: "x", line: SourceLine(file: "p.yaml", line: 1), source: .file("/t"), placement: placement)
  if let placeholder { credential.mode = .replace(placeholder: placeholder) }
  return credential
}

private func value(_ text: String = "gate-secret/+1") -> CredentialValue {
  var text = bytes(text)
  return CredentialValue(secret: Secret(taking: &text))
}

private let bearer = Credential.Placement.header(name: "Authorization", prefix: "Bearer ", suffix: "")
private let placeholder = "sk-placeholder-0123456789"

@Suite struct PlacementTests {
  private func put(_ credential: Credential, _ head: MessageHead) -> (PlacementResult, [String]) {
    var head = head
    let result = CredentialPlacement(credential: credential, value: value()).put(into: &head)
    return (result, shown(head))
  }

  @Test func injectDropsWhatTheClientSent() {
    let sent = head("GET", "/a", [("authorization", "Bearer mine"), ("x", "y"), ("authorization", "Basic bWluZQ==")])
    #expect(put(credential(bearer), sent) == (.placed, ["/a", "x: y", "authorization: Bearer gate-secret/+1"]))
    let basic = put(credential(.basic(user: "u")), sent)
    #expect(basic == (.placed, ["/a", "x: y", "authorization: Basic dTpnYXRlLXNlY3JldC8rMQ=="]))
    let asked = head("GET", "/a?k=mine&b=c&%6b=mine2&k")
    #expect(put(credential(.query("k")), asked) == (.placed, ["/a?b=c&k=gate-secret%2F%2B1"]))
    #expect(put(credential(.query("k")), head()) == (.placed, ["/?k=gate-secret%2F%2B1"]))
  }

  @Test func replacePutsTheValueInThePlaceholdersPlace() {
    let header = credential(bearer, placeholder: placeholder)
    #expect(
      put(header, head("GET", "/", [("authorization", "Bearer \(placeholder)")]))
        == (.placed, ["/", "authorization: Bearer gate-secret/+1"]))
    let pair = credential(.basic(user: "u"), placeholder: placeholder)
    var sent: [UInt8] = []
    Base64.append("u:\(placeholder)".utf8, to: &sent)
    #expect(
      put(pair, head("GET", "/", [("authorization", "basic \(String(decoding: sent, as: UTF8.self))")]))
        == (.placed, ["/", "authorization: Basic dTpnYXRlLXNlY3JldC8rMQ=="]))
    let loose = head("GET", "/", [("authorization", "bearer   \(placeholder)")])
    #expect(put(header, loose) == (.placed, ["/", "authorization: Bearer gate-secret/+1"]), "a scheme has no case")
    let query = credential(.query("k"), placeholder: placeholder)
    #expect(put(query, head("GET", "/?a=b&k=\(placeholder)")) == (.placed, ["/?a=b&k=gate-secret%2F%2B1"]))
  }

  @Test func whoSendsNothingGetsNothing() {
    #expect(put(credential(bearer, placeholder: placeholder), head("GET", "/a?b")) == (.absent, ["/a?b"]))
    #expect(put(credential(.query("k"), placeholder: placeholder), head("GET", "/a?b")) == (.absent, ["/a?b"]))
  }

  @Test(arguments: [
    [("authorization", "Bearer sk-live-of-another-account")],
    [("authorization", "Bearer \(placeholder)"), ("authorization", "Bearer other")],
    [("authorization", "Bearer \(placeholder)"), ("authorization", "Bearer \(placeholder)")],
    [("authorization", "Bearer sk-mine \(placeholder)")], [("authorization", "Bearer \(placeholder) sk-mine")],
    [("authorization", "Bearer \(placeholder),sk-mine")], [("authorization", "Bearer sk-mine,\(placeholder)")],
    [("authorization", "Bearer \(placeholder)x")], [("authorization", "Token \(placeholder)")],
    [("authorization", "Bearer \(placeholder.uppercased())")], [("authorization", placeholder)],
  ])
  func anotherKeyInItsPlaceIsAnotherAccount(fields: [(String, String)]) {
    #expect(put(credential(bearer, placeholder: placeholder), head("GET", "/", fields)).0 == .foreign)
  }

  @Test(arguments: [
    "sk-mine:\(placeholder)", "\(placeholder):sk-mine", "u:sk-mine\(placeholder)", "u:\(placeholder):sk-mine",
  ])
  func anotherKeyInBasicToo(pair: String) {
    var sent: [UInt8] = []
    Base64.append(pair.utf8, to: &sent)
    let fields = [("authorization", "Basic \(String(decoding: sent, as: UTF8.self))")]
    #expect(put(credential(.basic(user: "u"), placeholder: placeholder), head("GET", "/", fields)).0 == .foreign)
  }

  @Test(arguments: [("u:", "dTpnYXRlLXNlY3JldC8rMQ=="), (":", "dTpnYXRlLXNlY3JldC8rMQ==")])
  func clientsNeedNotKnowTheUser(user: String, expected: String) {
    var sent: [UInt8] = []
    Base64.append((user + placeholder).utf8, to: &sent)
    let fields = [("authorization", "Basic \(String(decoding: sent, as: UTF8.self))")]
    let put = put(credential(.basic(user: "u"), placeholder: placeholder), head("GET", "/", fields))
    #expect(put == (.placed, ["/", "authorization: Basic \(expected)"]))
  }

  /// What some framework reads as the parameter `k`.
  private static let spellings = [
    "k=mine", "%6b=mine", "%6B=mine", "K=mine", "+k=mine", "%20k=mine", "k+=mine", "k[]=mine", "k%5B%5D=mine",
    "k[0]=mine", "k%00x=mine", "k", "x=1;k=mine", ";k=mine", "%09k=mine",
  ]

  @Test(arguments: spellings) func injectRemovesEachSpellingOfTheParameter(spelling: String) {
    let (result, shown) = put(credential(.query("k")), head("GET", "/a?\(spelling)&b=c"))
    #expect(result == .placed && !shown[0].contains("mine"), "\(shown)")
    #expect(shown[0].hasSuffix("b=c&k=gate-secret%2F%2B1"))
  }

  @Test(arguments: spellings) func replaceRefusesEachSpellingBesideThePlaceholder(spelling: String) {
    let query = credential(.query("k"), placeholder: placeholder)
    #expect(put(query, head("GET", "/a?\(spelling)&k=\(placeholder)")).0 == .foreign)
  }

  @Test func aNameThatReadsTheSameIsTheSameField() {
    let key = Credential.Placement.header(name: "x-api-key", prefix: "", suffix: "")
    let sent = head("GET", "/", [("x_api_key", "mine")])
    #expect(put(credential(key), sent).1 == ["/", "x-api-key: gate-secret/+1"])
    #expect(put(credential(key, placeholder: placeholder), sent).0 == .foreign)
  }

  @Test func anotherKeyInTheQueryToo() {
    let query = credential(.query("k"), placeholder: placeholder)
    for path in ["/?k=other", "/?%6B=other", "/?k=\(placeholder)&k=other", "/?k=\(placeholder)x", "/?k"] {
      #expect(put(query, head("GET", path)).0 == .foreign, "\(path)")
    }
  }

  @Test func aStrayPlaceholderIsFound() {
    let all = Placeholders([credential(bearer, placeholder: placeholder)])
    var inBasic: [UInt8] = []
    Base64.append("me:\(placeholder)".utf8, to: &inBasic)
    let strays = [
      head("GET", "/x?key=\(placeholder)"), head("GET", "/x/\(placeholder)/y"),
      head("GET", "/x?key=sk%2dplaceholder-0123456789"),
      head("GET", "/", [("x-api-key", placeholder)]), head("GET", "/", [("authorization", "Bearer \(placeholder)")]),
      head("GET", "/", [("authorization", "Basic \(String(decoding: inBasic, as: UTF8.self))")]),
      head("GET", "/", [("cookie", "a=b; k=\(placeholder)")]), head("GET", "/", [(placeholder, "x")]),
    ]
    for stray in strays {
      #expect(all.find(in: stray.texts) == "x", "\(shown(stray))")
      #expect(all.find(in: stray.texts, except: "other") == "x")
      #expect(all.find(in: stray.texts, except: "x") == nil)
    }
    #expect(all.find(in: head("GET", "/sk-placeholder", [("a", "sk-placeholder-012345678")]).texts) == nil)
  }
}

/// Made with botocore 1.44's SigV4Auth and S3SigV4Auth for 2026-11-25T13:55:00Z.
@Suite struct SigV4Tests {
  private static let unixSeconds: Int64 = 1_795_614_900

  private func signed(
    _ head: MessageHead, _ service: String, _ region: String, host: String = "a.example", session: String? = nil,
    body: String = "", hasBody: Bool = false
  ) throws -> MessageHead {
    var head = head
    var key = bytes("gate/secret+key/0123456789abcdefghij")
    var token = bytes(session ?? "")
    let value = CredentialValue(
      secret: Secret(taking: &key), keyID: bytes("GATEKEYID0001"),
      sessionToken: session == nil ? nil : Secret(taking: &token))
    let signer = try SigV4(region: region, service: service, client: head["authorization"])
    var payload = Digest.hexadecimal(Digest.sha256(bytes(body)))
    if case .stated(let text) = try signer.payload(of: head, hasBody: hasBody) { payload = text }
    signer.sign(&head, host: bytes(host), payload: payload, value: value, unixSeconds: Self.unixSeconds)
    return head
  }

  private func signature(_ head: MessageHead) -> String {
    let text = String(decoding: head["authorization"] ?? [], as: UTF8.self)
    return String(text.split(separator: "Signature=").last ?? "")
  }

  @Test func itSignsAsBotocoreDoes() throws {
    var signed = try signed(head(), "dynamodb", "eu-central-1")
    #expect(signature(signed) == "168b26e16cfbb4244fc7bae10995dd1232fafa27e5877533d06d3bab7725a368")
    #expect(signed["x-amz-date"] == bytes("20261125T135500Z"))
    #expect(signed.fields.last?.isSensitive == true)
    let path = "/x/./y//z%20w/?b=2&a=1&a=0&c"
    #expect(
      signature(try self.signed(head("GET", path), "execute-api", "us-east-1"))
        == "ff4065863aec34b8429a34cd75abef1a0038bbdf8ff3b6bdd38122177b14c22e")
    let form = head("POST", "/", [("content-type", "application/x-www-form-urlencoded; charset=utf-8")])
    signed = try self.signed(
      form, "iam", "us-east-1", host: "a.example:8443", body: "Action=ListUsers&Version=2010-05-08", hasBody: true)
    #expect(signature(signed) == "6feae3b8c87c09011cf7d9088fada8dcfaeb27aff49d5d0850a8617e146fdb6e")
  }

  @Test func s3IsSignedAsItIsSent() throws {
    let put = head(
      "PUT", "/a%20b/%C3%A4//c?x-id=PutObject&z=~%2F%2B",
      [("x-amz-meta-a", "  a   b "), ("x-amz-content-sha256", "UNSIGNED-PAYLOAD")])
    #expect(
      signature(try signed(put, "s3", "eu-west-1", host: "b.example", hasBody: true))
        == "e49fa1572cf9a7b023626c9e0d358a61ed11a142febccc581d4811eda1ea1c5c")
    let get = head(
      "GET", "/k", [("x-amz-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")])
    let signed = try signed(get, "s3", "eu-west-1", host: "b.example", session: "SESSION/TOKEN+1234=")
    #expect(signature(signed) == "dfbf85b6ba85005029ca5fe9c7f58e99a3298fb6793adb68747eedbdd1796a89")
    #expect(signed["x-amz-security-token"] == bytes("SESSION/TOKEN+1234="))
  }

  @Test func whatTheClientSignedForIsKeptAndItsKeyIsNot() throws {
    let client =
      "AWS4-HMAC-SHA256 Credential=PLACEHOLDERKEY/20200101/eu-north-1/sqs/aws4_request, SignedHeaders=host;x-a;user-agent, Signature=00"
    let sent = head(
      "GET", "/",
      [("authorization", client), ("x-amz-date", "20200101T000000Z"), ("x-amz-security-token", "theirs"), ("x-a", "b")])
    let signer = try SigV4(region: nil, service: nil, client: sent["authorization"])
    #expect(signer.region == "eu-north-1" && signer.service == "sqs")
    let text = shown(try signed(sent, "sqs", "eu-north-1")).joined(separator: "\n")
    #expect(!text.contains("PLACEHOLDERKEY") && !text.contains("theirs") && !text.contains("2020"))
    #expect(text.contains("Credential=GATEKEYID0001/20261125/eu-north-1/sqs/aws4_request"))
    #expect(text.contains("SignedHeaders=host;x-a;x-amz-date,"))
  }

  @Test func whatCannotBeSignedIsSaid() throws {
    #expect(throws: SigV4.Problem.self) { try SigV4(region: "eu-west-1", service: nil, client: nil) }
    #expect(throws: SigV4.Problem.self) { try SigV4(region: nil, service: nil, client: bytes("Bearer x")) }
    #expect(throws: SigV4.Problem.self) {
      try SigV4(region: "a", service: "s3", client: bytes("AWS4-ECDSA-P256-SHA256 Credential=x"))
    }
    let chunks = head("PUT", "/", [("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")])
    let s3 = try SigV4(region: "a", service: "s3", client: nil)
    #expect(throws: SigV4.Problem.self) { try s3.payload(of: chunks, hasBody: true) }
    let trailer = head("PUT", "/", [("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")])
    #expect(try s3.payload(of: trailer, hasBody: true) == .stated(bytes("STREAMING-UNSIGNED-PAYLOAD-TRAILER")))
    #expect(try SigV4(region: "a", service: "iam", client: nil).payload(of: head("POST"), hasBody: true) == .ofBody)
  }
}

@Suite struct KeyIssuingTests {
  private func issuing(_ service: String, _ head: MessageHead, host: String = "a.example") -> String? {
    KeyIssuing(service: service, host: bytes(host)).issuing(head)
  }

  private func form(_ body: String) -> MessageHead {
    var post = head("POST", "/")
    post.body = bytes(body)
    return post
  }

  @Test(arguments: [
    ("sts", "Action=AssumeRole&RoleArn=x"), ("sts", "Version=2011-06-15&Action=GetSessionToken"), ("sts", "Version=1"),
    ("sts", "Action=GetCallerIdentity&Action=AssumeRole"), ("sts", "%41ction=AssumeRole"),
    ("sts", "Action=Assume%52ole"),
    ("sts", "Action=NewerCallThatNobodyKnows"), ("iam", "Action=CreateAccessKey&UserName=x"), ("iam", "UserName=x"),
    ("iam", "Action=ResetServiceSpecificCredential"), ("iam", "Action=CreateVirtualMFADevice"),
  ])
  func aCallThatMayAnswerWithKeysIsOne(service: String, body: String) {
    #expect(issuing(service, form(body)) != nil)
    #expect(issuing(service, head("GET", "/?\(body)")) != nil)
    #expect(issuing("x", form(body), host: "\(service).eu-west-1.amazonaws.com") != nil, "whatever it is signed for")
  }

  @Test(arguments: [
    ("sts", "Action=GetCallerIdentity&Version=2011-06-15"), ("iam", "Action=ListAccessKeys"),
    ("iam", "Action=ListUsers"),
    ("iam", "Action=DeleteAccessKey&AccessKeyId=x"), ("iam", "Action=GetAccessKeyLastUsed"), ("s3", ""),
  ])
  func othersAreNone(service: String, body: String) { #expect(issuing(service, form(body)) == nil) }

  @Test func callsOfTheJSONProtocolsHaveAField() {
    let call = head("POST", "/", [("x-amz-target", "AWSCognitoIdentityService.GetCredentialsForIdentity")])
    #expect(issuing("cognito-identity", call) == "GetCredentialsForIdentity")
    #expect(issuing("dynamodb", head("POST", "/", [("x-amz-target", "DynamoDB_20120810.ListTables")])) == nil)
  }
}

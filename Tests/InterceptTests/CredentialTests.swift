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
    Base64.append("me:\(placeholder)".utf8, to: &sent)
    #expect(
      put(pair, head("GET", "/", [("authorization", "basic \(String(decoding: sent, as: UTF8.self))")]))
        == (.placed, ["/", "authorization: Basic bWU6Z2F0ZS1zZWNyZXQvKzE="]))
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
  ])
  func anotherKeyInItsPlaceIsAnotherAccount(fields: [(String, String)]) {
    #expect(put(credential(bearer, placeholder: placeholder), head("GET", "/", fields)).0 == .foreign)
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
    var payload = SigV4.hexadecimal(Digest.sha256(bytes(body)))
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

@Suite struct EchoScrubberTests {
  private let secret = "sk-live/Zk3+Qq\"9&<aB\\xY12"

  private func scrub(_ text: [UInt8], pieces: [Int], of secret: String) -> (text: [UInt8], count: Int) {
    var scrubber = EchoScrubber(value(secret))
    var (out, start): ([UInt8], Int) = ([], 0)
    for end in pieces + [text.count] {
      var chunk = Array(text[start..<end])
      scrubber.scrub(&chunk, isLast: end == text.count)
      out += chunk
      start = end
    }
    return (out, scrubber.count)
  }

  /// Each echo with what is left of it: base64 leaves the letters that are not of the secret alone.
  private var echoes: [(name: String, text: [UInt8])] {
    var all = [("plain", bytes(secret))]
    for (name, prefix) in [
      ("base64", ""), ("base64 behind 1", "a"), ("base64 behind 2", "ab"), ("base64 behind 3", "abc"),
    ] {
      var text: [UInt8] = []
      Base64.append((prefix + secret).utf8, to: &text)
      all.append((name, text))
    }
    var percent: [UInt8] = []
    Percent.append(secret.utf8, to: &percent)
    all.append(("percent", percent))
    all.append(
      (
        "percent, lower",
        bytes(String(decoding: percent, as: UTF8.self).replacing(/%[0-9A-F]{2}/) { $0.output.lowercased() })
      ))
    var json: [UInt8] = []
    JSONText.appendString(secret, to: &json)
    all.append(("json", Array(json.dropFirst().dropLast())))
    all.append(
      ("json, slashes", bytes(String(decoding: json.dropFirst().dropLast(), as: UTF8.self).replacing("/", with: "\\/")))
    )
    all.append(("hex", SigV4.hexadecimal(bytes(secret))))
    all.append(("hex, upper", bytes(String(decoding: SigV4.hexadecimal(bytes(secret)), as: UTF8.self).uppercased())))
    all.append(("json, unicode", secret.utf8.flatMap { bytes("\\u00") + SigV4.hexadecimal([$0]) }))
    return all
  }

  @Test func anEchoIsScrubbedInEachEncodingWhereverItIsSplit() {
    for echo in echoes {
      let text = bytes("{\"you sent\": \"") + echo.text + bytes("\", \"s\": 1}\n")
      let whole = scrub(text, pieces: [], of: secret)
      #expect(whole.text.count == text.count, "no length changes: \(echo.name)")
      #expect(whole.count == 1, "\(echo.name)")
      let left = String(decoding: whole.text, as: UTF8.self)
      #expect(left.hasPrefix("{\"you sent\": \"") && left.hasSuffix("\", \"s\": 1}\n"), "\(echo.name): \(left)")
      // Base64 keeps at most a letter or two at each end, and its padding.
      #expect(left.filter { $0 == "*" }.count >= echo.text.count - 8, "\(echo.name): \(left)")
      for cut in 0...text.count {
        #expect(scrub(text, pieces: [cut], of: secret).text == whole.text, "\(echo.name) at \(cut)")
      }
      #expect(scrub(text, pieces: Array(0...text.count), of: secret).text == whole.text, "\(echo.name), byte by byte")
    }
  }

  @Test func whatIsNoEchoPassesAtOnce() {
    var scrubber = EchoScrubber(value(secret))
    var event = bytes("data: {\"delta\": \"sk-li\"}\n\n")
    let sent = event
    scrubber.scrub(&event, isLast: false)
    #expect(event == sent, "an event of a stream is not held back")
    var beginning = bytes("data: sk-live/Zk3")
    scrubber.scrub(&beginning, isLast: false)
    #expect(beginning == bytes("data: "), "what may be one is")
    var rest = bytes("-no\n")
    scrubber.scrub(&rest, isLast: true)
    #expect(rest == bytes("sk-live/Zk3-no\n") && scrubber.count == 0)
  }

  @Test func echoesThatOverlapAreBothTakenOut() {
    let value = "abcabcabc"
    for text in ["abcabcabcabc", "xabcabcabcabcabcabcabcy", "abcabcababcabcabc"] {
      let whole = scrub(bytes(text), pieces: [], of: value).text
      #expect(!String(decoding: whole, as: UTF8.self).contains(value))
      for cut in 0...text.utf8.count {
        #expect(scrub(bytes(text), pieces: [cut], of: value).text == whole, "\(text) at \(cut)")
      }
    }
    #expect(scrub(bytes("abcabcabcabc"), pieces: [], of: value).text == bytes("************"))
  }

  @Test func randomTextsAndSplitsGiveTheSame() {
    var numbers = SystemRandomNumberGenerator()
    let seed = numbers.next() as UInt64
    var state = seed
    func next(_ bound: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % bound
    }
    let value = "aabaabaaab"
    for _ in 0..<500 {
      let text = (0..<60).map { _ in UInt8(ascii: "a") + UInt8(next(5) / 4) }
      let whole = scrub(text, pieces: [], of: value).text
      #expect(whole.firstIndex(of: bytes(value)) == nil, "seed \(seed)")
      let pieces = (0..<4).map { _ in next(61) }.sorted()
      #expect(scrub(text, pieces: pieces, of: value).text == whole, "seed \(seed)")
    }
  }
}

// The store of values: one fetch at a time, early renewal, rotation, and that a failure lets nothing out.

import Kernel
import Policy
import Synchronization
import Testing
import Wire

@testable import Intercept

private func credential(_ name: String = "x", _ source: Credential.Source = .command(["/x"], timeoutMs: 1))
  -> Credential
{
  Credential(
    name: name, line: SourceLine(file: "p.yaml", line: 1), source: source,
    placement: .header(name: "Authorization", prefix: "Bearer ", suffix: ""))
}

/// A store whose clock and fetches a test moves by hand.
private final class Scene: Sendable {
  private struct State {
    var nowMs: UInt64 = 1_000_000
    var waiting: [@Sendable () -> Void] = []
    var result: Result<(text: String, lifetimeMs: UInt64?), CredentialProblem> = .success(("one", nil))
    var fetches = 0
    var told: [String] = []
    var wakes = 0
    var askers: [Asker] = []
    var refreshTokens: [String] = []
    var nextRefreshToken: String?
  }

  private let state = Mutex(State())

  var nowMs: UInt64 {
    get { state.withLock { $0.nowMs } }
    set { state.withLock { $0.nowMs = newValue } }
  }
  var fetches: Int { state.withLock { $0.fetches } }
  var told: [String] { state.withLock { $0.told } }
  var wakes: Int { state.withLock { $0.wakes } }
  var refreshTokens: [String] { state.withLock { $0.refreshTokens } }

  func answer(_ text: String, lifetimeMs: UInt64? = nil, refreshToken: String? = nil) {
    state.withLock {
      $0.result = .success((text, lifetimeMs))
      $0.nextRefreshToken = refreshToken
    }
  }
  func fail(_ text: String = "no", endsRefreshToken: Bool = false) {
    var problem = CredentialProblem(text)
    problem.endsRefreshToken = endsRefreshToken
    state.withLock { $0.result = .failure(problem) }
  }
  /// Fetches that were begun come to their end.
  func run() {
    for body in state.withLock({ state in
      defer { state.waiting = [] }; return state.waiting
    }) { body() }
  }

  func store() -> CredentialStore {
    CredentialStore(
      fetch: { [self] _, refresh throws(CredentialProblem) in try fetch(refresh) },
      start: { [self] body in
        state.withLock { $0.waiting.append(body) }
        return true
      }, clock: { [self] in nowMs }, tell: { [self] text in state.withLock { $0.told.append(text) } })
  }

  private func fetch(_ refresh: Secret?) throws(CredentialProblem) -> FetchedCredential {
    let (result, next) = state.withLock { state in
      state.fetches += 1
      state.refreshTokens.append(refresh.map { String(decoding: $0.copy, as: UTF8.self) } ?? "")
      return (state.result, state.nextRefreshToken)
    }
    let (text, lifetimeMs) = try result.get()
    var bytes = Array(text.utf8)
    var fetched = FetchedCredential(value: CredentialValue(secret: Secret(taking: &bytes)), lifetimeMs: lifetimeMs)
    if let next {
      var token = Array(next.utf8)
      fetched.refreshToken = Secret(taking: &token)
    }
    return fetched
  }

  private func newAsker() -> Asker {
    let asker = Asker()
    state.withLock { $0.askers.append(asker) }
    return asker
  }

  func look(_ store: CredentialStore, _ credential: Credential = credential()) -> String {
    switch store.value(of: credential, for: newAsker(), wake: { [self] in state.withLock { $0.wakes += 1 } }) {
    case .ready(let value): String(decoding: value.secret.copy, as: UTF8.self)
    case .waiting: "waiting"
    case .failed(let problem): "failed: \(problem)"
    }
  }
}

/// Kept by its scene: the next one must not stand where it stood.
private final class Asker: Sendable {}

@Suite struct CredentialStoreTests {
  @Test func manyWaitForOneFetch() {
    let scene = Scene()
    let store = scene.store()
    store.take([credential()])
    #expect(scene.fetches == 0, "nothing is fetched that nobody asks for")
    for _ in 0..<5 { #expect(scene.look(store) == "waiting") }
    scene.run()
    #expect(scene.fetches == 1 && scene.wakes == 5)
    #expect(scene.look(store) == "one")
    #expect(scene.look(store, credential("other")).contains("no such credential"))
  }

  @Test func aFreshOneIsFetchedWhileTheOldOneServes() {
    let scene = Scene()
    let store = scene.store()
    store.take([credential()])
    scene.answer("one", lifetimeMs: 100_000)
    #expect(scene.look(store) == "waiting")
    scene.run()
    scene.nowMs += 79_999
    #expect(scene.look(store) == "one" && scene.fetches == 1)
    scene.nowMs += 1
    scene.answer("two", lifetimeMs: 100_000)
    #expect(scene.look(store) == "one", "a fifth of its life is left")
    #expect(scene.look(store) == "one")
    scene.run()
    #expect(scene.look(store) == "two" && scene.fetches == 2)
    // Without a request the round looks after it.
    scene.nowMs += 90_000
    scene.answer("three", lifetimeMs: 100_000)
    store.lookAround()
    scene.run()
    #expect(scene.look(store) == "three" && scene.fetches == 3)
  }

  @Test func aFailedRenewalServesUpToTheEndAndThenNothing() {
    let scene = Scene()
    let store = scene.store()
    store.take([credential()])
    scene.answer("one", lifetimeMs: 100_000)
    _ = scene.look(store)
    scene.run()
    scene.fail("it is down")
    scene.nowMs += 90_000
    #expect(scene.look(store) == "one")
    scene.run()
    #expect(scene.look(store) == "one", "it is good until its end")
    scene.nowMs += 10_000
    #expect(scene.look(store) == "waiting", "past its end it is not sent, and is asked for again")
    scene.run()
    #expect(scene.look(store) == "failed: it is down")
    #expect(scene.told == ["credential x: it is down"], "said once")
    scene.nowMs += 60_000
    scene.answer("two")
    #expect(scene.look(store) == "waiting")
    scene.run()
    #expect(scene.look(store) == "two" && scene.told.last == "credential x can be had again")
  }

  @Test func failuresAreNotRepeatedForEachRequest() {
    let scene = Scene()
    let store = scene.store()
    store.take([credential()])
    scene.fail()
    _ = scene.look(store)
    scene.run()
    for _ in 0..<100 { #expect(scene.look(store) == "failed: no") }
    #expect(scene.fetches == 1)
  }

  @Test func aReloadReadsAgainAndAFailureThenIsLookedAtTwice() {
    let scene = Scene()
    let store = scene.store()
    store.take([credential()])
    _ = scene.look(store)
    scene.run()
    scene.answer("two")
    store.take([credential()])
    #expect(scene.look(store) == "one")
    scene.run()
    #expect(scene.look(store) == "two" && scene.fetches == 2)
    scene.fail()
    store.take([credential()])
    scene.run()
    #expect(scene.look(store) == "two", "it may have been half written")
    scene.nowMs += 2_000
    store.lookAround()
    scene.run()
    #expect(scene.look(store) == "failed: no", "and then it is gone")
    // Another source under the same name: the old value is not its value.
    scene.answer("three")
    scene.nowMs += 60_000
    store.take([credential("x", .env("Y"))])
    #expect(scene.look(store, credential("x", .env("Y"))) == "waiting")
    store.take([])
    #expect(scene.wakes >= 2, "who waits for what is gone is told")
    scene.run()
    #expect(store.values.isEmpty)
  }

  @Test func aFileThatIsReplacedIsReadAgain() throws {
    let path = "/tmp/sluice-credential-\(Machine.processID)"
    func write(_ text: String) throws {
      let ended = try ChildProcess.run(["sh", "-c", "cat > \(path).new && mv \(path).new \(path)"], input: text)
      #expect(ended.status == 0)
    }
    defer { _ = try? ChildProcess.run(["rm", "-f", path]) }
    let file = credential("x", .file(path))
    let scene = Scene()
    let store = scene.store()
    store.take([file])
    try write("one\n")
    #expect(scene.look(store, file) == "waiting")
    scene.run()
    store.lookAround()
    scene.run()
    #expect(scene.fetches == 1)
    scene.answer("two")
    try write("two, and longer\n")
    store.lookAround()
    #expect(scene.look(store, file) == "one")
    scene.run()
    #expect(scene.look(store, file) == "two" && scene.fetches == 2)
  }

  @Test func aValueThatTheUpstreamRefusedIsReadAgainAndNotTooOften() {
    let scene = Scene()
    let store = scene.store()
    store.take([credential()])
    _ = scene.look(store)
    scene.run()
    guard case .ready(let old) = store.value(of: credential(), for: scene, wake: {}) else {
      Issue.record("it is there")
      return
    }
    store.refused(credential(), old)
    #expect(scene.fetches == 1, "it has only just been read")
    scene.nowMs += 10_000
    scene.answer("two")
    store.refused(credential(), old)
    scene.run()
    #expect(scene.look(store) == "two")
    scene.nowMs += 10_000
    store.refused(credential(), old)
    scene.run()
    #expect(scene.fetches == 2, "a later one is not what was refused")
  }

  @Test func aNewRefreshTokenTakesThePlaceOfTheOldOne() {
    let scene = Scene()
    let store = scene.store()
    store.take([credential()])
    scene.answer("one", lifetimeMs: 0, refreshToken: "r1")
    _ = scene.look(store)
    scene.run()
    #expect(scene.look(store) == "one", "who waited for it gets it")
    scene.nowMs += 1_000
    scene.answer("two", lifetimeMs: 0)
    _ = scene.look(store)
    scene.run()
    scene.nowMs += 1_000
    _ = scene.look(store)
    scene.run()
    #expect(scene.refreshTokens == ["", "r1", "r1"])
  }
}

/// Refresh tokens that each answer of the endpoint replaces: the last one is the only one that is good.
@Suite struct RefreshTokenTests {
  private let scene = Scene()

  private func grant(_ scope: String? = nil, refresh: String = "/r") throws -> Credential {
    let target = Target(host: .name(try HostName("login.example")), port: 443)
    var grant = OAuth2(endpoint: target, path: "/token", clientID: "me", clientSecret: .file("/c"))
    (grant.refreshToken, grant.scope) = (.file(refresh), scope)
    return credential("x", .oauth2(grant))
  }

  /// A store whose endpoint gave `r1` with its first answer, and whose token is due again.
  private func rotated() throws -> CredentialStore {
    let store = scene.store()
    store.take([try grant()])
    scene.answer("one", lifetimeMs: 1_000, refreshToken: "r1")
    _ = scene.look(store, try grant())
    scene.run()
    scene.nowMs += 1_000
    return store
  }

  private func ask(_ store: CredentialStore, _ credential: Credential) {
    _ = scene.look(store, credential)
    scene.run()
    scene.nowMs += 60_000
  }

  @Test func failuresOfTheNetworkEndNone() throws {
    let store = try rotated()
    scene.fail("answered 503")
    for _ in 0..<5 { ask(store, try grant()) }
    scene.answer("two", lifetimeMs: 1_000)
    ask(store, try grant())
    #expect(scene.refreshTokens == ["", "r1", "r1", "r1", "r1", "r1", "r1"])
  }

  @Test func invalidGrantEndsIt() throws {
    let store = try rotated()
    scene.fail("answered 400 (invalid_grant)", endsRefreshToken: true)
    ask(store, try grant())
    ask(store, try grant())
    #expect(scene.refreshTokens == ["", "r1", ""], "then the policy's own is tried")
  }

  @Test func aReloadThatChangesWhatIsAskedForKeepsIt() throws {
    let store = try rotated()
    let other = try grant("more")
    store.take([other])
    ask(store, other)
    #expect(scene.refreshTokens == ["", "r1"])
    let foreign = try grant("more", refresh: "/other")
    store.take([foreign])
    ask(store, foreign)
    #expect(scene.refreshTokens == ["", "r1", ""], "another source is another token")
  }

  @Test func aReloadDuringAFetchUsesNoTokenTwice() throws {
    let store = try rotated()
    scene.answer("two", lifetimeMs: 1_000, refreshToken: "r2")
    _ = scene.look(store, try grant())
    let other = try grant("more")
    store.take([other])
    #expect(scene.look(store, other) == "waiting")
    scene.run()
    #expect(scene.refreshTokens == ["", "r1"], "the fetch that was under way, and no second one")
    ask(store, other)
    #expect(scene.refreshTokens == ["", "r1", "r2"])
  }

  private func read(_ status: String, _ body: String) throws -> String {
    guard case .oauth2(let grant) = try grant().source else { return "" }
    var answer = Array("HTTP/1.1 \(status)\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)".utf8)
    do throws(CredentialProblem) {
      let got = try TokenEndpoint(grant: grant, addresses: []).read(&answer, .query("k"))
      return "\(String(decoding: got.value.secret.copy, as: UTF8.self)) \(got.lifetimeMs ?? 0)"
        + (got.refreshToken.map { " " + String(decoding: $0.copy, as: UTF8.self) } ?? "")
    } catch {
      return "\(error)\(error.endsRefreshToken ? ", which ends it" : "")"
    }
  }

  @Test func answersThatEndpointsGive() throws {
    #expect(try read("200 OK", "{\"access_token\":\"t\",\"expires_in\":60}") == "t 60000")
    #expect(try read("201 Created", "{\"access_token\":\"t\",\"expires_in\":\"60\"}") == "t 60000")
    #expect(try read("200 OK", "{\"access_token\":\"t\",\"expires_in\":null,\"refresh_token\":\"r\"}") == "t 600000 r")
    #expect(try read("200 OK", "\u{feff}{\"access_token\":\"t\",\"expires_in\":60}") == "t 60000")
    #expect(try read("400 Bad", "{\"error\":\"invalid_grant\"}").hasSuffix("400 (invalid_grant), which ends it"))
    #expect(try read("503 Busy", "{\"error\":\"invalid_grant\"}").hasSuffix("503 (invalid_grant)"))
    #expect(try read("401 No", "{\"error\":\"invalid_client\"}").hasSuffix("401 (invalid_client)"))
  }

  @Test func aNewOneIsWrittenBackWholeWithTheModeOfTheOld() throws {
    let path = "/tmp/sluice-refresh-\(Machine.processID)-\(UInt64.random(in: 0 ... .max))"
    defer { _ = try? ChildProcess.run(["rm", "-f", path]) }
    try NewFile.replace(path, Array("old".utf8), mode: 0o640)
    var token = Array("r2".utf8)
    let secret = Secret(taking: &token)
    #expect(CredentialSources.writeBack(secret, path) == nil)
    #expect(FileBytes.read(path, bytesMax: 100) == Array("r2\n".utf8) && NewFile.mode(path) == 0o640)
    let nowhere = CredentialSources.writeBack(secret, "/nowhere/\(path)")
    #expect(nowhere?.contains("is kept in memory alone") == true && nowhere?.contains("r2") == false)
  }
}

@Suite struct CredentialTextTests {
  private let header = Credential.Placement.header(name: "A", prefix: "", suffix: "")

  private func read(_ text: String, _ placement: Credential.Placement? = nil) -> String {
    var bytes = Array(text.utf8)
    do throws(CredentialProblem) {
      let fetched = try CredentialText.read(&bytes, for: placement ?? header, nowUnix: 1_000)
      #expect(bytes.isEmpty, "what was read is wiped")
      let value = fetched.value
      let parts = [value.secret.copy, value.keyID, value.sessionToken?.copy ?? []]
      return parts.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "|")
        + (fetched.lifetimeMs.map { " \($0)" } ?? "")
    } catch {
      return "\(error)"
    }
  }

  @Test func tokensAndTheirEnds() {
    #expect(read(" t0ken\r\n") == "t0ken||")
    #expect(read("{\"token\": \"t\", \"expires_in\": 60}") == "t|| 60000")
    #expect(read("{\"access_token\": \"t\\u0041\", \"expires_at\": \"1970-01-01T00:20:00Z\"}") == "tA|| 200000")
    #expect(read("{\"token\": \"t\", \"expires_at\": 1001}") == "t|| 1000")
    #expect(read("{\"token\": \"t\", \"expires_in\": 18446744073709551615}") == "t|| 315360000000")
    #expect(read("{\"token\": \"t\", \"expires_at\": 253402300799}") == "t|| 315360000000")
    #expect(read("{\"token\": \"t\", \"expires_in\": null}") == "t||")
    #expect(read("\u{feff}t0ken\n") == "t0ken||" && read("\u{feff}{\"token\": \"t\"}") == "t||")
    let sigv4 = Credential.Placement.sigv4(region: nil, service: nil)
    #expect(read("AKIAEXAMPLE1:sec/ret", sigv4) == "sec/ret|AKIAEXAMPLE1|")
    #expect(read("AKIAEXAMPLE1:sec/ret:tok=", sigv4) == "sec/ret|AKIAEXAMPLE1|tok=")
    let process =
      "{\"Version\":1,\"AccessKeyId\":\"AKIAEXAMPLE1\",\"SecretAccessKey\":\"s\",\"SessionToken\":\"t\",\"Expiration\":\"1970-01-01T00:16:41Z\"}"
    #expect(read(process, sigv4) == "s|AKIAEXAMPLE1|t 1000")
  }

  @Test(arguments: [
    ("", "it is empty"), (" \n", "it is empty"), ("a\nb", "control character"), ("ü", "not ASCII"),
    ("{\"token\"", "and is none"),
    ("{\"token\": \"a\", \"token\": \"b\"}", "and is none"), ("{\"key\": \"x\"}", "no `token`"),
    ("{\"token\": \"x\", \"expires_in\": \"soon\"}", "no number"),
    ("{\"token\": \"x\", \"expires_at\": 999}", "expired already"),
    // Milliseconds, nanoseconds, and the largest numbers there are.
    ("{\"token\": \"x\", \"expires_at\": 1796000000000}", "after the year 9999"),
    ("{\"token\": \"x\", \"expires_at\": 1796000000000000000}", "after the year 9999"),
    ("{\"token\": \"x\", \"Expiration\": 9223372036854775807}", "after the year 9999"),
    ("{\"token\": \"x\", \"expires_at\": 18446744073709551615}", "neither an RFC 3339"),
    ("{\"token\": \"x\", \"expires_at\": 99999999999999999999}", "neither an RFC 3339"),
    ("{\"token\": \"x\", \"expires_in\": 99999999999999999999}", "no number of seconds"),
    ("{\"token\": \"x\", \"expires_at\": \"later\"}", "neither an RFC 3339"),
    ("{\"token\": \"x\\ny\"}", "control character"),
  ])
  func whatIsNoTokenIsSaidWithoutIt(text: String, says: String) {
    let told = read(text)
    #expect(told.contains(says), "\(told)")
    #expect(!told.contains("soon") && !told.contains("later"))
  }
}

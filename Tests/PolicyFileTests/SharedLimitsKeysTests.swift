// `shared_limits` and `state`: what is read of them, and what a mistake is told.

import Policy
import PolicyFile
import Testing

@Suite struct SharedLimitsKeysTests {
  private static let files = ["secret": "a word\n", "two": "a\nb\n", "ca": "-----BEGIN CERTIFICATE-----\nA\n"]

  private func load(_ section: String) -> LoadedPolicy {
    PolicyFile.parse(bytes: Array("network_policy: {}\n\(section)\n".utf8), name: "p.yaml") { path in
      Self.files[path].map { Array($0.utf8) }
    }
  }

  @Test func aWholeSectionIsRead() throws {
    let loaded = load(
      """
      shared_limits: {redis: "rediss://limits.test:6380", user: gate, password_file: secret, ca: ca, group: blue, on_loss: refuse}
      state: {folder: /var/lib/sluice}
      """)
    let settings = try #require(loaded.policy?.settings, "\(loaded.problems)")
    let shared = try #require(settings.shared)
    #expect("\(shared.place.servers[0])" == "rediss://limits.test:6380" && shared.group == "blue")
    #expect(shared.user == "gate" && shared.password == Array("a word".utf8) && shared.onLoss == .refuse)
    #expect(settings.stateFolder == "/var/lib/sluice" && loaded.policy?.leaseBell != nil)
  }

  @Test(arguments: [
    ("redis://a.test", "redis://a.test:6379"), ("\"redis://[::1]:7000/\"", "redis://[::1]:7000"),
    ("\"unix:/run/redis.sock\"", "unix:/run/redis.sock"), ("rediss://127.0.0.1:1", "rediss://127.0.0.1:1"),
    ("{sentinels: [redis://a.test], master: m}", "redis://a.test:26379"),
    ("{cluster: redis://a.test}", "redis://a.test:6379"),
  ])
  func aServerIsRead(written: String, server: String) throws {
    let loaded = load("shared_limits: {redis: \(written)}")
    let shared = try #require(loaded.policy?.settings.shared, "\(loaded.problems)")
    #expect("\(shared.place.servers[0])" == server)
  }

  @Test(arguments: [
    ("shared_limits: {}", "`redis` is missing"), ("shared_limits: {redis: a.test}", "is no Redis server"),
    ("shared_limits: {redis: \"redis://u:p@a.test\"}", "write `user` and `password_file`"),
    ("shared_limits: {redis: \"redis://a.test:x\"}", "names no server"),
    ("shared_limits: {redis: \"redis://a.test/1\"}", "names no server"),
    ("shared_limits: {redis: \"unix:run/x\"}", "its whole path"),
    ("shared_limits: {redis: {sentinels: [redis://a.test]}}", "`master` is missing"),
    ("shared_limits: {redis: {cluster: []}}", "from 1 to 64 servers"),
    ("shared_limits: {redis: {cluster: [redis://a.test, rediss://b.test]}}", "all servers speak TLS, or none"),
    ("shared_limits: {redis: {cluster: [redis://a.test], sentinels: [redis://a.test]}}", "has either"),
    ("shared_limits: {redis: redis://a.test, user: a}", "`user` needs a password"),
    ("shared_limits: {redis: redis://a.test, ca: ca}", "`ca` is for TLS alone"),
    ("shared_limits: {redis: redis://a.test, password_file: two}", "holds no password"),
    ("shared_limits: {redis: redis://a.test, password_file: none}", "cannot read none"),
    ("shared_limits: {redis: redis://a.test, on_loss: open}", "`on_loss` is share or refuse"),
    ("state: {}", "`state` says nothing"), ("state: {folder: here}", "takes a whole path"),
  ])
  func aMistakeIsTold(section: String, says: String) {
    let problems = load(section).problems.map { "\($0)" }
    #expect(problems.contains { $0.contains(says) }, "\(problems)")
  }

  @Test func aPasswordInTheClearIsWarnedOf() {
    func warns(_ server: String) -> Bool {
      load("shared_limits: {redis: \"\(server)\", password_file: secret}").warnings.contains {
        "\($0)".contains("in the clear")
      }
    }
    #expect(warns("redis://a.test") && !warns("redis://127.0.0.1") && !warns("rediss://a.test") && !warns("unix:/a"))
  }
}

// `shared_limits`: the Redis in which the gates of a group count their limits together.
// It relies on PolicyFiles for the password and the CA: they are read with the policy.
import Policy
import Wire
import YAML

struct SharedLimitsSection {
  private typealias RedisServer = Settings.SharedLimits.RedisServer

  private static let groupBytesMax = 64
  private static let serversMax = 64
  private static let example = "redis://limits.internal:6379, rediss://limits.internal:6380 or unix:/run/redis.sock"

  let findings: Findings
  let files: PolicyFiles

  func read(_ node: YAMLNode) -> Settings.SharedLimits? {
    let known = ["redis", "user", "password_file", "ca", "group", "on_loss"]
    guard let fields = Fields(node, of: "shared_limits", known: known, findings) else { return nil }
    guard let redis = fields.node("redis") else {
      findings.problem(node.mark, "`redis` is missing in `shared_limits`; write redis: \(Self.example)")
      return nil
    }
    guard let place = readPlace(redis, fields) else { return nil }
    var shared = Settings.SharedLimits(place: place)
    shared.user = fields.text("user", example: "gate")
    shared.password = readPassword(fields)
    shared.ca = files.pem("ca", fields, holding: "CERTIFICATE", example: "/etc/sluice/redis-ca.pem")
    shared.group = readGroup(fields) ?? shared.group
    shared.onLoss = fields.choice("on_loss", Settings.SharedLimits.OnLoss.self) ?? shared.onLoss
    check(shared, fields)
    return shared
  }

  private func check(_ shared: Settings.SharedLimits, _ fields: Fields) {
    if fields.has("user"), !fields.has("password_file") {
      findings.problem(fields.mark(of: "user"), "`user` needs a password; write password_file: /run/secrets/redis")
    }
    let isTLS = shared.place.servers.contains(where: \.isTLS)
    if fields.has("ca"), !isTLS {
      findings.problem(fields.mark(of: "ca"), "`ca` is for TLS alone; write rediss:// in `redis`, or remove it")
    }
    let isExposed = shared.place.servers.contains { server in
      guard case .tcp(let target) = server else { return false }
      guard case .address(let address) = target.host else { return target.host.description != "localhost" }
      return address.kind != .loopback
    }
    if shared.password != nil, isExposed {
      findings.warn(
        fields.mark(of: "redis"), "the password goes over the network in the clear; use rediss:// beyond this machine")
    }
  }

  private func readPassword(_ fields: Fields) -> [UInt8]? {
    guard let (path, bytes, mark) = files.file("password_file", fields, example: "/run/secrets/redis") else {
      return nil
    }
    let line = Array(bytes.prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") })
    let rest = bytes.dropFirst(line.count)
    if !line.isEmpty, rest.allSatisfy({ $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") }) { return line }
    findings.problem(mark, "\(path.quotable) holds no password: one line, and nothing else")
    return nil
  }

  private func readGroup(_ fields: Fields) -> String? {
    guard let group = fields.text("group", example: "production"), let node = fields.node("group") else { return nil }
    if group.utf8.count <= Self.groupBytesMax { return group }
    findings.problem(node.mark, "`group` is at most \(Self.groupBytesMax) bytes long")
    return nil
  }

  // MARK: - Where it is

  private func readPlace(_ node: YAMLNode, _ parent: Fields) -> Settings.SharedLimits.Place? {
    guard case .mapping = node.content else {
      guard let text = parent.text("redis", example: Self.example) else { return nil }
      return server(text, node.mark, defaultPort: RedisServer.defaultPort, mayBeLocal: true).map { .single($0) }
    }
    guard let fields = Fields(node, of: "redis", known: ["sentinels", "master", "cluster"], findings) else {
      return nil
    }
    guard fields.has("sentinels") != fields.has("cluster") else {
      findings.problem(
        node.mark,
        "`redis` has either `sentinels` and `master`, or `cluster`; for one server write redis: \(Self.example)")
      return nil
    }
    if fields.has("cluster") {
      if fields.has("master") {
        findings.problem(fields.mark(of: "master"), "`master` is for `sentinels` alone; remove it")
      }
      let servers = servers("cluster", fields, defaultPort: RedisServer.defaultPort)
      return servers.isEmpty ? nil : .cluster(servers)
    }
    let servers = servers("sentinels", fields, defaultPort: RedisServer.sentinelPort)
    guard let master = fields.text("master", example: "limits") else {
      if !fields.has("master") {
        findings.problem(node.mark, "`master` is missing; write the name that the sentinels have for it")
      }
      return nil
    }
    return servers.isEmpty ? nil : .sentinels(servers, master: master)
  }

  private func servers(_ key: String, _ fields: Fields, defaultPort: UInt16) -> [RedisServer] {
    let example = "[redis://10.0.0.5:\(defaultPort), redis://10.0.0.6:\(defaultPort)]"
    let nodes = fields.list(key, orSingle: true, example: example)
    var found: [RedisServer] = []
    for node in nodes {
      guard case .scalar(let text, _) = node.content else {
        findings.problem(node.mark, "`\(key)` takes servers such as \(example), not \(node.kindName)")
        continue
      }
      guard let server = server(text, node.mark, defaultPort: defaultPort, mayBeLocal: false) else { continue }
      if let first = found.first, first.isTLS != server.isTLS {
        findings.problem(node.mark, "`\(key)` names redis:// and rediss://; all servers speak TLS, or none")
      }
      if found.contains(server) { findings.problem(node.mark, "\(server) stands twice in `\(key)`") }
      found.append(server)
    }
    if nodes.isEmpty || nodes.count > Self.serversMax {
      findings.problem(fields.mark(of: key), "`\(key)` names from 1 to \(Self.serversMax) servers, such as \(example)")
    }
    return found
  }

  private func server(_ text: String, _ mark: Mark, defaultPort: UInt16, mayBeLocal: Bool) -> RedisServer? {
    if mayBeLocal, text.hasPrefix("unix:") {
      let path = String(text.dropFirst(text.hasPrefix("unix://") ? 7 : 5))
      if path.hasPrefix("/"), !path.hasSuffix("/"), path.utf8.count <= Settings.Listen.adminBytesMax {
        return .unix(path: path)
      }
      findings.problem(
        mark, "a unix socket is its whole path, of at most \(Settings.Listen.adminBytesMax) bytes: unix:/run/redis.sock"
      )
      return nil
    }
    for (scheme, isTLS) in [("redis://", false), ("rediss://", true)] where text.hasPrefix(scheme) {
      var rest = text.dropFirst(scheme.count)
      if rest.hasSuffix("/") { rest = rest.dropLast() }
      guard !rest.contains("@") else {
        findings.problem(mark, "a user and a password do not stand in the URL; write `user` and `password_file`")
        return nil
      }
      let bytes = Array(rest.utf8)
      do throws(AuthorityProblem) {
        let target = try Authority.parse(bytes.span, defaultPort: defaultPort)
        return isTLS ? .tls(target) : .tcp(target)
      } catch {
        findings.problem(mark, "`\(text.quotable)` names no server: \(error); write \(Self.example)")
        return nil
      }
    }
    findings.problem(mark, "`\(text.quotable)` is no Redis server; write \(Self.example)")
    return nil
  }
}

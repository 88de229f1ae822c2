// The way to the group's Redis, whichever it is: one server, the master that sentinels name, or the nodes of a cluster.
// It relies on RedisConnection; after any failure all begins anew, since half a store cannot be counted on.
import Kernel
import Policy
import Wire

protocol LimitsStoreOwner: AnyObject {
  func storeIsUp()
  func storeIsDown(_ why: StoreProblem)
  func storeAnswered(_ request: LeaseRequest, _ reply: LeaseReply)
}

final class LimitsStore: RedisConnectionOwner {
  typealias RedisServer = Settings.SharedLimits.RedisServer

  private struct Pending {
    let request: LeaseRequest
    let key: [UInt8]
    var knowsScript = true
    var redirections = 0
    /// The node has the slot only as soon as it has moved.
    var isAsking = false
  }

  private static let redirectionsMax = 5
  /// Answers to what a connection is asked beside the script.
  private static let findToken = UInt64.max - 1
  private static let roleToken = UInt64.max - 2
  private static let askingToken = UInt64.max - 3
  private static let mapToken = UInt64.max - 4
  private static let aliveToken = UInt64.max - 5
  /// A failure that somebody has to mend is not asked about as often as one that may pass.
  private static let lastingRetryMs: UInt64 = 1_000
  private static let mapEveryMs: UInt64 = 1_000

  private let settings: Settings.SharedLimits
  private let gate: String
  private let tls: OutgoingTLSBox
  private let loop: Loop
  private let resolver: Resolver
  private weak var owner: (any LimitsStoreOwner)?
  private var seed = 0
  /// The one server, or a sentinel or node that is asked where the others are.
  private var main: RedisConnection?
  private var nodes: [Target: RedisConnection] = [:]
  private var slots: [Target?] = []
  private var mapMs: UInt64 = 0
  private var pending: [UInt64: Pending] = [:]
  /// Requests for nodes that are not connected yet.
  private var waiting: [Target: [UInt64]] = [:]
  private var keys: [LeaseKey?: [UInt8]] = [:]
  private(set) var isUp = false
  /// When to try again.
  private(set) var retryMs: UInt64 = 0

  init(
    _ settings: Settings.SharedLimits, gate: String, _ tls: OutgoingTLSBox, _ loop: Loop, _ resolver: Resolver,
    owner: any LimitsStoreOwner
  ) {
    (self.settings, self.gate, self.tls) = (settings, gate, tls)
    (self.loop, self.resolver, self.owner) = (loop, resolver, owner)
  }

  // MARK: - Finding it

  func tryIfDue() {
    guard !isUp, main == nil, loop.nowMs >= retryMs else { return }
    retryMs = .max
    let servers = settings.place.servers
    let server = servers[seed % servers.count]
    seed += 1
    var isOptional = false
    if case .sentinels = settings.place { isOptional = true }
    main = connect(server, isOptional: isOptional)
  }

  private func connect(_ server: RedisServer, isOptional: Bool = false) -> RedisConnection? {
    let account = RedisConnection.Account(user: settings.user, password: settings.password, isOptional: isOptional)
    guard
      let connection = RedisConnection(
        server, account, server.isTLS ? tls.value : nil, loop, resolver, owner: self)
    else {
      fail("no memory for a connection")
      return nil
    }
    connection.begin()
    return connection.hasEnded ? nil : connection
  }

  func ready(_ connection: RedisConnection) {
    if let target = nodes.first(where: { $0.value === connection })?.key {
      for id in waiting.removeValue(forKey: target) ?? [] { send(id, by: connection) }
      return
    }
    // A connection may stand before `connect` has returned it.
    main = connection
    switch settings.place {
    case .single: becomeUp()
    case .sentinels(let sentinels, let master):
      guard sentinels.contains(connection.server), !isMaster(connection) else {
        return connection.send([Array("ROLE".utf8)], token: Self.roleToken)
      }
      let words = ["SENTINEL", "get-master-addr-by-name", master]
      connection.send(words.map { Array($0.utf8) }, token: Self.findToken)
    case .cluster:
      askForMap(connection, token: Self.findToken)
    }
  }

  private func askForMap(_ connection: RedisConnection, token: UInt64) {
    connection.send([Array("CLUSTER".utf8), Array("SLOTS".utf8)], token: token)
  }

  /// The one that the sentinels named last.
  private var master: RedisServer?
  private func isMaster(_ connection: RedisConnection) -> Bool { connection.server == master }

  private func becomeUp() {
    isUp = true
    owner?.storeIsUp()
  }

  private func found(_ connection: RedisConnection, _ value: RedisValue) {
    if case .error(let text) = value { return fail(connection, RedisRefusal.problem(text, place: settings.place)) }
    switch settings.place {
    case .single: break
    case .sentinels(_, let name):
      guard let words = value.asList, words.count == 2, let host = words[0].asString,
        let port = words[1].asInteger.flatMap({ UInt16(exactly: $0) }), let asked = connection.host,
        let target = Redirection.node(host, port: port, asked: asked)
      else {
        let text = "it knows no master \(name): `master` is the name in its `sentinel monitor`"
        return fail(connection, StoreProblem(text: text, isLasting: true))
      }
      connection.close()
      let server = connection.server.at(target)
      master = server
      main = nil
      main = connect(server)
    case .cluster:
      guard let map = Self.slots(value, asked: connection.host) else {
        let text = "it is no node of a cluster that has slots: see `redis-cli --cluster check`"
        return fail(connection, StoreProblem(text: text, isLasting: true))
      }
      slots = map
      connection.close()
      main = nil
      becomeUp()
    }
  }

  /// `[[first, last, [host, port, …], replica…], …]`.
  private static func slots(_ value: RedisValue, asked: Host?) -> [Target?]? {
    guard let ranges = value.asList, !ranges.isEmpty, let asked else { return nil }
    var slots = [Target?](repeating: nil, count: ClusterSlot.count)
    for range in ranges {
      guard let parts = range.asList, parts.count >= 3, let first = parts[0].asInteger, let last = parts[1].asInteger,
        first >= 0, first <= last, last < slots.count, let node = parts[2].asList, node.count >= 2,
        let port = node[1].asInteger.flatMap({ UInt16(exactly: $0) })
      else { return nil }
      let target = Redirection.node(node[0].asString ?? "", port: port, asked: asked)
      for slot in first...last { slots[slot] = target }
    }
    return slots
  }

  // MARK: - Requests

  func perform(_ request: LeaseRequest) {
    guard isUp else { return }
    let key = keys[request.key] ?? LimitsScript.key(group: settings.group, request.key)
    keys[request.key] = key
    pending[request.id] = Pending(request: request, key: key)
    route(request.id)
    if case .announce = request.command { lookAfterNodes() }
  }

  private func route(_ id: UInt64) {
    guard let one = pending[id] else { return }
    guard case .cluster = settings.place else {
      if let main { send(id, by: main) }
      return
    }
    guard let target = slots[ClusterSlot.of(one.key)] else {
      return fail("no node of the cluster has the slot of a key: see `redis-cli --cluster check`")
    }
    route(id, to: target)
  }

  private func route(_ id: UInt64, to target: Target) {
    guard pending[id] != nil else { return }
    if let node = nodes[target] {
      if node.isReady { send(id, by: node) } else { waiting[target, default: []].append(id) }
      return
    }
    waiting[target, default: []].append(id)
    let server = settings.place.servers[0].at(target)
    guard let node = makeNode(server) else { return }
    nodes[target] = node
    node.begin()
  }

  /// Nodes that are rarely needed are asked as often as the group's own, since a server or a balancer may close what is
  /// idle. Those that have no slots any more are left.
  private func lookAfterNodes() {
    for (target, node) in nodes where node.isReady {
      if node.isIdle, !slots.contains(target) {
        node.close()
        nodes[target] = nil
      } else {
        node.send([Array("PING".utf8)], token: Self.aliveToken)
      }
    }
  }

  private func makeNode(_ server: RedisServer) -> RedisConnection? {
    let account = RedisConnection.Account(user: settings.user, password: settings.password)
    let node = RedisConnection(server, account, server.isTLS ? tls.value : nil, loop, resolver, owner: self)
    if node == nil { fail("no memory for a connection") }
    return node
  }

  private func send(_ id: UInt64, by connection: RedisConnection) {
    guard let one = pending[id] else { return }
    if one.isAsking { connection.send([Array("ASKING".utf8)], token: Self.askingToken) }
    connection.send(
      LimitsScript.words(one.request, key: one.key, gate: gate, isKnown: one.knowsScript), token: id)
  }

  func answered(_ connection: RedisConnection, _ token: UInt64, _ value: RedisValue) {
    switch token {
    case Self.askingToken, Self.aliveToken: return
    case Self.mapToken:
      if let map = Self.slots(value, asked: connection.host) { slots = map }
      return
    case Self.findToken: return found(connection, value)
    case Self.roleToken:
      if value.asList?.first?.asString == "master" { return becomeUp() }
      if case .error(let text) = value { return fail(connection, RedisRefusal.problem(text)) }
      return fail(connection, StoreProblem(text: "it is no master (any more)"))
    default: break
    }
    guard var one = pending[token] else { return }
    if case .error(let text) = value { return refused(token, &one, text, connection) }
    guard let reply = LimitsScript.reply(value, to: one.request.command) else {
      return fail(connection, StoreProblem(text: "it answered what the script does not say"))
    }
    pending[token] = nil
    owner?.storeAnswered(one.request, reply)
  }

  private func refused(_ id: UInt64, _ one: inout Pending, _ text: String, _ connection: RedisConnection) {
    if text.hasPrefix("NOSCRIPT"), one.knowsScript {
      one.knowsScript = false
      pending[id] = one
      return send(id, by: connection)
    }
    guard case .cluster = settings.place, let host = connection.host, let redirection = Redirection(text, asked: host)
    else { return fail(connection, RedisRefusal.problem(text)) }
    guard one.redirections < Self.redirectionsMax else {
      return fail(
        connection,
        StoreProblem(
          text: "the nodes do not agree about who has slot \(redirection.slot): see `redis-cli --cluster check`"))
    }
    one.redirections += 1
    one.isAsking = redirection.isOnce
    one.knowsScript = true
    pending[id] = one
    if !redirection.isOnce {
      slots[redirection.slot] = redirection.target
      if loop.nowMs >= mapMs {
        mapMs = loop.nowMs + Self.mapEveryMs
        askForMap(connection, token: Self.mapToken)
      }
    }
    route(id, to: redirection.target)
  }

  // MARK: - The end

  func ended(_ connection: RedisConnection, _ why: StoreProblem) {
    if let target = nodes.first(where: { $0.value === connection })?.key, connection.isIdle,
      waiting[target] == nil, !slots.contains(target)
    {
      nodes[target] = nil
      return
    }
    fail(connection, why)
  }

  func close() {
    main?.close()
    for node in nodes.values { node.close() }
    (main, nodes, pending, waiting, slots) = (nil, [:], [:], [:], [])
    isUp = false
  }

  private func fail(_ connection: RedisConnection, _ why: StoreProblem) {
    fail(StoreProblem(text: "\(connection.server): \(why.text)", isLasting: why.isLasting))
  }

  private func fail(_ why: String) { fail(StoreProblem(text: why)) }

  private func fail(_ why: StoreProblem) {
    close()
    let waitMs = why.isLasting ? Self.lastingRetryMs : LeaseTimes.retryMs
    retryMs = loop.nowMs + UInt64.random(in: waitMs / 4...waitMs)
    owner?.storeIsDown(why)
  }
}

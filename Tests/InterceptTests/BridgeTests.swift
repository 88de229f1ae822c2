// What two bridges behind one another make of what clients and upstreams say, cut in every way.

import BridgeSimulation
import Intercept
import Policy
import PolicyFile
import Testing
import Wire

@Suite struct BridgeTests {
  private static let target = Target(host: .name(try! HostName("api.example")), port: 443)

  private static func simulation(_ spoken: ApplicationProtocol) throws -> BridgeSimulation {
    let text = #"network_policy: {allow: [{host: "api.example:443", methods: [GET, POST], paths: ["/public/**"]}]}"#
    let policy = try #require(PolicyFile.parse(bytes: Array(text.utf8), name: "p").policy)
    let rule = try #require(policy.fallback.network.allow.first)
    return try #require(BridgeSimulation(spoken, target: target, rule: rule))
  }

  private static let exchange = """
    POST /public/a HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-End: yes\r\n\r\n\
    GET /public/b HTTP/1.1\r\nHost: api.example\r\n\r\n
    """
  private static let answers = [
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-T: 1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes",
  ]

  /// Every place to cut the request at gives the same bytes on both sides.
  @Test func cutsOfARequestMakeNoDifference() throws {
    let bytes = Array(Self.exchange.utf8)
    var expected: (up: [UInt8], down: [UInt8])?
    for cut in 0...bytes.count {
      var simulation = try Self.simulation(.http1)
      try simulation.say(Array(bytes[..<cut]), asClient: true)
      try simulation.say(Array(bytes[cut...]), asClient: true)
      for answer in Self.answers { try simulation.say(Array(answer.utf8), asClient: false) }
      let seen = (simulation.toUpstream, simulation.toClient)
      expected = expected ?? seen
      #expect(try #require(expected) == seen, "cut at \(cut)")
    }
    let (up, down) = try #require(expected)
    #expect(String(decoding: up, as: UTF8.self).contains("3\r\nabc\r\n0\r\nX-End: yes\r\n\r\nGET /public/b"))
    #expect(String(decoding: down, as: UTF8.self).hasSuffix("yes"))
    #expect(String(decoding: down, as: UTF8.self).contains("2\r\nhi\r\n0\r\nX-T: 1\r\n\r\nHTTP/1.1 200 OK"))
  }

  @Test func cutsOfAnAnswerMakeNoDifference() throws {
    let whole = Array(Self.answers[1].utf8)
    var expected: [UInt8]?
    for cut in 0...whole.count {
      var simulation = try Self.simulation(.http1)
      try simulation.say(Array(Self.exchange.utf8), asClient: true)
      try simulation.say(Array(whole[..<cut]), asClient: false)
      try simulation.say(Array(whole[cut...]), asClient: false)
      expected = expected ?? simulation.toClient
      #expect(expected == simulation.toClient, "cut at \(cut)")
    }
  }

  @Test func randomConversationsKeepTheInvariant() throws {
    let pieces = [
      "GET /public/x HTTP/1.1\r\nHost: api.example\r\n\r\n", "GET /private HTTP/1.1\r\nHost: api.example\r\n\r\n",
      "GET /public/../private HTTP/1.1\r\nHost: api.example\r\n\r\n",
      "DELETE /public/x HTTP/1.1\r\nHost: api.example\r\n\r\n",
      "POST /public/%41 HTTP/1.1\r\nHost: api.example:443\r\nContent-Length: 4\r\n\r\nabcd", "0\r\n\r\n", "\r\n",
      "POST /public/y HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
      "4;x=y\r\nabcd\r\n", "GET /public/x HTTP/1.0\r\nHost: api.example\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: other\r\n\r\n",
      "GET /public/w HTTP/1.1\r\nHost: api.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ]
    let said =
      Self.answers + [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 204 No\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nuntil the end", "nonsense",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
      ]
    for seed in 1...400 {
      var random = Seeded(state: UInt64(seed))
      var simulation = try Self.simulation(.http1)
      do {
        for _ in 0..<random.below(20) {
          let isClient = random.below(3) > 0
          let text = Array((isClient ? pieces[random.below(pieces.count)] : said[random.below(said.count)]).utf8)
          let cut = random.below(4) == 0 ? random.below(text.count + 1) : text.count
          try simulation.say(Array(text[..<cut]), asClient: isClient)
          if random.below(2) == 0 { try simulation.say(Array(text[cut...]), asClient: isClient) }
        }
        try simulation.end()
      } catch { Issue.record("seed \(seed): \(error)") }
    }
  }

  @Test func randomFramesKeepTheInvariant() throws {
    let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0, 0, 0, 4, 0, 0, 0, 0, 0]
    // HPACK: GET, https, the authority, and a path, all without a table.
    func head(_ stream: UInt8, _ path: String, ends: Bool) -> [UInt8] {
      let name = Array("api.example".utf8)
      let block = [0x82, 0x87, 0x01, UInt8(name.count)] + name + [0x04, UInt8(path.utf8.count)] + Array(path.utf8)
      return [0, 0, UInt8(block.count), 1, ends ? 5 : 4, 0, 0, 0, stream] + block
    }
    for seed in 1...200 {
      var random = Seeded(state: UInt64(seed))
      var simulation = try Self.simulation(.http2)
      do {
        try simulation.say(preface, asClient: true)
        try simulation.say([0, 0, 0, 4, 0, 0, 0, 0, 0], asClient: false)
        var stream: UInt8 = 1
        for _ in 0..<random.below(30) {
          switch random.below(5) {
          case 0: try simulation.say(head(stream, "/public/a", ends: true), asClient: true)
          case 1: try simulation.say(head(stream, "/private", ends: random.below(2) == 0), asClient: true)
          case 2: try simulation.say(head(stream, "/public/../x", ends: false), asClient: true)
          case 3:
            try simulation.say(
              head(stream, "/public/b", ends: false) + [0, 0, 2, 0, 1, 0, 0, 0, stream, 1, 2], asClient: true)
          default:
            let noise = (0..<random.below(40)).map { _ in UInt8(random.below(256)) }
            try simulation.say(
              [0, 0, UInt8(noise.count), UInt8(random.below(10)), UInt8(random.below(64)), 0, 0, 0, stream] + noise,
              asClient: random.below(2) == 0)
          }
          stream = stream &+ 2 | 1
        }
        try simulation.end()
      } catch { Issue.record("seed \(seed): \(error)") }
    }
  }
}

private struct Seeded {
  var state: UInt64

  mutating func below(_ bound: Int) -> Int {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int((state >> 33) % UInt64(max(bound, 1)))
  }
}

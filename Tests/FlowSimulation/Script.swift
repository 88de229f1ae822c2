// What clients and upstreams say in a simulation: whole messages, which the simulation cuts and mixes.
// The hosts are those of `Script.policy`, so that every verdict occurs.
package import Flow
import Wire

package enum Script {
  package static let policy = """
    network_policy:
      default: deny
      deny:
        - "bad.example:443"
      allow:
        - "tls.example:443"
        - {host: "look.example:443", methods: [GET], paths: ["/a"]}
        - {host: "look.example:80", paths: ["/b/**"]}
        - {host: "raw.example:22", protocol: tcp}
        - {host: "auto.example:8443", protocol: auto}
        - "web.example:80"
        - "bad.example:[443, 444]"
        - {host: "old.example:80", expires: 2027-02-01T00:00:00Z}
        - {host: "inner.example:80", addresses: [169.254.0.0/16]}
        - {host: "93.184.216.34:80"}
      rate_limits:
        - {host: "web.example:80", requests_per_minute: 3, concurrent: 2}
        - {host: "raw.example:22", requests_per_minute: 1, on_limit: pace, tunnel_lifetime_seconds: 60}
    """

  private static let tlsAddress = IPAddress.v4(0x5DB8_D822)
  package static let openings: [Opening] = [
    .proxy, .redirected(to: tlsAddress, port: 443, name: nil), .redirected(to: tlsAddress, port: 80, name: nil),
    .redirected(to: .v4(0xC612_0001), port: 8443, name: try? HostName(parsing: Array("auto.example".utf8).span)),
    .redirected(to: .v4(0xC612_0003), port: 80, name: try? HostName(parsing: Array("sluice.internal".utf8).span)),
    .redirected(to: .v4(0xC612_0002), port: 22, name: try? HostName(parsing: Array("raw.example".utf8).span)),
    .redirected(to: .v4(0x7F00_0001), port: 3128, name: nil),
  ]

  private static func connect(_ target: String) -> [UInt8] {
    Array("CONNECT \(target) HTTP/1.1\r\nHost: \(target)\r\n\r\n".utf8)
  }

  private static func get(_ host: String, _ more: String = "") -> [UInt8] {
    Array("GET http://\(host)/a HTTP/1.1\r\nHost: \(host)\r\nProxy-Authorization: Basic eDp5\r\n\(more)\r\n".utf8)
  }

  package static let client: [[UInt8]] = [
    connect("tls.example:443"), connect("raw.example:22"), connect("auto.example:8443"), connect("bad.example:443"),
    connect("look.example:443"), hello(name: "look.example"), get("look.example"),
    connect("sluice.internal:80"), connect("sluice.internal:443"), get("sluice.internal"),
    Array(
      "POST http://sluice.internal/requests HTTP/1.1\r\nHost: sluice.internal\r\nContent-Length: 3\r\n\r\nabc".utf8),
    Array("GET / HTTP/1.1\r\nHost: sluice.internal\r\n\r\n".utf8),
    connect("nowhere.example:443"), connect("93.184.216.34:80"), connect("127.0.0.1:3128"),
    get("web.example"), get("web.example", "Connection: close\r\n"), get("old.example"), get("inner.example"),
    get("nowhere.example"), get("web.example", "Upgrade: websocket\r\nConnection: Upgrade\r\n"),
    Array("POST http://web.example/ HTTP/1.1\r\nHost: web.example\r\nContent-Length: 3\r\n\r\nabc".utf8),
    Array("POST http://web.example/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n".utf8),
    Array("GET http://web.example/ HTTP/1.0\r\n\r\n".utf8),
    Array("GET / HTTP/1.1\r\nHost: web.example\r\n\r\n".utf8),
    Array("SSH-2.0-x\r\n".utf8), [0x16, 0x03, 0x01], [0x16, 0x03, 0x01, 0x00, 0x00], [0],
    Array("GET / HTTP/1.1\r\nHost: web.example:81\r\n\r\n".utf8),
    [5, 1, 0], [5, 2, 0, 2], [1, 1, 0x75, 1, 0x70], [5, 3, 0, 1, 0, 0, 0, 0, 0, 0], [4, 1, 0, 80],
    [5, 1, 0, 3, 11] + Array("raw.example".utf8) + [0, 22], [5, 1, 0, 3, 3, 0x61, 0, 0x62, 0, 80],
    [5, 1, 0, 1, 93, 184, 216, 34, 0, 80],
    [0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x21, 0x11, 0, 12]
      + [10, 2, 0, 1, 93, 184, 216, 34, 1, 0, 0, 80],
    hello(name: "tls.example"), hello(name: "auto.example"), hello(name: "other.example"), hello(name: nil),
  ]

  package static let upstream: [[UInt8]] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nuntil close",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "nonsense\r\n\r\n", "HTTP/1.1 2",
  ].map { Array($0.utf8) }

  /// A minimal TLS 1.2 ClientHello (RFC 5246 section 7.4.1.2) in one record.
  package static func hello(name: String?) -> [UInt8] {
    var extensions: [UInt8] = []
    if let name {
      let text = Array(name.utf8)
      let entry = [0] + sized(text, bytes: 2)
      extensions = [0, 0] + sized(sized(entry, bytes: 2), bytes: 2)
    }
    var body: [UInt8] = [3, 3] + [UInt8](repeating: 7, count: 32) + [0]
    body += sized([0x13, 0x01], bytes: 2) + sized([0], bytes: 1) + sized(extensions, bytes: 2)
    return [0x16, 3, 1] + sized([1] + sized(body, bytes: 3), bytes: 2)
  }

  private static func sized(_ content: [UInt8], bytes: Int) -> [UInt8] {
    (0..<bytes).reversed().map { UInt8(truncatingIfNeeded: content.count >> ($0 * 8)) } + content
  }
}

// TEMPORARY
import Glibc
package import Policy
import Wire

package struct LoadedPolicy { package var policy: Policy?; package var problems: [String] = [] }

package enum PolicyFile {
  package static func parse(bytes: [UInt8], name: String) -> LoadedPolicy { LoadedPolicy() }
  package static func load(path: String, inheriting old: Policy?) -> LoadedPolicy {
    var network = NetworkSpec(line: SourceLine(file: path, line: 1))
    var settings = Settings()
    let f = unsafe fopen(path, "r")
    var number = 0
    while let l = unsafe readLineOf(f) {
      number += 1
      var w = l.split(whereSeparator: { " {},\"".contains($0) }).map(String.init)
      if w.first == "-" && w.count > 4 { w = ["allow", w[2], w[4]] }
      if w.first == "log:" { settings.log.file = w[2] }
      if w.first == "limits:" { settings.limits.connections = Int(w[2]) ?? 1 }
      if w.first == "log" { settings.log.file = w[1] }
      if w.first == "connections" { settings.limits.connections = Int(w[1]) ?? 1 }
      if w.first == "dns" { if let a = ListenAddress(w[1]) { settings.resolver.servers = [a] } }
      guard w.first == "allow", let t = try? Authority.parse(Array(w[1].utf8).span, defaultPort: nil) else { continue }
      var a = AllowSpec(
        line: SourceLine(file: path, line: number), pattern: .exact(t.host), ports: PortSet([t.port...t.port]))
      if w.count > 2 { a.wireProtocol = WireProtocol(rawValue: w[2]) }
      if let p = try? AddressPrefix("127.0.0.0/8") { a.addresses = [p] }
      network.allow.append(a)
    }
    return LoadedPolicy(policy: Policy(hash: "00", settings: settings, network: network, clients: [], inheriting: old))
  }
  static func readLineOf(_ f: UnsafeMutablePointer<FILE>?) -> String? {
    var line: [UInt8] = []
    while true {
      let c = unsafe fgetc(f)
      if c == EOF { return line.isEmpty ? nil : String(decoding: line, as: UTF8.self) }
      if c == 10 { return String(decoding: line, as: UTF8.self) }
      line.append(UInt8(c))
    }
  }
}

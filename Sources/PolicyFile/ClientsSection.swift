// `clients`: the clients, identified by source network or by proxy user, each with its own rules and buckets.
// It relies on the caller to read password files; their content is never printed.
import Policy
import Wire
import YAML

struct ClientsSection {
  let findings: Findings
  let network: NetworkSection
  /// The rules for clients without own rules.
  let shared: NetworkSpec
  /// The sandbox that is started, identified by its name.
  let sandbox: String?
  let readFile: (String) -> [UInt8]?

  func read(_ node: YAMLNode) -> [ClientSpec] {
    guard case .sequence(let items) = node.content else {
      findings.problem(
        node.mark, "`clients` takes a list such as [{name: builder, source: [10.1.0.0/16]}], not \(node.kindName)")
      return []
    }
    var names: [String: Mark] = [:]
    var users: [[UInt8]: Mark] = [:]
    var sources: [AddressPrefix: Mark] = [:]
    var clients: [ClientSpec] = []
    for item in items {
      guard let client = read(one: item) else { continue }
      let mark = item.mark
      if let first = names.updateValue(mark, forKey: client.name) {
        findings.problem(
          mark, "the name \(client.name) is taken in \(findings.place(first, from: mark)); names of clients differ")
      }
      if let user = client.proxyUser {
        if let first = users.updateValue(mark, forKey: user) {
          findings.problem(
            mark, "the proxy user is taken in \(findings.place(first, from: mark)); one user is one client")
        }
      } else {
        for source in client.sources {
          guard let first = sources.updateValue(mark, forKey: source) else { continue }
          findings.problem(
            mark, "the source \(source) is taken in \(findings.place(first, from: mark)); one network is one client")
        }
      }
      clients.append(client)
    }
    return clients
  }

  private func read(one node: YAMLNode) -> ClientSpec? {
    let keys = ["name", "source", "proxy_user", "password_file", "network_policy"]
    guard let fields = Fields(node, of: "a client", known: keys, findings) else { return nil }
    let spec = fields.node("network_policy").map(network.read) ?? shared
    var client = ClientSpec(name: readName(fields), network: spec)
    client.sources = fields.list("source", orSingle: true, example: "[10.1.0.0/16]").compactMap {
      Networks.prefix($0, findings)
    }
    if fields.has("source"), client.sources.isEmpty, case .sequence(let items)? = fields.node("source")?.content,
      items.isEmpty
    {
      findings.problem(fields.mark(of: "source"), "`source` is empty; list networks such as [10.1.0.0/16]")
    }
    readUser(fields, &client)
    if !fields.has("source"), !fields.has("proxy_user"), client.name != sandbox {
      findings.warn(
        node.mark,
        "nothing tells this client apart but the name of a sandbox: `sluice run --name \(client.name.quotable)`; where that"
          + " is not meant, give it `source`, or `proxy_user` with `password_file`")
    }
    return client
  }

  private func readName(_ fields: Fields) -> String {
    guard fields.has("name") else {
      findings.problem(fields.mark, "`name` is missing; the log names the client by it")
      return ""
    }
    guard let name = fields.text("name", example: "builder") else { return "" }
    let mark = fields.node("name")?.mark ?? fields.mark
    if name == Policy.fallbackName {
      findings.problem(mark, "`\(name)` is the name of the file's own `network_policy`; choose another")
    } else if !Client.mayBeCalled(name) {
      findings.problem(mark, "`name` is made of letters, digits, '-', '_' and '.', at most 64")
    }
    return name
  }

  private func readUser(_ fields: Fields, _ client: inout ClientSpec) {
    if fields.has("password_file"), !fields.has("proxy_user") {
      findings.problem(fields.mark(of: "password_file"), "`password_file` needs `proxy_user` beside it")
    }
    guard let user = fields.text("proxy_user", example: "builder") else { return }
    let mark = fields.node("proxy_user")?.mark ?? fields.mark
    if user.contains(":") { findings.problem(mark, "a proxy user has no colon (RFC 7617 section 2)") }
    client.proxyUser = Array(user.utf8)
    guard fields.has("password_file") else {
      findings.problem(
        mark, "`proxy_user` needs `password_file` beside it: lines of USER:HASH, from `openssl passwd -6`")
      return
    }
    guard let path = fields.text("password_file", example: "/etc/sluice/passwords"),
      let node = fields.node("password_file")
    else { return }
    guard let bytes = readFile(path) else {
      findings.problem(
        node.mark, "cannot read the password file \(path.quotable) (it must exist, and be at most 1 MiB)")
      return
    }
    switch PasswordFile.hash(of: user, in: bytes) {
    case .found(let hash): client.passwordHash = hash
    case .missing:
      findings.problem(
        node.mark, "\(path.quotable) has no line for this user; write USER:HASH, from `openssl passwd -6`")
    case .notHashed(let line):
      findings.problem(
        node.mark,
        "\(path.quotable):\(line): not a hash of crypt(5) that is safe ($y$, $2b$, $5$, $6$); write what `openssl passwd -6` prints"
      )
    }
  }
}

enum PasswordFile {
  enum Search {
    case found([UInt8])
    case missing
    case notHashed(line: Int)
  }

  /// Lines of `user:hash`; blank ones and those that begin with # are skipped.
  static func hash(of user: String, in bytes: [UInt8]) -> Search {
    let wanted = Array(user.utf8)
    for (index, line) in bytes.split(separator: 0x0a, omittingEmptySubsequences: false).enumerated() {
      var line = line
      if line.last == 0x0d { line = line.dropLast() }
      guard line.first != UInt8(ascii: "#"), let colon = line.firstIndex(of: UInt8(ascii: ":")),
        line[..<colon].elementsEqual(wanted)
      else { continue }
      let hash = Array(line[(colon + 1)...])
      let isSafe = ["$y$", "$2b$", "$2y$", "$5$", "$6$", "$7$", "$gy$"].contains { hash.starts(with: $0.utf8) }
      guard isSafe, hash.count > 20, hash.count < 384, hash.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
        return .notHashed(line: index + 1)
      }
      return .found(hash)
    }
    return .missing
  }
}

// The `listen` section: the listeners, the TLS certificates of some, and the admin socket.
// It relies on PolicyFiles for certificates: they are read with the policy, and again at each reload.
import Policy
import Wire
import YAML

struct ListenSection {
  let findings: Findings
  let files: PolicyFiles

  func read(_ node: YAMLNode) -> Settings.Listen {
    var listen = Settings.Listen()
    let known = ListenerKind.allCases.map(\.rawValue) + ["proxy_protocol", "admin", "metrics"]
    guard let fields = Fields(node, of: "listen", known: known, findings) else { return listen }
    listen.connect = []
    for door in ListenerKind.allCases { readListeners(door, fields, into: &listen) }
    // Sandboxes may provide all listeners.
    if ListenerKind.allCases.allSatisfy({ !fields.has($0.rawValue) }) && !fields.has("admin") {
      findings.problem(node.mark, "`listen` names no listener; write listen: {connect: 127.0.0.1:3128}")
    }
    listen.admin = readAdmin(fields)
    listen.metrics = readMetrics(fields)
    checkOverlaps(listen, fields)
    listen.proxyProtocol = Networks.list("proxy_protocol", fields, example: "[10.0.0.5]", findings)
    return listen
  }

  /// Reads the admin path, which must be absolute: a relative path would name another socket if the gate starts in
  /// another folder.
  private func readAdmin(_ fields: Fields) -> String? {
    guard let path = fields.text("admin", example: "/run/sluice/admin.sock"), let node = fields.node("admin") else {
      return nil
    }
    guard path.hasPrefix("/"), !path.hasSuffix("/") else {
      findings.problem(node.mark, "`admin` takes the whole path of a unix socket, such as /run/sluice/admin.sock")
      return nil
    }
    guard path.utf8.count <= Settings.Listen.adminBytesMax else {
      findings.problem(
        node.mark, "`admin` is at most \(Settings.Listen.adminBytesMax) bytes long, as the kernel takes no more")
      return nil
    }
    return path
  }

  private func readMetrics(_ fields: Fields) -> ListenAddress? {
    guard let node = fields.node("metrics"), let address = listener(node) else { return nil }
    if address.address.kind == .unspecified {
      findings.warn(
        node.mark, "\(address) shows the metrics to every network; name the address that Prometheus comes in on")
    }
    return address
  }

  // MARK: - Listeners

  private func readListeners(_ door: ListenerKind, _ fields: Fields, into listen: inout Settings.Listen) {
    let key = door.rawValue
    guard let node = fields.node(key) else { return }
    var nodes: [YAMLNode] = []
    if door == .connect, case .mapping = node.content {
      nodes = [node]
    } else {
      nodes = fields.list(key, orSingle: true, example: door.example)
    }
    var addresses: [ListenAddress] = []
    for node in nodes {
      if door == .connect, case .mapping = node.content {
        let (found, identity) = readPlace(node)
        for (address, mark) in found { add(address, mark, door, to: &addresses) }
        if let identity { for (address, _) in found { listen.identities[address] = identity } }
      } else if let address = listener(node) {
        add(address, node.mark, door, to: &addresses)
      }
    }
    if nodes.isEmpty, case .sequence = node.content {
      findings.problem(fields.mark(of: key), "`\(key)` names no address; write \(door.example)")
    }
    listen[door] = addresses
  }

  private func add(_ address: ListenAddress, _ mark: Mark, _ door: ListenerKind, to addresses: inout [ListenAddress]) {
    if addresses.contains(address) {
      findings.problem(mark, "\(address) stands twice in `\(door.rawValue)`; keep one")
      return
    }
    // Redirected connections arrive at any address. For other listeners, the operator must choose the served network.
    if address.address.kind == .unspecified && door != .transparent {
      findings.warn(mark, "\(address) accepts from every network; name the address that clients come in on")
    }
    addresses.append(address)
  }

  /// `{address: …, tls: {…}}`
  private func readPlace(_ node: YAMLNode) -> ([(ListenAddress, Mark)], UpstreamTLS.Identity?) {
    guard let fields = Fields(node, of: "connect", known: ["address", "tls"], findings) else { return ([], nil) }
    if !fields.has("address") {
      findings.problem(node.mark, "`address` is missing; write connect: {address: 192.0.2.1:3128, tls: {…}}")
    }
    var found: [(ListenAddress, Mark)] = []
    for node in fields.list("address", orSingle: true, example: ListenerKind.connect.example) {
      if let address = listener(node) { found.append((address, node.mark)) }
    }
    if found.isEmpty, case .sequence(let items)? = fields.node("address")?.content, items.isEmpty {
      findings.problem(fields.mark(of: "address"), "`address` names none; write \(ListenerKind.connect.example)")
    }
    guard let tls = fields.node("tls") else { return (found, nil) }
    return (found, files.identity(tls, of: "tls", example: ("/etc/sluice/gate.pem", "/etc/sluice/gate.key")))
  }

  private func listener(_ node: YAMLNode) -> ListenAddress? {
    guard case .scalar(let text, _) = node.content, !node.isNull else {
      findings.problem(node.mark, "a listener is ADDRESS:PORT such as 127.0.0.1:3128, not \(node.kindName)")
      return nil
    }
    if let address = ListenAddress(text) { return address }
    let advice =
      text.utf8.allSatisfy(\.isDigit)
      ? "write 127.0.0.1:\(text)" : "write an address and a port, such as 127.0.0.1:3128 or \"[::1]:3128\""
    findings.problem(node.mark, "`\(text.quotable)` is no listener; \(advice)")
    return nil
  }

  private func checkOverlaps(_ listen: Settings.Listen, _ fields: Fields) {
    var seen: [ListenAddress: ListenerKind] = [:]
    for door in ListenerKind.allCases {
      for address in listen[door] where address.port != 0 {
        if let other = seen[address], other != door {
          findings.problem(
            fields.mark(of: door.rawValue), "\(address) stands in `\(other.rawValue)` too; give each its own port")
        }
        seen[address] = door
      }
    }
    if let metrics = listen.metrics, metrics.port != 0, let other = seen[metrics] {
      findings.problem(
        fields.mark(of: "metrics"), "\(metrics) stands in `\(other.rawValue)` too; give each its own port")
    }
  }
}

extension ListenerKind {
  fileprivate var example: String {
    switch self {
    case .connect: "127.0.0.1:3128"
    case .transparent: "127.0.0.1:3129"
    case .dns: "127.0.0.1:3153"
    }
  }
}

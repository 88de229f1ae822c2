// The settings of a policy file as facts, each named by its path in the file.
// It relies on PolicyFact for showing and comparing; values of a sandbox's variables are compared and never shown.
import Wire

extension Policy {
  /// All facts except the rules.
  var settingsFacts: [PolicyFact] { settings.facts + credentials.flatMap(\.facts) }
}

extension Settings {
  var facts: [PolicyFact] {
    listen.facts + resolver.facts + dns.facts + log.facts
      + limits.facts + timeouts.facts + process.facts + files.facts + environment.facts + [
        PolicyFact("tls.ca", caFolder ?? "the user's own"), PolicyFact("tls.trust", list(trustedFiles)),
        PolicyFact("explain_denials", explainsDenials.map { "\($0)" } ?? "by command"),
        PolicyFact("state.folder", stateFolder ?? "none"),
      ] + (approvals?.facts ?? [PolicyFact("approvals", "off")]) + (shared?.facts ?? [])
  }
}

extension Settings.Approvals {
  fileprivate var facts: [PolicyFact] {
    [
      PolicyFact("approvals", "on"), PolicyFact("approvals.wait_seconds", seconds(waitMs)),
      PolicyFact("approvals.per_client", "\(perClient)"),
      PolicyFact("approvals.notify", list(notify.map(\.word)), comparing: ComparedValue(notify)),
    ]
  }
}

extension Settings.Approvals.Notifier {
  /// The kind only, never the URL or the arguments: both may hold a secret.
  fileprivate var word: String {
    switch self {
    case .webhook: "webhook"
    case .command(let words): "command \(words.first ?? "")"
    }
  }
}

private func list<Element>(_ elements: [Element]) -> String {
  elements.isEmpty ? "none" : elements.map { "\($0)" }.joined(separator: " ")
}

private func seconds(_ ms: UInt64) -> String {
  ms % 1000 == 0 ? "\(ms / 1000)" : "\(ms / 1000).\(String(ms % 1000 + 1000).dropFirst())"
}

private func amount(_ value: Int?) -> String { value.map { "\($0)" } ?? "max" }

extension Settings.Listen {
  fileprivate var facts: [PolicyFact] {
    [
      PolicyFact("listen.connect", list(connect)),
      PolicyFact(
        "listen.connect, over TLS", list(connect.filter { identities[$0] != nil }), comparing: ComparedValue(identities)
      ),
      PolicyFact("listen.transparent", list(transparent)), PolicyFact("listen.dns", list(dns)),
      PolicyFact("listen.proxy_protocol", list(proxyProtocol)), PolicyFact("listen.admin", admin ?? "none"),
      PolicyFact("listen.metrics", metrics.map { "\($0)" } ?? "none"),
    ]
  }
}

extension Settings.Resolver {
  fileprivate var facts: [PolicyFact] {
    [
      PolicyFact("resolver.servers", servers.isEmpty ? "the system's" : list(servers)),
      PolicyFact("resolver.timeout", seconds(timeoutMs)), PolicyFact("resolver.attempts", "\(attempts)"),
    ]
  }
}

extension Settings.DNS {
  fileprivate var facts: [PolicyFact] {
    [
      PolicyFact("dns.answers", answers.rawValue), PolicyFact("dns.refused", refused.rawValue),
      PolicyFact("dns.ttl", "\(ttlSeconds)"),
      PolicyFact("dns.networks", list(networks)),
    ]
  }
}

extension Settings.Log {
  fileprivate var facts: [PolicyFact] {
    [
      PolicyFact("log.file", file ?? "standard output"),
      PolicyFact("log.on_failure", refusesWhenUnwritable ? "refuse" : "continue"),
      PolicyFact("log.paths", paths.rawValue),
      PolicyFact("limits.log_buffer_bytes", "\(bufferBytes)"),
    ]
  }
}

extension Settings.Limits {
  fileprivate var facts: [PolicyFact] {
    [
      PolicyFact("limits.connections", "\(connections)"), PolicyFact("limits.head_bytes", "\(headBytes)"),
      PolicyFact("limits.hello_bytes", "\(helloBytes)"), PolicyFact("limits.dns_cache_names", "\(dnsCacheNames)"),
      PolicyFact("limits.synthetic_names", "\(syntheticNames)"),
    ]
  }
}

extension Settings.Timeouts {
  fileprivate var facts: [PolicyFact] {
    [
      PolicyFact("timeouts.head", seconds(headMs)), PolicyFact("timeouts.hello", seconds(helloMs)),
      PolicyFact("timeouts.connect", seconds(connectMs)), PolicyFact("timeouts.idle", seconds(idleMs)),
      PolicyFact("timeouts.keep_alive", seconds(keepAliveMs)), PolicyFact("timeouts.drain", seconds(drainMs)),
    ]
  }
}

extension Settings.Process {
  fileprivate var facts: [PolicyFact] {
    let lines = io.map { [$0.device.map { "\($0)" } ?? "", $0.text].filter { !$0.isEmpty }.joined(separator: " ") }
    return [
      PolicyFact("process_limits.cpu.max", cpu.map { "\($0.quotaUs) \($0.periodUs)" } ?? "max"),
      PolicyFact("process_limits.memory.max", amount(memoryBytes)),
      PolicyFact("process_limits.memory.swap.max", amount(swapBytes)),
      PolicyFact("process_limits.pids.max", amount(processes)),
      PolicyFact("process_limits.io.max", lines.isEmpty ? "max" : lines.joined(separator: ", ")),
    ]
  }
}

extension Settings.Files {
  fileprivate var facts: [PolicyFact] {
    let name = "filesystem_policy"
    return home.facts + [
      PolicyFact("\(name).workspace", workspace?.path ?? "where it is started"),
      PolicyFact("\(name).workspace_mode", workspaceMode.rawValue),
      PolicyFact("\(name).read_only", list(readOnly.map(\.path))),
      PolicyFact("\(name).read_write", list(readWrite.map(\.path))),
      PolicyFact("\(name).hidden", list(hidden.map(\.path))),
      PolicyFact("\(name).protected", protected.map { list($0.map(\.path)) } ?? "what git obeys"),
      PolicyFact("\(name).tmp", "\(temporaryBytes)"),
    ]
  }
}

extension HomeSettings {
  fileprivate var facts: [PolicyFact] {
    let store =
      switch store {
      case .temporary(let bytes): "temporary, \(bytes) bytes"
      case .folder(let entry): entry.path
      case .persistent(let name): "persistent, \(name)"
      }
    let place =
      switch place {
      case .own: "the sandbox's own"
      case .caller: "caller"
      case .path(let path): path
      }
    let name = "filesystem_policy"
    return [
      PolicyFact("\(name).home", store), PolicyFact("\(name).home.at", place),
      PolicyFact("\(name).home.read_only", list(readOnly.map(\.path))),
      PolicyFact("\(name).home.copy", list(copied.map(\.path))), PolicyFact("\(name).caches", list(caches.map(\.name))),
    ]
  }
}

extension Settings.SharedLimits {
  fileprivate var facts: [PolicyFact] {
    let name = "shared_limits"
    return [
      PolicyFact("\(name).redis", text(place)), PolicyFact("\(name).user", user ?? "none"),
      PolicyFact("\(name).password_file", password == nil ? "none" : "set", comparing: ComparedValue(password)),
      PolicyFact("\(name).ca", ca?.path ?? "the system's roots", comparing: ComparedValue(ca)),
      PolicyFact("\(name).group", group), PolicyFact("\(name).on_loss", onLoss.rawValue),
    ]
  }

  private func text(_ place: Place) -> String {
    switch place {
    case .single(let server): "\(server)"
    case .sentinels(let servers, let master): "master \(master) of sentinels \(list(servers))"
    case .cluster(let servers): "cluster \(list(servers))"
    }
  }
}

extension Settings.Environment {
  fileprivate var facts: [PolicyFact] {
    [
      PolicyFact("environment.pass", list(pass)),
      PolicyFact("environment.set", list(set.map(\.name)), comparing: ComparedValue(set)),
    ]
  }
}

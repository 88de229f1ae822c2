// The environment of the command: what is passed on of the caller's is a list; the rest is the sandbox's own.
// It relies on the caller to look values up: this is pure.

package enum SandboxEnvironment {
  /// How the terminal and the language are; no secret has these names.
  package static let passed = [
    "TERM", "COLORTERM", "NO_COLOR", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LC_TIME", "LC_COLLATE",
    "LC_NUMERIC", "TZ",
  ]

  /// `more` is NAME, passed on where the caller has it, or NAME=VALUE; it wins.
  package static func make(more: [String], trustsGate: Bool = false, value: (String) -> String?) -> [String] {
    let proxy = "http://127.0.0.1:\(Plan.proxyPort)"
    // What listens on the sandbox's own loopback is reached without the gate.
    let direct = "localhost,127.0.0.1,::1"
    var settings = [
      "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": Plan.home, "USER": "agent",
      "LOGNAME": "agent", "SHELL": "/bin/sh", "TMPDIR": "/tmp", "HTTPS_PROXY": proxy, "https_proxy": proxy,
      "HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": direct, "no_proxy": direct, "NODE_USE_ENV_PROXY": "1",
      "SLUICE": "1",
    ]
    if trustsGate { settings.merge(SandboxTrust.variables) { $1 } }
    for name in passed { settings[name] = value(name) }
    for entry in more {
      let name = String(entry.prefix { $0 != "=" })
      settings[name] = entry.contains("=") ? String(entry.dropFirst(name.count + 1)) : value(name)
    }
    return settings.map { "\($0.key)=\($0.value)" }.sorted()
  }
}

// The environment of the command: what is passed on of the caller's is a list; the rest is the sandbox's own.
// It relies on the caller to look values up, and to have refused the names that are the sandbox's: this is pure.

package struct SandboxEnvironment {
  /// How the terminal and the language are; no secret has these names.
  package static let passed = [
    "TERM", "COLORTERM", "NO_COLOR", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LC_TIME", "LC_COLLATE",
    "LC_NUMERIC", "TZ",
  ]

  package static let systemPrograms = [
    "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin",
  ]

  private var settings: [String: String]

  /// `trustsGate`: where the gate looks into its TLS, or explains refusals in it. `path`: the folders
  /// of programs, in their order.
  package init(
    trustsGate: Bool = false, home: String = SandboxPlan.home, path: [String] = SandboxEnvironment.systemPrograms
  ) {
    let proxy = "http://127.0.0.1:\(SandboxPlan.proxyPort)"
    // What listens on the sandbox's own loopback is reached without the gate.
    let direct = "localhost,127.0.0.1,::1"
    settings = [
      "PATH": path.joined(separator: ":"), "HOME": home, "USER": "agent",
      "LOGNAME": "agent", "SHELL": "/bin/sh", "TMPDIR": "/tmp", "HTTPS_PROXY": proxy, "https_proxy": proxy,
      "HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": direct, "no_proxy": direct, "NODE_USE_ENV_PROXY": "1",
      "SLUICE": "1",
    ]
    if trustsGate { settings.merge(SandboxTrust.variables) { $1 } }
  }

  /// What comes later wins.
  package mutating func set(_ name: String, _ value: String) { settings[name] = value }

  /// Nothing, where the caller has none of that name.
  package mutating func pass(_ names: [String], _ value: (String) -> String?) {
    for name in names { if let value = value(name) { settings[name] = value } }
  }

  /// NAME=VALUE
  package var entries: [String] { settings.map { "\($0.key)=\($0.value)" }.sorted() }
}

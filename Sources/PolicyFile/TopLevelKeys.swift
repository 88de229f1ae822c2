// Keys of the file itself. Relies on PolicyFile to read each of them; other sections use the list for their advice.

enum TopLevelKeys {
  /// All but `include`, which is a key of fragments too.
  static let sections = [
    "network_policy", "clients", "listen", "resolver", "dns", "log", "limits", "timeouts", "process_limits",
    "filesystem_policy", "environment", "credentials", "content_policy", "tls", "shared_limits", "state",
    "explain_denials", "approvals",
  ]
}

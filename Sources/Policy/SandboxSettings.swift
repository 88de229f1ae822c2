// A policy file's settings for a sandbox besides its processes: its files and its variables. `serve` ignores them. It
// relies on the starter of the sandbox to resolve paths: here they are as written, normalised, with their line.

extension Settings {
  package struct Files: Equatable, Sendable {
    /// Absolute, or relative to the workspace.
    package struct Entry: Hashable, Sendable {
      package let path: String
      package let line: SourceLine

      package init(_ path: String, line: SourceLine) { (self.path, self.line) = (path, line) }
    }

    package var workspace: Entry?
    package var workspaceMode = WorkspaceMode.readWrite
    package var readOnly: [Entry] = []
    package var readWrite: [Entry] = []
    package var hidden: [Entry] = []
    package var temporaryBytes = 512 << 20
    package var home = HomeSettings()
    /// Nil: the files that git would obey.
    package var protected: [Entry]?

    package init() {}
  }

  package struct Environment: Equatable, Sendable {
    package struct Variable: Equatable, Sendable {
      package let name: String
      package let value: String

      package init(name: String, value: String) { (self.name, self.value) = (name, value) }
    }

    /// `NAME`, or `PREFIX_*`.
    package var pass: [String] = []
    package var set: [Variable] = []

    package init() {}
  }
}

/// Variables allowed in a sandbox; some only with an explicit value.
package enum SandboxVariable {
  /// Variables that Sluice sets: the gate's address, and the command's identity.
  private static let reserved: Set<String> = [
    "HOME", "USER", "LOGNAME", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy",
    "NO_PROXY", "no_proxy", "NODE_USE_ENV_PROXY", "SLUICE",
  ]
  /// Variables that make programs, or all programs of a language, load or run files.
  private static let loading: Set<String> = [
    "GLIBC_TUNABLES", "GCONV_PATH", "BASH_ENV", "ENV", "NODE_OPTIONS", "PYTHONSTARTUP", "PERL5OPT", "RUBYOPT",
    "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS",
  ]

  package static func isName(_ text: String) -> Bool {
    guard let first = text.utf8.first, !(0x30...0x39).contains(first) else { return false }
    return text.utf8.allSatisfy { byte in
      (0x30...0x39).contains(byte) || byte == 0x5f || (byte | 0x20) &- 0x61 < 26
    }
  }

  package static func isLoading(_ name: String) -> Bool { name.hasPrefix("LD_") || loading.contains(name) }

  package static func isReserved(_ name: String) -> Bool { reserved.contains(name) || name.hasPrefix("SLUICE_") }

  /// The problem with setting the variable.
  package static func problem(setting name: String) -> String? {
    if !isName(name) { return "a variable's name is made of letters, digits and '_', and begins with no digit" }
    return isReserved(name) ? "`\(name)` is the sandbox's own, and says where its gate and its home are" : nil
  }

  /// The problem with passing the caller's value.
  package static func problem(passing name: String) -> String? {
    if let problem = problem(setting: name) { return problem }
    guard isLoading(name) else { return nil }
    return "`\(name)` makes programs load or run what it names; it is not passed on, only set, with a value"
  }

  /// True if an entry of `pass` matches the variable. A prefix never matches a variable that may not be passed by
  /// name.
  package static func matches(_ entry: String, _ name: String) -> Bool {
    guard entry.hasSuffix("*") else { return entry == name }
    return name.hasPrefix(entry.dropLast()) && problem(passing: name) == nil
  }
}

// A policy file's words on a sandbox beside its processes: the files it sees, and the variables. `serve` has no use
// for it. It relies on whoever starts the sandbox to look paths up: here they are as written, normalised, with their
// line.

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
    /// nil: what git would obey.
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

/// Variables that a sandbox may be given, some of them only with a value that is written down.
package enum SandboxVariable {
  /// Variables that say where the gate is, or who the command is.
  private static let reserved: Set<String> = [
    "HOME", "USER", "LOGNAME", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy",
    "NO_PROXY", "no_proxy", "NODE_USE_ENV_PROXY", "SLUICE",
  ]
  /// Variables whose files are loaded or run by every program, or by every one of a language.
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

  /// Problem with giving the variable a value.
  package static func problem(setting name: String) -> String? {
    if !isName(name) { return "a variable's name is made of letters, digits and '_', and begins with no digit" }
    return isReserved(name) ? "`\(name)` is the sandbox's own, and says where its gate and its home are" : nil
  }

  /// Problem with passing on the caller's value.
  package static func problem(passing name: String) -> String? {
    if let problem = problem(setting: name) { return problem }
    guard isLoading(name) else { return nil }
    return "`\(name)` makes programs load or run what it names; it is not passed on, only set, with a value"
  }

  /// True if an entry of `pass` means this variable. A prefix means none that an entry could not name.
  package static func matches(_ entry: String, _ name: String) -> Bool {
    guard entry.hasSuffix("*") else { return entry == name }
    return name.hasPrefix(entry.dropLast()) && problem(passing: name) == nil
  }
}

// Programs of the caller's home: which folders are shown with them, and which never.
import Kernel
import Testing

@testable import Sandbox

@Suite struct ToolFoldersTests {
  private func find(
    _ home: TestFolder, path: [String], variables: [String: String] = [:], visible: [String] = [],
    unreadable: [String] = []
  ) -> ToolFolders {
    let caller = ToolFolders.Caller(
      path: (path.map { $0.hasPrefix("/") ? $0 : "\(home.path)/\($0)" }).joined(separator: ":"), home: home.path,
      variable: { variables[$0] },
      mayRead: { path in !unreadable.contains { path.isAtOrBelow("\(home.path)/\($0)") } })
    return ToolFolders(caller, visible: visible, writable: visible, ownFolders: ["/etc", "/proc"])
  }

  private func shown(_ tools: ToolFolders, _ home: TestFolder) -> [String] {
    tools.shown.map { $0.isBelow(home.path) ? $0.below(home.path) : $0 }.sorted()
  }

  /// An installation as npm, nvm and others make it: links in `bin`, packages in `lib`.
  @Test func whatStandsBesideProgramsIsShownWithThem() throws {
    let home = try TestFolder()
    try home.file(".nvm/versions/node/v24/lib/node_modules/agent/cli.js", "#!/usr/bin/env node\n")
    try home.file(".nvm/versions/node/v24/bin/node")
    try home.link(".nvm/versions/node/v24/bin/agent", to: "../lib/node_modules/agent/cli.js")
    try home.file(".nvm/alias/default")
    try home.file(".npmrc", "//r.test/:_authToken=x")
    let tools = find(home, path: ["/usr/bin", ".nvm/versions/node/v24/bin", "missing", "."])
    #expect(shown(tools, home) == [".nvm/versions/node/v24/bin", ".nvm/versions/node/v24/lib"])
    #expect(tools.path.prefix(2) == ["/usr/bin", "\(home.path)/.nvm/versions/node/v24/bin"])
    #expect(tools.path.contains("/usr/local/sbin") && Set(tools.path).count == tools.path.count)
    #expect(tools.variables.map(\.name) == ["NVM_DIR"])
  }

  /// `~/.local/bin` is full of links to elsewhere, and `~/.local/share` of keys.
  @Test func linksAndFirstLinesOfScriptsAreFollowed() throws {
    let home = try TestFolder()
    try home.file(".local/share/keyrings/login.keyring", "secret")
    try home.file(".local/share/agent/versions/1.2.3", "program")
    try home.folder(".local/bin")
    try home.link(".local/bin/agent", to: "\(home.path)/.local/share/agent/versions/1.2.3")
    try home.file(".local/share/pipx/venvs/tool/pyvenv.cfg")
    try home.file(".local/share/pipx/venvs/tool/bin/tool", "#!\(home.path)/.local/share/pipx/venvs/tool/bin/python\n")
    try home.file(".local/share/uv/python/cpython/bin/python3.12")
    try home.file(".local/share/uv/python/cpython/lib/libpython.so")
    try home.link(".local/share/pipx/venvs/tool/bin/python", to: "../../../../uv/python/cpython/bin/python3.12")
    try home.link(".local/bin/tool", to: "../share/pipx/venvs/tool/bin/tool")
    let tools = find(home, path: [".local/bin"])
    #expect(
      shown(tools, home) == [
        ".local/bin", ".local/share/agent/versions/1.2.3", ".local/share/pipx/venvs/tool",
        ".local/share/uv/python/cpython/bin", ".local/share/uv/python/cpython/lib",
      ])
  }

  @Test func shimsAreShownWithTheVersionsThatTheyChooseFrom() throws {
    let home = try TestFolder()
    try home.file(".pyenv/shims/python3", "#!/usr/bin/env bash\n")
    for name in ["versions/3.12/bin/python3", "libexec/pyenv", "version", "sources/x"] {
      try home.file(".pyenv/\(name)")
    }
    try home.file(".cargo/bin/rustup")
    try home.file(".cargo/credentials.toml", "token")
    try home.file(".rustup/toolchains/stable/bin/rustc")
    try home.file(".rustup/settings.toml")
    let tools = find(home, path: [".pyenv/shims", ".cargo/bin"])
    #expect(
      shown(tools, home) == [
        ".cargo/bin", ".pyenv/libexec", ".pyenv/shims", ".pyenv/version", ".pyenv/versions", ".rustup/settings.toml",
        ".rustup/toolchains",
      ])
    #expect(
      tools.variables.map { "\($0.name)=\($0.value.below(home.path))" } == ["RUSTUP_HOME=.rustup", "PYENV_ROOT=.pyenv"])
  }

  /// A folder that a sandbox may write may hold links of an earlier one.
  @Test func neitherTheHomeNorWhatARunCouldHaveMadeIsShown() throws {
    let home = try TestFolder()
    try home.file(".ssh/key", "secret")
    try home.file("bin/tool")
    try home.link("bin/all", to: home.path)
    try home.file("work/bin/own")
    try home.link("work/bin/planted", to: "\(home.path)/.ssh/key")
    try home.link("work/plantedbin", to: "\(home.path)/.ssh")
    let tools = find(
      home, path: ["bin", ".", "work/bin", "work/plantedbin", "/etc", "relative"], visible: ["\(home.path)/work"])
    #expect(shown(tools, home) == ["bin"])
    #expect(tools.path.prefix(2) == ["\(home.path)/bin", "\(home.path)/work/bin"])
  }

  @Test func theMessageNamesWhatIsMissing() throws {
    let home = try TestFolder()
    try home.file("private/bin/agent")
    try home.file("apps/agent/run")
    try home.file("bin/tool")
    try home.link("bin/other", to: "../apps/agent/run")
    let tools = find(home, path: ["private/bin", "bin"], unreadable: ["private", "apps"])
    #expect(tools.hint(on: "agent")?.contains("may not read") == true)
    #expect(tools.hint(on: "other")?.contains("is a link to \(home.path)/apps/agent/run") == true)
    #expect(tools.hint(on: "\(home.path)/apps/agent/run")?.contains("--read-only \(home.path)/apps/agent") == true)
    for seen in ["tool", "nothing", "/usr/bin/env", "./agent"] { #expect(tools.hint(on: seen) == nil) }
    let message = LaunchFailure(
      .execute(["agent"], environment: []), number: 1, SystemError("execve", code: 2), hint: "it is X")
    #expect(message.description == "agent: no such command in the sandbox: it is X" && message.status == 127)
  }
}

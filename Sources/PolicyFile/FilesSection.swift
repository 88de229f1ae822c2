// `filesystem_policy`: the files that a sandbox sees, and those that are writable, hidden or protected.
// It relies on `sluice run` to look at the paths: here each path must have a form with only one meaning.
import Policy
import YAML

struct FilesSection {
  let findings: Findings

  private static let sizes = 64 << 10...1 << 40

  func read(_ node: YAMLNode) -> Settings.Files {
    var files = Settings.Files()
    let known = [
      "workspace", "workspace_mode", "read_only", "read_write", "hidden", "protected", "tmp", "home", "caches",
    ]
    guard let fields = Fields(node, of: "filesystem_policy", known: known, findings) else { return files }
    files.workspace = absolute(
      "workspace", fields, orElse: "leave it out for the folder that the command is started in")
    files.workspaceMode = fields.choice("workspace_mode", WorkspaceMode.self) ?? files.workspaceMode
    var seen: Seen = [:]
    files.readOnly = list("read_only", fields, &seen, example: "[/opt/toolchain]")
    files.readWrite = list("read_write", fields, &seen, example: "[/var/cache/agent]")
    files.hidden = list("hidden", fields, &seen, example: "[.env, secrets]")
    if fields.has("protected") {
      var seen: Seen = [:]
      files.protected = list("protected", fields, &seen, example: "[.git/hooks, Makefile]", inWorkspace: true)
    }
    files.temporaryBytes = fields.bytes("tmp", Self.sizes) ?? files.temporaryBytes
    if let node = fields.node("home"), let home = readHome(node) { files.home = home }
    files.home.caches = fields.list("caches", orSingle: true, example: "[pip, npm]").compactMap(cache)
    return files
  }

  static let homeStores = ["size", "folder", "persistent"]

  private func readHome(_ node: YAMLNode) -> HomeSettings? {
    if case .scalar(let text, _) = node.content, !node.isNull {
      findings.problem(
        node.mark, "`home` is a mapping; write home: {size: 256MiB}, or home: {folder: \(text.quotable)}")
      return nil
    }
    let known = Self.homeStores + ["at", "read_only", "copy"]
    guard let fields = Fields(node, of: "home", known: known, findings) else { return nil }
    var home = HomeSettings()
    let stores = Self.homeStores.filter(fields.has)
    if stores.count > 1 {
      let names = stores.map { "`\($0)`" }.joined(separator: " and ")
      findings.problem(fields.mark(of: stores[0]), "\(names) are different homes; keep one of them")
    }
    if let folder = absolute("folder", fields, orElse: "a home is no part of the workspace") {
      home.store = .folder(folder)
    }
    if let bytes = fields.bytes("size", Self.sizes) { home.store = .temporary(bytes: bytes) }
    if let name = persistentName(fields) { home.store = .persistent(name) }
    if let place = homePlace(fields) { home.place = place }
    var seen: Seen = [:]
    home.readOnly = list("read_only", fields, &seen, example: "[.config/tool]", ofHome: true)
    home.copied = list("copy", fields, &seen, example: "[.tool.toml]", ofHome: true)
    return home
  }

  private func persistentName(_ fields: Fields) -> String? {
    guard let name = fields.text("persistent", example: "claude-code") else { return nil }
    if Client.mayBeCalled(name), !name.hasPrefix(".") { return name }
    findings.problem(
      fields.mark(of: "persistent"),
      "the name of a home is made of letters, digits, '-', '_' and '.', at most 64, not `\(name.quotable)`")
    return nil
  }

  private func homePlace(_ fields: Fields) -> HomeSettings.Place? {
    guard let node = fields.node("at") else { return nil }
    if case .scalar("caller", _) = node.content { return .caller }
    guard let entry = absolute("at", fields, orElse: "or `caller`, which is where your own home is") else { return nil }
    if let problem = HomePlace.problem(entry.path) {
      findings.problem(node.mark, problem)
      return nil
    }
    return .path(entry.path)
  }

  /// The cache of a known tool, or a folder of the home.
  private func cache(_ node: YAMLNode) -> HomeCache? {
    guard case .scalar(let text, _) = node.content, let known = HomeCache.named(text) else {
      if case .scalar(let text, _) = node.content, !text.contains("/"), !text.hasPrefix(".") {
        let names = HomeCache.known.map(\.name)
        findings.problem(
          node.mark,
          "there is no cache `\(text.quotable)`; \(Suggestion.advice(for: text, among: names)); "
            + "or write a folder of the home, such as .cache/ccache")
        return nil
      }
      guard let entry = path(node, "caches"), isOfHome(entry, node, "caches") else { return nil }
      return HomeCache(folder: entry.path)
    }
    return known
  }

  private func isOfHome(_ entry: Settings.Files.Entry, _ node: YAMLNode, _ key: String) -> Bool {
    guard entry.path.hasPrefix("/") else { return true }
    findings.problem(node.mark, "`\(key)` takes paths in your home, such as .config/tool, not `\(entry.path.quotable)`")
    return false
  }

  // MARK: - Paths

  /// Each path, with the key and the place of its first use.
  private typealias Seen = [String: (key: String, mark: Mark)]

  private func list(
    _ key: String, _ fields: Fields, _ seen: inout Seen, example: String, inWorkspace: Bool = false,
    ofHome: Bool = false
  ) -> [Settings.Files.Entry] {
    var entries: [Settings.Files.Entry] = []
    for node in fields.list(key, orSingle: true, example: example) {
      guard let entry = path(node, key), !ofHome || isOfHome(entry, node, key) else { continue }
      if inWorkspace, entry.path.hasPrefix("/") {
        findings.problem(
          node.mark, "`\(key)` takes paths in the workspace, such as .git/hooks; other paths stand in `read_only`")
      }
      if let first = seen.updateValue((key, node.mark), forKey: entry.path) {
        findings.problem(
          node.mark,
          "`\(entry.path.quotable)` stands in `\(first.key)` already, in \(findings.place(first.mark, from: node.mark)); keep one"
        )
      }
      entries.append(entry)
    }
    return entries
  }

  private func absolute(_ key: String, _ fields: Fields, orElse advice: String) -> Settings.Files.Entry? {
    guard let node = fields.node(key), let entry = path(node, key) else { return nil }
    if entry.path.hasPrefix("/") { return entry }
    findings.problem(node.mark, "`\(key)` is a whole path, from /, not `\(entry.path.quotable)`; \(advice)")
    return nil
  }

  /// The path without `.`, empty parts and a slash at its end.
  private func path(_ node: YAMLNode, _ key: String) -> Settings.Files.Entry? {
    guard case .scalar(let text, _) = node.content, !node.isNull || text == "~", !text.isEmpty else {
      findings.problem(node.mark, "`\(key)` takes paths such as /opt/tool, not \(node.kindName)")
      return nil
    }
    if let problem = Self.problem(text) {
      findings.problem(node.mark, "`\(text.quotable)`: \(problem)")
      return nil
    }
    let parts = text.split(separator: "/").filter { $0 != "." }
    guard !parts.isEmpty else {
      let what = text.hasPrefix("/") ? "the whole system" : "the workspace itself, which is writable"
      findings.problem(node.mark, "`\(text)` in `\(key)` is \(what); name something in it")
      return nil
    }
    let path = (text.hasPrefix("/") ? "/" : "") + parts.joined(separator: "/")
    return Settings.Files.Entry(path, line: findings.line(node.mark))
  }

  private static func problem(_ text: String) -> String? {
    if text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f }) { return "a path here has no control characters" }
    if text.hasPrefix("~") { return "`~` is nobody's home here; write the whole path, such as /home/me/data" }
    if text.hasPrefix("$") { return "variables are not read here; write the whole path" }
    if text.contains("*") || text.contains("?") { return "patterns are not read here; name each file or folder" }
    if text.split(separator: "/").contains("..") { return "write the path without `..`" }
    return text.utf8.count > 4000 ? "it is longer than a path may be" : nil
  }
}

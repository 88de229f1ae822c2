// The settings of the caller's own pip, npm, cargo, Maven and apt: which hosts they fetch packages from.
// Relies on closures for files and variables, so that it is tested without a disk. Projects' settings are not read: a
// command may write those.
package import Policy

package struct ToolSettings {
  private let variable: (String) -> String?
  private let variables: [String]
  private let read: (String) -> [UInt8]?
  private let list: (String) -> [String]

  /// `list` names the entries of a folder.
  package init(
    variable: @escaping (String) -> String?, variables: [String] = [], read: @escaping (String) -> [UInt8]?,
    list: @escaping (String) -> [String] = { _ in [] }
  ) {
    (self.variable, self.variables, self.read, self.list) = (variable, variables, read, list)
  }

  package func answer(_ registry: Registry) -> RegistryAnswer {
    switch registry {
    case .pip: pip()
    case .npm: npm()
    case .cargo: cargo()
    case .maven: maven()
    case .apt: apt()
    }
  }

  private func home(_ path: String) -> String? { variable("HOME").map { "\($0)/\(path)" } }

  private func text(_ path: String) -> String? { read(path).map { String(decoding: $0, as: UTF8.self) } }

  /// In the order in which pip reads them; of a single value the last one counts (pip, "Configuration").
  private func pip() -> RegistryAnswer {
    let config = variable("XDG_CONFIG_HOME") ?? home(".config")
    let files =
      variable("PIP_CONFIG_FILE").map { [$0] }
      ?? ["/etc/pip.conf", home(".pip/pip.conf"), config.map { "\($0)/pip/pip.conf" }, home(".config/uv/uv.toml")]
      .compactMap { $0 } + (variable("VIRTUAL_ENV").map { ["\($0)/pip.conf"] } ?? [])
    var found = Found(.pip)
    var (index, extra) = ("", "")
    for path in files {
      for (key, value) in text(path)?.settingLines ?? [] {
        switch key {
        case "index-url", "index_url": index = found.add(value, from: path)
        case "extra-index-url", "extra_index_url": extra = found.add(value, from: path)
        case "find-links", "url": _ = found.add(value, from: path)
        default: continue
        }
      }
    }
    for name in ["PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX"] {
      if let value = variable(name) { index = found.add(value, from: name) }
    }
    for name in ["PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INDEX"] {
      if let value = variable(name) { extra = found.add(value, from: name) }
    }
    if let value = variable("PIP_FIND_LINKS") { _ = found.add(value, from: "PIP_FIND_LINKS") }
    found.set(["PIP_INDEX_URL", "UV_DEFAULT_INDEX"], index)
    found.set(["PIP_EXTRA_INDEX_URL"], extra)
    return found.answer
  }

  private func npm() -> RegistryAnswer {
    var found = Found(.npm)
    let own = variable("NPM_CONFIG_USERCONFIG") ?? home(".npmrc")
    var registry = ""
    for path in ["/etc/npmrc", "/usr/etc/npmrc", "/usr/local/etc/npmrc", own].compactMap({ $0 }) {
      for (key, value) in text(path)?.settingLines ?? [] {
        if key == "registry" {
          registry = found.add(value, from: path)
        } else if key.hasPrefix("@"), key.hasSuffix(":registry") {
          _ = found.add(value, from: path)
        } else if ["_authToken", "_auth", "_password"].contains(where: { key.hasSuffix($0) }) {
          found.notePassword(path)
        }
      }
    }
    for name in ["npm_config_registry", "NPM_CONFIG_REGISTRY"] {
      if let value = variable(name) { registry = found.add(value, from: name) }
    }
    found.set(["NPM_CONFIG_REGISTRY"], registry)
    return found.answer
  }

  private func cargo() -> RegistryAnswer {
    var found = Found(.cargo)
    let folder = variable("CARGO_HOME") ?? home(".cargo")
    for name in ["config.toml", "config"] {
      guard let path = folder.map({ "\($0)/\(name)" }), let lines = text(path)?.settingLines else { continue }
      for (key, value) in lines where ["registry", "index", "dl", "api"].contains(key) {
        _ = found.add(value, from: path)
      }
      if lines.contains(where: { $0.key == "token" || $0.key == "secret-key" }) { found.notePassword(path) }
      found.keepFile(".cargo/\(name)", from: path)
      break
    }
    for name in variables where name.hasPrefix("CARGO_REGISTRIES_") && name.hasSuffix("_INDEX") {
      guard let value = variable(name) else { continue }
      let plain = found.add(value, from: name)
      found.set([name], value.hasPrefix("sparse+") && !plain.isEmpty ? "sparse+\(plain)" : plain)
    }
    return found.answer
  }

  private func maven() -> RegistryAnswer {
    var found = Found(.maven)
    for path in ["/etc/maven/settings.xml", home(".m2/settings.xml")].compactMap({ $0 }) {
      guard let text = text(path)?.withoutComments else { continue }
      for url in text.elements("url") { _ = found.add(url, from: path) }
      for name in ["password", "passphrase", "privateKey"] where !text.elements(name).isEmpty {
        found.notePassword(path)
      }
      if path == home(".m2/settings.xml") { found.keepFile(".m2/settings.xml", from: path) }
    }
    return found.answer
  }

  /// One-line and deb822 style (sources.list(5)).
  private func apt() -> RegistryAnswer {
    var found = Found(.apt)
    let folder = "/etc/apt/sources.list.d"
    let more = list(folder).sorted().filter { $0.hasSuffix(".list") || $0.hasSuffix(".sources") }
    for path in ["/etc/apt/sources.list"] + more.map({ "\(folder)/\($0)" }) {
      for line in (text(path) ?? "").split(whereSeparator: \.isNewline) {
        let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" }).map(String.init)
        guard let first = words.first, ["deb", "deb-src", "uris:"].contains(first.lowercased()) else { continue }
        _ = found.add(words.dropFirst().joined(separator: " "), from: path)
      }
    }
    return found.answer
  }
}

/// The answer while settings are read.
private struct Found {
  private(set) var answer: RegistryAnswer

  init(_ registry: Registry) { answer = RegistryAnswer(registry) }

  /// Every URL in the text; answers them without passwords.
  mutating func add(_ text: String, from place: String) -> String {
    var plain: [String] = []
    for word in text.split(whereSeparator: { " \t\n\"'".contains($0) }) {
      guard let url = RegistryURL(word) else { continue }
      if url.hasPassword { notePassword(place) }
      plain.append(url.text)
      if !answer.targets.contains(url.target) { answer.targets.append(url.target) }
    }
    return plain.joined(separator: " ")
  }

  mutating func notePassword(_ place: String) {
    if !answer.passwords.contains(place) { answer.passwords.append(place) }
  }

  mutating func set(_ names: [String], _ value: String) {
    guard !value.isEmpty else { return }
    for name in names { answer.variables.append(Settings.Environment.Variable(name: name, value: value)) }
  }

  mutating func keepFile(_ name: String, from path: String) {
    if !answer.passwords.contains(path) { answer.files.append(name) }
  }
}

/// `https://user:password@HOST:PORT/path`, or the same behind `sparse+` or `NAME=`.
private struct RegistryURL {
  let target: String
  let text: String
  let hasPassword: Bool

  init?(_ word: Substring) {
    let schemes = [("https://", 443), ("http://", 80)]
    guard
      let (scheme, port, start) = schemes.lazy.compactMap({ scheme, port in
        word.firstRange(of: scheme).map { (scheme, port, $0.upperBound) }
      }).first
    else { return nil }
    let rest = word[start...]
    let end = rest.firstIndex { "/?#".contains($0) } ?? rest.endIndex
    var authority = rest[..<end]
    let at = authority.lastIndex(of: "@")
    hasPassword = at != nil
    if let at { authority = authority[authority.index(after: at)...] }
    // Nothing is fetched from it: Maven's way to block plain HTTP.
    guard !authority.isEmpty, authority != "0.0.0.0" else { return nil }
    let colon = authority.last == "]" ? nil : authority.lastIndex(of: ":")
    let hasPort = colon.map { !authority[$0...].dropFirst().contains("]") } ?? false
    target = hasPort ? "\(authority)".lowercased() : "\(authority):\(port)".lowercased()
    text = "\(scheme)\(authority)\(rest[end...])"
  }
}

extension String {
  /// `key = value` and `key: value`, with the lines that continue a value; comments are left out.
  fileprivate var settingLines: [(key: String, value: String)] {
    var lines: [(key: String, value: String)] = []
    for line in split(whereSeparator: \.isNewline) {
      let trimmed = line.trimmingBlanks
      guard let first = trimmed.first, first != "#", first != ";" else { continue }
      if line.first == " " || line.first == "\t", !trimmed.contains("="), let last = lines.indices.last {
        lines[last].value += " \(trimmed)"
      } else if let equals = trimmed.firstIndex(of: "=") {
        let key = trimmed[..<equals].trimmingBlanks
        lines.append((String(key), String(trimmed[trimmed.index(after: equals)...].trimmingBlanks)))
      }
    }
    return lines
  }

  fileprivate var withoutComments: String {
    var rest = self[...]
    var text = ""
    while let start = rest.firstRange(of: "<!--") {
      text += rest[..<start.lowerBound]
      guard let end = rest[start.upperBound...].firstRange(of: "-->") else { return text }
      rest = rest[end.upperBound...]
    }
    return text + rest
  }

  /// The text of each element of that name.
  fileprivate func elements(_ name: String) -> [String] {
    var rest = self[...]
    var found: [String] = []
    while let start = rest.firstRange(of: "<\(name)>") {
      guard let end = rest[start.upperBound...].firstRange(of: "</\(name)>") else { return found }
      found.append(String(rest[start.upperBound..<end.lowerBound]))
      rest = rest[end.upperBound...]
    }
    return found
  }
}

extension Substring {
  fileprivate var trimmingBlanks: Substring {
    let start = drop { $0 == " " || $0 == "\t" || $0 == "\"" }
    guard let last = start.lastIndex(where: { $0 != " " && $0 != "\t" && $0 != "\"" }) else { return "" }
    return start[...last]
  }
}

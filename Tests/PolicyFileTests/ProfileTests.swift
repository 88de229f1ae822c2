// Profiles: each is a right policy, and is the file of that name in Examples/policies; hosts that tools' settings name.

import Foundation
import Policy
import PolicyFile
import Testing
import YAML

private func load(
  _ text: String, profiles: [String] = [], _ settings: [String: String] = [:], files: [String: String] = [:]
) -> LoadedPolicy {
  let tools = ToolSettings(
    variable: { settings[$0] }, variables: Array(settings.keys), read: { path in files[path].map { Array($0.utf8) } },
    list: { folder in
      files.keys.filter { $0.hasPrefix(folder + "/") }.map { String($0.dropFirst(folder.count + 1)) }
    })
  return PolicyFile.parse(
    bytes: Array(text.utf8), name: "p.yaml", profiles: profiles, registries: RegistryAnswers(tools.answer))
}

private func rules(_ loaded: LoadedPolicy) throws -> [String] {
  try #require(loaded.policy, "\(loaded.problems)").fallback.network.allow.map { "\($0.text) \($0.line)" }
}

private func answer(
  _ registry: Registry, _ variables: [String: String] = [:], _ files: [String: String]
) -> RegistryAnswer {
  ToolSettings(
    variable: { variables[$0] ?? ($0 == "HOME" ? "/h" : nil) }, variables: Array(variables.keys),
    read: { path in files[path].map { Array($0.utf8) } },
    list: { folder in
      files.keys.filter { $0.hasPrefix(folder + "/") }.map { String($0.dropFirst(folder.count + 1)) }
    }
  ).answer(registry)
}

@Suite struct ProfileTests {
  @Test(arguments: Profiles.names) func aProfileAloneIsARightPolicy(name: String) throws {
    let loaded = load("network_policy: {default: deny}", profiles: [name])
    let text = String(decoding: try #require(Profiles.text(of: name)), as: UTF8.self)
    #expect(loaded.policy != nil && load(text).policy != nil, "\(loaded.problems) \(load(text).problems)")
    // The date says how old the list of hosts is.
    #expect(text.split(separator: "\n")[1].contains(#/read on 20\d\d-\d\d-\d\d\.$/#))
    let summary = try #require(Profiles.summary(of: name))
    #expect(summary.count > 10 && summary.utf8.count < 125)
  }

  @Test func theProfilesAreTheFilesOfTheExamples() throws {
    let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../Examples/policies")
    let files = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { $0.hasSuffix(".yaml") }
    #expect(Set(files) == Set(Profiles.names.map { "\($0).yaml" }))
    for file in files {
      let bytes = [UInt8](try Data(contentsOf: folder.appending(path: file)))
      #expect(Profiles.text(of: String(file.dropLast(5))) == bytes, "\(file) was changed since the last build")
    }
  }

  @Test func profilesStandInFrontOfTheFileThatIncludesThem() throws {
    let loaded = load("include: [profile:openai, profile:aider]\nnetwork_policy: {allow: [a.test:443]}")
    let hosts = try rules(loaded).map { $0.split(separator: " ")[0] }
    #expect(hosts.first == "api.openai.com:443" && hosts.last == "a.test:443" && hosts.contains("openrouter.ai:443"))
    #expect(Set(hosts).count == hosts.count)
    // One on the command line is in front of the file, too, and is read once.
    let line = load("include: profile:openai\nnetwork_policy: {}", profiles: ["openai"])
    #expect(try rules(line) == ["api.openai.com:443 profile:openai:5:7"])
    let typo = load("include: profile:pyton\nnetwork_policy: {}")
    #expect(typo.problems.map(\.text) == ["there is no profile `pyton`; did you mean `python`?"])
  }

  @Test func aRegistryIsTheHostsThatItsToolIsSetTo() throws {
    let settings = ["HOME": "/h", "PIP_EXTRA_INDEX_URL": "https://more.test/simple https://index.test/x"]
    let files = ["/h/.config/pip/pip.conf": "[global]\nindex-url = https://me:pw@index.test:8443/simple\n"]
    let loaded = load("network_policy:\n  registries: [pip]", settings, files: files)
    #expect(
      try rules(loaded) == [
        "index.test:8443 p.yaml:2:16", "more.test:443 p.yaml:2:16", "index.test:443 p.yaml:2:16",
      ])
    #expect(
      loaded.warnings.map(\.text) == [
        "/h/.config/pip/pip.conf holds a password for pip, which a sandbox is not shown; write it as one of `credentials`"
      ])
    let found = try #require(loaded.policy).settings.registries
    #expect(
      found.flatMap(\.variables).map { "\($0.name)=\($0.value)" }.prefix(2) == [
        "PIP_INDEX_URL=https://index.test:8443/simple", "UV_DEFAULT_INDEX=https://index.test:8443/simple",
      ])
    // A rule that is written says more, and counts.
    let own = load(
      "network_policy: {registries: pip, allow: [{host: more.test:443, methods: [GET]}]}", settings, files: files)
    #expect(try #require(own.policy).fallback.network.allow.filter(\.isInspected).map(\.text) == ["more.test:443"])
    #expect(try rules(own).count == 3)
  }

  @Test func aToolThatIsSetToNoRegistryAllowsNothingAndSaysWhichLineToWrite() throws {
    for registry in Registry.allCases {
      let loaded = load("network_policy: {registries: [\(registry.rawValue)]}")
      #expect(try rules(loaded).isEmpty && loaded.warnings.count == 1)
      #expect(try #require(loaded.warnings.first).text.contains("HOST:443 in `allow`"))
    }
    let twice = load("network_policy: {registries: [pip, pip, rubygems, [npm]]}")
    #expect(
      twice.problems.map(\.text) == [
        "`pip` stands twice in `registries`; keep one",
        "`registries` takes pip, npm, cargo, maven, apt, not `rubygems`",
        "`registries` takes pip, npm, cargo, maven, apt, not a list",
      ])
  }

  @Test func settingsOfPipAreReadInEachForm() {
    let files = [
      "/etc/pip.conf":
        "[global]\n# index-url = https://no.test/\nindex-url: x\nfind-links =\n  http://a.test/wheels\n  /opt/wheels\n",
      "/h/.config/uv/uv.toml": "[[index]]\nurl = \"https://b.test/simple\"\n",
      "/v/pip.conf": "[install]\nextra-index-url = https://C.test/s\n",
    ]
    let found = answer(.pip, ["VIRTUAL_ENV": "/v", "UV_INDEX": "corp=https://d.test/s"], files)
    #expect(found.targets == ["a.test:80", "b.test:443", "c.test:443", "d.test:443"])
    #expect(answer(.pip, ["PIP_CONFIG_FILE": "/none"], files).targets.isEmpty)
  }

  @Test func settingsOfTheOthersAreRead() {
    let npm = answer(
      .npm, [:],
      [
        "/h/.npmrc":
          "registry=https://n.test/\n@x:registry = https://x.test:99/r\n//n.test/:_authToken=abc\n; registry=z"
      ])
    #expect(npm.targets == ["n.test:443", "x.test:99"] && npm.passwords == ["/h/.npmrc"] && npm.files.isEmpty)
    #expect(npm.variables.map(\.value) == ["https://n.test/"])
    let cargo = answer(
      .cargo, ["CARGO_REGISTRIES_CORP_INDEX": "sparse+https://e.test/i/"],
      [
        "/h/.cargo/config.toml":
          "[source.m]\nregistry = \"sparse+https://m.test/index/\"\n[registries.r]\nindex = 'https://r.test/g'\n"
      ])
    #expect(cargo.targets == ["m.test:443", "r.test:443", "e.test:443"] && cargo.files == [".cargo/config.toml"])
    #expect(
      cargo.variables.map { "\($0.name)=\($0.value)" } == ["CARGO_REGISTRIES_CORP_INDEX=sparse+https://e.test/i/"])
    let secret = answer(
      .cargo, ["CARGO_HOME": "/c"], ["/c/config.toml": "[registries.r]\nindex = \"https://r.test/g\"\ntoken = \"x\"\n"])
    #expect(secret.targets == ["r.test:443"] && secret.files.isEmpty && secret.passwords == ["/c/config.toml"])
    let maven = answer(
      .maven, [:],
      [
        "/etc/maven/settings.xml":
          "<mirrors><!-- <mirror><url>https://no.test/</url></mirror> --><mirror><url>http://0.0.0.0/</url></mirror></mirrors>",
        "/h/.m2/settings.xml": "<mirror><url> https://[2001:db8::5]:8081/m </url></mirror>",
      ])
    #expect(maven.targets == ["[2001:db8::5]:8081"] && maven.files == [".m2/settings.xml"])
    let apt = answer(
      .apt, [:],
      [
        "/etc/apt/sources.list": "# deb http://no.test/ x\ndeb [arch=amd64] http://one.test/debian bookworm main\n",
        "/etc/apt/sources.list.d/d.sources": "Types: deb\nURIs: https://two.test/debian https://three.test/d\n",
        "/etc/apt/sources.list.d/d.save": "deb http://no.test/ x\n",
      ])
    #expect(apt.targets == ["one.test:80", "two.test:443", "three.test:443"])
  }
}

// What a policy file says of a sandbox: its files, its variables, its disk; and what a wrong one is told.
import Policy
import PolicyFile
import Testing

private let head = "network_policy: {}\n"

private func files(_ text: String) -> String { head + "filesystem_policy: {\(text)}\n" }
private func environment(_ text: String) -> String { head + "environment: {\(text)}\n" }
private func io(_ text: String) -> String { head + "process_limits: {io.max: \(text)}\n" }

let sandboxMistakes: [Mistake] = [
  Mistake(head + "filesystem_policy: []\n", "2:20", "takes keys below it"),
  Mistake(files("readonly: [/x]"), "2:21", "did you mean `read_only`?"),
  Mistake(files("workspace: work"), "2:32", "from /, not `work`"),
  Mistake(files("workspace: ~/work"), "2:32", "write the whole path, such as /home/me/data"),
  Mistake(files("workspace: ~"), "2:32", "nobody's home"),
  Mistake(files("workspace: [/x]"), "2:32", "takes paths"),
  Mistake(files("read_only: [$HOME/x]"), "2:33", "variables are not read here"),
  Mistake(files("read_only: [/x/../y]"), "2:33", "without `..`"),
  Mistake(files("read_only: [{}]"), "2:33", "not a mapping"),
  Mistake(files("read_only: {}"), "2:32", "takes a list"),
  Mistake(files("read_only: [\"a\\0b\"]"), "2:33", "control characters"),
  Mistake(files("read_write: [/]"), "2:34", "the whole system"),
  Mistake(files("read_write: [.]"), "2:34", "the workspace itself"),
  Mistake(files("hidden: [\"*.pem\"]"), "2:30", "name each file or folder"),
  Mistake(files("hidden: [a, ./a/]"), "2:33", "stands in `hidden` already, in line 2"),
  Mistake(files("read_only: [/x], read_write: [/x]"), "2:51", "stands in `read_only` already"),
  Mistake(files("protected: [/etc/x]"), "2:33", "takes paths in the workspace"),
  Mistake(files("tmp: 5MB"), "2:26", "5MiB"),
  Mistake(files("tmp: 1KiB"), "2:26", "64KiB to 1024GiB"),
  Mistake(files("home: 1GiB"), "2:27", "write home: {size: 256MiB}"),
  Mistake(files("home: {folder: x}"), "2:36", "from /, not `x`"),
  Mistake(files("home: {folder: /x, size: 1GiB}"), "2:40", "are different homes"),
  Mistake(files("home: {persistent: a/b}"), "2:28", "made of letters"),
  Mistake(files("home: {persistent: ..}"), "2:28", "made of letters"),
  Mistake(files("home: {at: work}"), "2:32", "from /, not `work`"),
  Mistake(files("home: {at: /etc/x}"), "2:32", "its own /etc"),
  Mistake(files("home: {at: /x/../etc}"), "2:32", "without `..`"),
  Mistake(files("home: {copy: [/etc/shadow]}"), "2:35", "paths in your home"),
  Mistake(files("home: {read_only: [../x]}"), "2:40", "without `..`"),
  Mistake(files("home: {read_only: [.a], copy: [.a]}"), "2:52", "stands in `read_only` already"),
  Mistake(files("caches: [pipp]"), "2:30", "did you mean `pip`?"),
  Mistake(files("caches: [/var/cache]"), "2:30", "paths in your home"),
  Mistake(files("workspace_mode: rx"), "2:37", "rw"),
  Mistake(head + "tls: {trust: ca.pem}\n", "2:14", "whole paths"),
  Mistake(head + "environment: [A]\n", "2:14", "takes keys below it"),
  Mistake(environment("pas: [A]"), "2:15", "did you mean `pass`?"),
  Mistake(environment("pass: [\"*\"]"), "2:22", "name them, or their beginning"),
  Mistake(environment("pass: [A=b]"), "2:22", "a value stands under `set`"),
  Mistake(environment("pass: [A-B]"), "2:22", "letters, digits and '_'"),
  Mistake(environment("pass: [1A]"), "2:22", "begins with no digit"),
  Mistake(environment("pass: [\"A*B\"]"), "2:22", "letters, digits and '_'"),
  Mistake(environment("pass: [A, A]"), "2:25", "stands twice"),
  Mistake(environment("pass: [HOME]"), "2:22", "the sandbox's own"),
  Mistake(environment("pass: [https_proxy]"), "2:22", "the sandbox's own"),
  Mistake(environment("pass: [LD_PRELOAD]"), "2:22", "only set, with a value"),
  Mistake(environment("pass: [\"LD_*\"]"), "2:22", "only set, with a value"),
  Mistake(environment("pass: [NODE_OPTIONS]"), "2:22", "only set, with a value"),
  Mistake(environment("pass: [\"SLUICE_*\"]"), "2:22", "the sandbox's own"),
  Mistake(environment("pass: [[A]]"), "2:22", "not a list"),
  Mistake(environment("set: {HOME: /x}"), "2:21", "the sandbox's own"),
  Mistake(environment("set: {SLUICE: 0}"), "2:21", "the sandbox's own"),
  Mistake(environment("set: {A B: x}"), "2:21", "letters, digits and '_'"),
  Mistake(environment("set: {A: }"), "2:24", "an empty one is \"\""),
  Mistake(environment("set: {A: [secret]}"), "2:24", "takes a text, not a list"),
  Mistake(environment("set: {A: x, A: y}"), "2:27", "stands twice"),
  Mistake(environment("set: [A]"), "2:20", "such as {EDITOR: vi}"),
  Mistake(io("10M"), "2:26", "such as wbps=10M"),
  Mistake(io("wbps=-1"), "2:26", "rbps=N, wbps=N, riops=N, wiops=N"),
  Mistake(io("wbps=1M wbps=2M"), "2:26", "each once"),
  Mistake(io("\"8:0\""), "2:26", "such as wbps=10M"),
  Mistake(io("\"8:x wbps=1M\""), "2:26", "MAJOR:MINOR"),
  Mistake(io("\"08:0 wbps=1M\""), "2:26", "MAJOR:MINOR"),
  Mistake(io("wiops=5K"), "2:26", "such as wbps=10M"),
  Mistake(io("[wbps=1M, rbps=1M]"), "2:36", "in one line"),
]

@Suite struct SandboxSectionsTests {
  private func settings(_ text: String) throws -> Settings {
    let loaded = PolicyFile.parse(bytes: Array((head + text).utf8), name: "p.yaml")
    return try #require(loaded.policy, "\(loaded.problems)").settings
  }

  @Test func everyKeyOfTheFilesIsRead() throws {
    let files = try settings(
      """
      filesystem_policy:
        workspace: /srv//work/
        read_only: [/opt/tool, ./data/]
        read_write: /var/cache/agent
        hidden:
          - .env
        protected: []
        tmp: 1GiB
        home: {folder: /srv/home}
      """
    ).files
    let line = { SourceLine(file: "p.yaml", line: $0, column: $1) }
    #expect(files.workspace == .init("/srv/work", line: line(3, 14)))
    #expect(files.readOnly == [.init("/opt/tool", line: line(4, 15)), .init("data", line: line(4, 26))])
    #expect(files.readWrite == [.init("/var/cache/agent", line: line(5, 15))])
    #expect(files.hidden == [.init(".env", line: line(7, 7))])
    #expect(files.protected == [] && files.temporaryBytes == 1 << 30)
    #expect(files.home.store == .folder(.init("/srv/home", line: line(10, 18))))
    let plain = try settings("").files
    #expect(plain == Settings.Files() && plain.protected == nil)
    #expect(plain.temporaryBytes == 512 << 20 && plain.home.store == .temporary(bytes: 256 << 20))
    let sized = try settings("filesystem_policy: {home: {size: 1MiB}, protected: [Makefile]}\n").files
    #expect(sized.home.store == .temporary(bytes: 1 << 20) && sized.protected?.map(\.path) == ["Makefile"])
  }

  @Test func variablesArePassedByNameOrBeginningAndSetToAnyText() throws {
    let environment = try settings(
      "environment: {pass: [GITHUB_TOKEN, \"MY_*\"], set: {PATH: /x, LD_PRELOAD: /x.so, E: \"\", N: 5, L: \"a\\nb\"}}\n"
    ).environment
    #expect(environment.pass == ["GITHUB_TOKEN", "MY_*"])
    #expect(
      environment.set.map { "\($0.name)=\($0.value)" } == ["PATH=/x", "LD_PRELOAD=/x.so", "E=", "N=5", "L=a\nb"])
    #expect(SandboxVariable.matches("MY_*", "MY_KEY") && !SandboxVariable.matches("MY_*", "OTHER_MY_KEY"))
    #expect(SandboxVariable.matches("A", "A") && !SandboxVariable.matches("A", "AB"))
    // A beginning means nothing that its entry could not name.
    #expect(!SandboxVariable.matches("L*", "LD_PRELOAD") && !SandboxVariable.matches("H*", "HOME"))
    #expect(!SandboxVariable.matches("B*", "BASH_FUNC_x%%"))
  }

  @Test func theDiskIsTheWorkspacesOrOneByNumber() throws {
    let limits = try settings(
      "process_limits: {io.max: [wbps=10M rbps=1KiB, \"8:16 wiops=120 riops=max\"]}\n"
    ).process.io
    #expect(
      limits == [
        .init(device: nil, text: "wbps=10485760 rbps=1024"),
        .init(device: .init(major: 8, minor: 16), text: "wiops=120 riops=max"),
      ])
    #expect(try settings("process_limits: {io.max: rbps=1}\n").process.io.first?.text == "rbps=1")
  }
}

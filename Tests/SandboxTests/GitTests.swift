// What git obeys in the places that a command may write, found by reading; and what a command left, by looking again.
import Foundation
import Testing

@testable import Sandbox

@Suite struct GitTests {
  private func entries(_ text: String) -> [String] {
    GitConfigText(Array(text.utf8)).entries.map {
      let name = $0.section + ($0.subsection.map { ".\($0)" } ?? "") + ".\($0.key)"
      return $0.value.map { "\(name)=\($0)" } ?? name
    }
  }

  private static let texts = [
    "[core]\n\tbare = false\n[Remote \"A\\\"b\"]\n\tURL = x ; no\n", "[a] k = \"x ; y\"  # no\n",
    "[a]\nk = one\\\n two\n",
    "[a]\nk\nl =\nm = a\\tb\\\\c\\\"d\n", "\u{FEFF}[A.Sub] Key=1\n", "[a \"s t\"]k=v\r\nl = \" x \"   \r\n",
    "# c\n[a]\n; d\n  k-2 = x\"y z\"w   \n", "[include]\n\tpath = ~/x\n[includeIf \"gitdir:~/w/\"]\n path=../y\n",
  ]

  @Test func aConfigurationIsReadAsItIsWritten() {
    #expect(entries(Self.texts[0]) == ["core.bare=false", "remote.A\"b.url=x"])
    #expect(entries(Self.texts[3]) == ["a.k", "a.l=", "a.m=a\tb\\c\"d"])
    // Git gives up at the second line; what stands behind it may be mended by the next writer.
    #expect(entries("[a]\n=\n[b] k = 1\n[") == ["b.k=1"])
  }

  @Test(arguments: texts) func aConfigurationIsReadAsGitDoes(_ text: String) throws {
    let folder = try TestFolder()
    try folder.file("config", text)
    let git = Process()
    git.executableURL = URL(filePath: "/usr/bin/env")
    git.arguments = ["git", "config", "--file", "\(folder.path)/config", "--list", "-z", "--no-includes"]
    let pipe = Pipe()
    git.standardOutput = pipe
    try git.run()
    let output = try #require(try pipe.fileHandleForReading.readToEnd())
    git.waitUntilExit()
    let expected = output.split(separator: 0).map {
      String(decoding: $0, as: UTF8.self).replacing("\n", with: "=", maxReplacements: 1)
    }
    #expect(entries(text) == expected)
  }

  private func look(_ folder: TestFolder, home: String? = nil) -> WorkspaceLook {
    WorkspaceLook(["\(folder.path)/w"], caller: .init(home: home, configFolder: nil, global: nil))
  }

  private func obeyed(_ folder: TestFolder, home: String? = nil) -> Set<String> {
    let root = "\(folder.path)/w"
    return Set(
      look(folder, home: home).obeyed(in: [root]).compactMap {
        guard case .path(let one) = $0 else { return nil }
        return one.path.below(root) + (one.placeholder == nil ? "" : "+")
      }.filter { !ProtectedPath.names.contains($0.replacing("+", with: "").lastPart) })
  }

  private func repository(_ folder: TestFolder, _ name: String, config: String = "") throws {
    for one in ["objects", "refs", "hooks"] { try folder.folder("\(name)/\(one)") }
    try folder.file("\(name)/HEAD", "ref: refs/heads/main\n")
    try folder.file("\(name)/config", config)
  }

  private func own(_ git: String) -> Set<String> {
    ["\(git)/hooks", "\(git)/config", "\(git)/config.worktree+", "\(git)/commondir+", "\(git)/info+"]
  }

  @Test func allThatAConfigurationNamesIsObeyed() throws {
    let folder = try TestFolder()
    try repository(
      folder, "w/.git",
      config: """
        [core]
          hooksPath = .husky/_
          fsmonitor = ./tools/watch --now
        [include]
          path = ../inc/one
        [includeIf "onbranch:x"]
          path = ../inc/none
        [filter "x"]
          clean = sh tools/clean.sh %f
          smudge = "tools/none | cat"
        [remote "origin"]
          url = tools/clean.sh/none
        [user]
          name = a/b
        """)
    try folder.file("w/inc/one", "[diff \"y\"]\n textconv = 'tools/conv'\n")
    for name in ["watch", "clean.sh", "conv"] { try folder.file("w/tools/\(name)") }
    // A hook of the user's runs what this names.
    try folder.file("w/.git/hooks/pre-commit", "exec pre-commit --config=.pre-commit-config.yaml\n")
    try folder.file("w/.pre-commit-config.yaml")
    try folder.file("home/.gitconfig", "[core]\n pager = ./pager\n")
    try folder.file("w/pager")
    let expected = own(".git").union([
      "inc/one", "inc/none+", "tools/watch", "tools/clean.sh", "tools/none+", "tools/conv", ".pre-commit-config.yaml",
    ])
    // `.husky` has its placeholder among the names.
    #expect(obeyed(folder) == expected)
    #expect(obeyed(folder, home: "\(folder.path)/home") == expected.union(["pager"]))
    #expect(look(folder).drivers == ["filter x", "diff y"])
  }

  @Test func everyRepositoryIsFound() throws {
    let folder = try TestFolder()
    try repository(folder, "w/.git")
    try repository(folder, "w/a/b/.git")
    try repository(folder, "w/bare.git")
    try repository(
      folder, "w/.git/modules/lib/deep", config: "[core]\n worktree = ../../../../lib\n fsmonitor = ./f/x\n")
    try folder.file("w/lib/.git", "gitdir: ../.git/modules/lib/deep\n")
    try folder.file("w/lib/f/x")
    try folder.file("w/.git/worktrees/tree/commondir", "../..\n")
    try folder.file("w/.git/worktrees/tree/gitdir", "\(folder.path)/w/tree/.git\n")
    try folder.file("w/tree/.git", "gitdir: \(folder.path)/w/.git/worktrees/tree\n")
    let all = own(".git").union(own("a/b/.git")).union(own("bare.git")).union(own(".git/modules/lib/deep")).union([
      "lib/.git", "lib/f/x", "tree/.git", ".git/worktrees/tree/commondir", ".git/worktrees/tree/gitdir",
      ".git/worktrees/tree/config.worktree+",
    ])
    #expect(obeyed(folder) == all)
  }

  @Test func aRepositoryThatLiesAboveCountsForWhatItNamesInHere() throws {
    let folder = try TestFolder()
    try repository(folder, ".git", config: "[core]\n hooksPath = w/hooks\n")
    try folder.folder("w/hooks")
    #expect(obeyed(folder) == ["hooks"])
  }

  @Test func whatACommandLeavesIsFound() throws {
    let folder = try TestFolder()
    try repository(folder, "w/.git", config: "[filter \"lfs\"]\n clean = git-lfs\n")
    try folder.file("w/.gitattributes", "*.bin filter=lfs\n")
    try folder.file("w/old/.vscode/settings.json")
    let before = BeforeRun(
      look(folder), roots: ["\(folder.path)/w"], caller: .init(home: nil, configFolder: nil, global: nil))
    #expect(before.findings().isEmpty)
    try repository(folder, "w/sub/.git")
    try repository(folder, "w/bare")
    try folder.file("w/.gitattributes", "*.bin filter=lfs\n# filter=a\n* text diff=lfs filter=none\n")
    try folder.file("w/sub/.gitattributes", "* filter=lfs\n")
    try folder.file("w/.gitmodules", "[submodule]\n")
    try folder.file("w/.git/config", "[x]\n")
    try folder.file("w/.git/rebase-merge/git-rebase-todo", "exec true\n")
    try folder.file("w/new/.envrc")
    let found = Dictionary(grouping: before.findings(), by: \.kind).mapValues {
      $0.map { $0.path.below("\(folder.path)/w") }.sorted()
    }
    #expect(
      found == [
        .repository: ["bare", "sub/.git"], .submodules: [".gitmodules"], .changed: [".git/config"],
        .rebase: [".git/rebase-merge"], .settings: ["new/.envrc"],
        // The driver's program was taken out of the configuration: nothing runs.
      ])
  }

  @Test func attributesCountWhereAProgramIsSetForThem() throws {
    let folder = try TestFolder()
    try repository(folder, "w/.git", config: "[filter \"lfs\"]\n clean = git-lfs\n")
    let before = BeforeRun(
      look(folder), roots: ["\(folder.path)/w"], caller: .init(home: nil, configFolder: nil, global: nil))
    try folder.file("w/a/.gitattributes", "* filter=other\n")
    #expect(before.findings().isEmpty)
    try folder.file("w/a/.gitattributes", "* filter=lfs\n")
    #expect(before.findings().map(\.kind) == [.attributes])
  }
}

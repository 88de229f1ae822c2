// Keys of a configuration's copy that are written back: branches, and places of remotes on hosts that are known.
import Kernel
import Testing

@testable import Sandbox

@Suite struct GitCopiesTests {
  private static let old = """
    [core]
    \tbare = false
    [remote "origin"]
    \turl = https://git.test/a/b.git
    \tfetch = +refs/heads/*:refs/remotes/origin/*
    [branch "main"]
    \tremote = origin
    \tmerge = refs/heads/main

    """

  private func changes(_ new: String, _ old: String = GitCopiesTests.old) -> GitConfigChanges {
    GitConfigChanges(Array(old.utf8), Array(new.utf8))
  }

  @Test func pushesAndBranchesAreWrittenBack() {
    let pushed = changes(Self.old + "[branch \"topic/x\"]\n\tremote = origin\n\tmerge = refs/heads/topic/x\n")
    #expect(pushed.others.isEmpty)
    #expect(
      pushed.harmless == [
        .init(name: "branch.topic/x.remote", values: ["origin"], isNew: true),
        .init(name: "branch.topic/x.merge", values: ["refs/heads/topic/x"], isNew: true),
      ])
    let renamed = changes(Self.old.replacing("branch \"main\"", with: "branch \"trunk\""))
    #expect(
      renamed.harmless.map(\.name) == [
        "branch.trunk.remote", "branch.trunk.merge", "branch.main.remote", "branch.main.merge",
      ])
    #expect(renamed.harmless.filter { !$0.isNew }.allSatisfy { $0.values.isEmpty })
    let moved = changes(Self.old.replacing("https://git.test/a/b.git", with: "git@git.test:c/d.git"))
    #expect(moved.harmless == [.init(name: "remote.origin.url", values: ["git@git.test:c/d.git"], isNew: false)])
    #expect(changes(Self.old) == changes(Self.old + "# a remark\n"))
  }

  @Test(arguments: [
    "[core]\n\tfsmonitor = ./x\n", "[core]\n\thooksPath = h\n", "[include]\n\tpath = ../x\n", "[alias]\n\tst = !x\n",
    "[remote \"origin\"]\n\tpushurl = https://other.test/a\n", "[remote \"o\"]\n\turl = ext::sh -c x\n",
    "[remote \"o\"]\n\turl = /tmp/x\n", "[remote \"o\"]\n\turl = file:///x\n", "[remote \"o\"]\n\tvcs = x\n",
    "[remote \"o\"]\n\turl = https://git.test@other.test/x\n", "[remote \"o\"]\n\turl = ssh://-oProxyCommand=x/y\n",
    "[remote \"o\"]\n\treceivepack = x\n", "[remote \"o\"]\n\tproxy = x\n",
    "[branch \"b\"]\n\tremote = https://other.test/x\n",
    "[branch \"b\"]\n\tremote = ext::sh\n", "[branch \"b\"]\n\tremote = folder\n",
    "[remote \"o\"]\n\turl = http://git.test/x\n", "[remote \"o\"]\n\tuploadpack = x\n",
    "[remote \"o\"]\n\tfetch = +refs/heads/*:refs/heads/*\n",
    "[branch \"b\"]\n\tmerge = x\n", "[branch \"--b\"]\n\tremote = origin\n", "[branch]\n\tautoSetupRebase = always\n",
    "[branch \"b\"]\n\tmergeOptions = x\n", "[url \"https://other.test/\"]\n\tinsteadOf = https://git.test/\n",
    "[credential]\n\thelper = !x\n", "[filter \"f\"]\n\tclean = x\n", "[submodule \"s\"]\n\tupdate = !x\n",
  ])
  func theRestIsToldAndDropped(added: String) {
    let found = changes(Self.old + added)
    #expect(found.harmless.isEmpty && found.others.count == 1, "\(found)")
    // Keys that were taken away count, too.
    #expect(changes(Self.old, Self.old + "[core]\n\teditor = vi\n").others == ["core.editor"])
  }

  @Test func hostsOfRemotes() {
    for (url, host) in [
      ("https://Git.test/x", "git.test"), ("https://me:pw@git.test:8443/x", "git.test:8443"),
      ("ssh://git@git.test/x", "git.test"),
      ("me@git.test:x/y", "git.test"), ("git://git.test/x", "git://git.test"),
    ] { #expect(GitConfigChanges.host(of: url) == host) }
    for url in [
      "ext::sh", "/x", "../x", "x", "https://", "a/b@c/d:e", "me@:x", "me@-x:y", "fd::3",
      "transport::https://git.test/", "https://other.test?@git.test/x", "https://other.test#@git.test/x",
      "https://other.test\\@git.test/x", "ssh://other.test%2f@git.test/x", "ssh://-oProxyCommand=x@git.test/x",
      "https://a@b@git.test/x", "HTTPS+x://git.test/x", "a/b@git.test:x",
    ] {
      #expect(GitConfigChanges.host(of: url) == nil, "\(url)")
    }
  }

  @Test func aCopyIsMadeForEachConfigurationAndSeenAtItsPlace() throws {
    let place = try TestFolder()
    try place.file("ws/.git/config", Self.old)
    try place.folder("run")
    let user = SandboxUser.caller()
    let paths = ["\(place.path)/ws/.git/config", "\(place.path)/ws/.git/config.worktree"]
    let copies = try #require(GitCopies(of: paths, in: "\(place.path)/run", user: user))
    #expect(copies.copies.map(\.path) == [paths[0]] && copies.copies[0].inside == "/run/sluice-git/0/config")
    #expect(HostFile.readText("\(place.path)/run/0/config", bytesMax: 9999) == Self.old)
    #expect(copies.writeBack().isEmpty)
    var options = SandboxOptions(command: ["true"], environment: [], workspace: "\(place.path)/ws", user: user)
    options.gitCopies = copies.copies
    options.protected = paths.map { ProtectedPath($0) }
    options.mounts = [SharedMount(copies.folder, at: GitCopy.folder, .writable)]
    let steps = SandboxPlan(options, HostFacts()).steps
    #expect(steps.contains(.substitute(paths[0], to: "/run/sluice-git/0/config")))
    #expect(steps.contains(.pin(paths[1], .readOnly)) && steps.contains(.pin("\(place.path)/ws/.git", .writable)))
    #expect(steps.contains(.bind("\(place.path)/run", at: "/run/sluice-git", .writable)))
  }

  /// A file `.git` that an earlier run made could name any repository of the caller's.
  @Test func aWorktreeLeadsToItsRepositoryWhereThatKnowsIt() throws {
    let place = try TestFolder()
    for name in ["HEAD", "objects/x", "refs/x"] { try place.file("main/.git/\(name)") }
    try place.file("main/.git/worktrees/w/commondir", "../..\n")
    try place.file("main/.git/worktrees/w/gitdir", "\(place.path)/w/.git\n")
    try place.file("w/.git", "gitdir: \(place.path)/main/.git/worktrees/w\n")
    try place.file("other/.git", "gitdir: \(place.path)/main/.git/worktrees/w\n")
    try place.file("direct/.git", "gitdir: \(place.path)/main/.git\n")
    #expect(WorkspaceLook.mainRepository(of: "\(place.path)/w") == "\(place.path)/main/.git")
    for planted in ["other", "direct", "main"] {
      #expect(WorkspaceLook.mainRepository(of: "\(place.path)/\(planted)") == nil)
    }
  }
}

// Paths of the host: links that count, links that an earlier run may have left, and what is protected in a workspace.
import Foundation
import Testing

@testable import Sandbox

@Suite struct PathsTests {
  @Test func aLinkInAWritablePlaceLeadsNowhere() throws {
    let top = try TestFolder()
    for name in ["work/a", "data/inner", "other"] { try top.folder(name) }
    try top.link("work/planted", to: "\(top.path)/data")
    try top.link("work/a/up", to: "../../data")
    try top.link("outer", to: "work")
    try top.link("other/data", to: "../data")
    try top.link("loop", to: "loop")
    func resolve(_ path: String) -> TrustedPath {
      TrustedPath.resolve("\(top.path)/\(path)", writable: ["\(top.path)/work"])
    }
    #expect(resolve("work/a/./../a") == .real("\(top.path)/work/a"))
    #expect(resolve("other/data/inner") == .real("\(top.path)/data/inner"))
    #expect(resolve("work/planted") == .planted("\(top.path)/work/planted"))
    #expect(resolve("work/planted/inner") == .planted("\(top.path)/work/planted"))
    #expect(resolve("work/a/up/inner") == .planted("\(top.path)/work/a/up"))
    // Another name of the workspace is no way around.
    #expect(resolve("outer/planted") == .planted("\(top.path)/work/planted"))
    #expect(resolve("outer/a") == .real("\(top.path)/work/a"))
    #expect(resolve("work/none") == .missing && resolve("loop") == .missing)
    // Where nothing is writable, links are the user's own.
    #expect(TrustedPath.resolve("\(top.path)/work/planted", writable: []) == .real("\(top.path)/data"))
  }

  @Test func whatIsProtectedIsLookedUpWithItsPlaceholder() throws {
    let top = try TestFolder()
    let work = "\(top.path)/work"
    try top.file("work/.git/config")
    func look(_ name: String, _ missing: ProtectedPath.Placeholder? = .file("x")) -> ProtectedPath.Found {
      ProtectedPath.look(up: name, in: work, missing: missing)
    }
    #expect(look(".git/config") == .path(ProtectedPath("\(work)/.git/config")))
    #expect(look(".git/other") == .path(ProtectedPath("\(work)/.git/other", placeholder: .file("x"))))
    // The folder above keeps all below it from being made.
    #expect(look("a/b/c") == .path(ProtectedPath("\(work)/a", placeholder: .folder)))
    #expect(look("a/b/c", nil) == .missing)
    try top.link("work/.git/hooks", to: "/etc")
    #expect(look(".git/hooks") == .link("\(work)/.git/hooks"))
    // A worktree's `.git` is a file that names the repository.
    try top.file("work/tree/.git")
    #expect(look("tree/.git/hooks") == .path(ProtectedPath("\(work)/tree/.git")))
  }

  @Test func theDeviceOfAFileSystemWithNumbersOfItsOwnStandsInTheMountTable() {
    let table = """
      24 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw
      36 24 0:31 /@home /home rw,relatime shared:17 - btrfs /dev/nvme0n1p3 rw,compress=zstd
      37 24 0:40 / /tmp rw - tmpfs tmpfs rw
      """
    #expect(BlockDevice(major: 0, minor: 31).source(in: table) == "/dev/nvme0n1p3")
    #expect(BlockDevice(major: 0, minor: 40).source(in: table) == nil)
    #expect(BlockDevice(major: 0, minor: 3).source(in: table) == nil)
    #expect(BlockDevice.holding("/proc") == nil)
  }

  @Test func whatALimitEndedIsReadFromTheCountersOfTheCgroup() {
    let settings: [CgroupSpec.Setting] = [.init("memory.max", "1024"), .init("pids.max", "64")]
    func reached(_ memory: String, _ pids: String) -> [LimitReached] {
      LimitReached.all(memory: memory, processes: pids, settings)
    }
    #expect(reached("low 0\nmax 9\noom 0\noom_kill 0\n", "max 0\n").isEmpty && reached("", "").isEmpty)
    let both = reached("oom 1\noom_kill 3\noom_group_kill 1\n", "max 7\n")
    #expect(both.map(\.limit) == ["memory.max", "pids.max"])
    #expect(
      both[0].text.contains("memory.max 1024 reached, processes killed: 3")
        && both[0].text.contains("raise process_limits.memory.max"))
    #expect(
      both[1].text.hasPrefix("pids.max 64 reached: 7 times") && both[1].text.contains("raise process_limits.pids.max"))
    // Killed since the machine has no memory left.
    #expect(reached("oom 0\noom_kill 1\n", "max 0\n").isEmpty)
  }
}

// Paths of the host: links that count, links that an earlier run may have left, and what is protected in a workspace.
import Foundation
import Testing

@testable import Sandbox

@Suite struct PathsTests {
  /// A folder that is gone with the test, without links in its path.
  private final class Folder {
    let path: String

    init() throws {
      let place = FileManager.default.temporaryDirectory.appending(path: "sluice-paths-\(UUID().uuidString)")
      try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
      path = try #require(HostFile.realPath(place.path))
    }

    deinit { _ = try? FileManager.default.removeItem(atPath: path) }

    func folder(_ name: String) throws {
      try FileManager.default.createDirectory(atPath: "\(path)/\(name)", withIntermediateDirectories: true)
    }

    func file(_ name: String) throws { try Data().write(to: URL(filePath: "\(path)/\(name)")) }

    func link(_ name: String, to target: String) throws {
      try FileManager.default.createSymbolicLink(atPath: "\(path)/\(name)", withDestinationPath: target)
    }
  }

  @Test func aLinkInAWritablePlaceLeadsNowhere() throws {
    let top = try Folder()
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

  @Test func whatGitObeysIsLookedUpWithItsPlaceholder() throws {
    let top = try Folder()
    let work = "\(top.path)/work"
    try top.folder("work")
    for name in ProtectedPath.standard { #expect(ProtectedPath.look(up: name, in: work) == .missing) }
    try top.folder("work/.git")
    try top.file("work/.git/config")
    #expect(ProtectedPath.look(up: ".git/config", in: work) == .path(ProtectedPath("\(work)/.git/config")))
    #expect(
      ProtectedPath.look(up: ".git/hooks", in: work)
        == .path(ProtectedPath("\(work)/.git/hooks", placeholder: .folder)))
    #expect(
      ProtectedPath.look(up: ".git/commondir", in: work)
        == .path(ProtectedPath("\(work)/.git/commondir", placeholder: .file(".\n"))))
    #expect(ProtectedPath.look(up: ".git/other", in: work) == .missing)
    try top.link("work/.git/hooks", to: "/etc")
    #expect(ProtectedPath.look(up: ".git/hooks", in: work) == .link("\(work)/.git/hooks"))
    // A worktree's `.git` is a file that names the repository.
    try top.folder("tree")
    try top.file("tree/.git")
    #expect(
      ProtectedPath.look(up: ".git/hooks", in: "\(top.path)/tree") == .path(ProtectedPath("\(top.path)/tree/.git")))
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

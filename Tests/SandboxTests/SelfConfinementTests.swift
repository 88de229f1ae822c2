// What the gate gives up of its own rights: which files its value names, and what a process that entered it can still do.
// It relies on children that confine themselves, so this process stays as it is; each trial is held to its errno.
import CSandbox
import ConfinedTrials
import Foundation
import Testing

@testable import Sandbox

@Suite struct SelfConfinementTests {
  @Test func aServingGateKeepsItsPolicysAndItsLogsFolders() {
    let one = SelfConfinement.serving(read: ["/etc/sluice/policy", "/srv/passwords"], log: "/var/log/sluice/log") {
      path in
      [String(path.prefix(upTo: path.lastIndex(of: "/") ?? path.startIndex))]
    }
    #expect(one.places.contains(.init("/etc/sluice", .read)))
    #expect(one.places.contains(.init("/srv", .read)))
    #expect(one.places.contains(.init("/var/log/sluice", .append)))
    #expect(!one.places.contains(.init("/var/log/sluice", .read)))
    #expect(one.places.contains(.init("/etc/resolv.conf", .read)))
    #expect(!one.supervises && one.broad.isEmpty)
    #expect(!one.places.contains(.init("/proc", .read)))
    let asked = SelfConfinement.serving(read: [], log: nil, adminSocket: "/run/sluice/sock") { _ in ["/run/sluice"] }
    #expect(asked.places.contains(.init("/run/sluice", .remove)) && asked.places.contains(.init("/proc", .read)))
  }

  @Test func aPolicyOrALogInASystemFolderIsSaid() {
    let said = SelfConfinement.serving(read: ["/etc/policy"], log: "/var/log", adminSocket: "/run/sock") { path in
      [path == "/etc/policy" ? "/etc" : path == "/run/sock" ? "/run" : "/var"]
    }.broad
    #expect(said.count == 3)
    #expect(said.contains { $0.hasPrefix("may remove files below /run,") })
    #expect(said.contains { $0.hasPrefix("reads all below /etc,") })
    #expect(said.contains { $0.hasPrefix("writes all below /var,") })
  }

  @Test func aGateOfASandboxKeepsItsCgroupAlone() {
    let spec = CgroupSpec(base: "/sys/fs/cgroup/u", name: "sluice-a-1", settings: [])
    let (with, without) = (SelfConfinement.supervising(cgroup: spec), SelfConfinement.supervising(cgroup: nil))
    #expect(Set(with.places).subtracting(without.places) == [.init("/sys/fs/cgroup/u", .cgroup)])
    #expect(with.supervises && without.places.allSatisfy { $0.reach == .read })
  }

  @Test func foldersAreThoseNamedAndThoseLedTo() throws {
    let place = try Place()
    let policy = try place.file("real/policy")
    try FileManager.default.createDirectory(atPath: place.path("named"), withIntermediateDirectories: false)
    try FileManager.default.createSymbolicLink(
      atPath: place.path("named/policy"), withDestinationPath: policy)
    #expect(SelfConfinement.folders(of: place.path("named/policy")) == [place.path("named"), place.path("real")])
    #expect(SelfConfinement.folders(of: place.path("real/new")) == [place.path("real")])
    #expect(SelfConfinement.folders(of: "/dev/null") == [])
  }

  @Test func eachLandlockVersionSaysWhatItLacks() {
    #expect(Landlock.lacks(version: 6) == [])
    #expect(
      Landlock.lacks(version: 5) == ["Landlock version 5 does not restrict signals and abstract sockets (Linux 6.12)"])
    #expect(Landlock.lacks(version: 1).first?.contains("truncating (Linux 6.2)") == true)
  }

  // MARK: - In a child

  @Test func filesElsewhereAreOutOfReach() throws {
    let place = try Place()
    let (inside, outside) = try (place.file("kept/file"), place.file("other/file"))
    let kept = place.path("kept")
    #expect(place.attempt(TRIAL_READ, inside, keeping: kept, .read) == 0)
    #expect(place.attempt(TRIAL_READ, outside, keeping: kept, .read) == EACCES)
    #expect(place.attempt(TRIAL_READ, "/etc/passwd", keeping: kept, .read) == EACCES)
    #expect(place.attempt(TRIAL_APPEND, inside, keeping: kept, .read) == EACCES)
    #expect(place.attempt(TRIAL_READ, "/etc/passwd", keeping: nil, .read) == EACCES)
  }

  @Test func aLogCanBeMadeAndAppendedToAndNothingElse() throws {
    let place = try Place()
    let (log, outside) = try (place.file("log/old"), place.file("other/file"))
    let folder = place.path("log")
    #expect(place.attempt(TRIAL_APPEND, log, keeping: folder, .append) == 0)
    #expect(place.attempt(TRIAL_APPEND, place.path("log/new"), keeping: folder, .append) == 0)
    #expect(place.attempt(TRIAL_APPEND, outside, keeping: folder, .append) == EACCES)
    #expect(place.attempt(TRIAL_READ, log, keeping: folder, .append) == EACCES)
    #expect(place.attempt(TRIAL_REMOVE, log, keeping: folder, .append) == EACCES)
    if (Landlock.version ?? 0) >= 3 { #expect(place.attempt(TRIAL_TRUNCATE, log, keeping: folder, .append) == EACCES) }
  }

  @Test func aCgroupCanBeReadWrittenAndRemoved() throws {
    let place = try Place()
    let file = try place.file("base/own/cgroup.kill")
    try FileManager.default.createDirectory(atPath: place.path("base/empty"), withIntermediateDirectories: false)
    let base = place.path("base")
    #expect(place.attempt(TRIAL_READ, file, keeping: base, .cgroup, supervises: true) == 0)
    #expect(place.attempt(TRIAL_APPEND, file, keeping: base, .cgroup, supervises: true) == 0)
    #expect(place.attempt(TRIAL_REMOVE_FOLDER, place.path("base/empty"), keeping: base, .cgroup, supervises: true) == 0)
    #expect(place.attempt(TRIAL_REMOVE_FOLDER, place.path("base"), keeping: base, .cgroup, supervises: true) == EACCES)
  }

  @Test func systemCallsThatTheGateDoesNotMakeAreRefused() throws {
    let place = try Place()
    #expect(place.attempt(TRIAL_TCP_SOCKET) == 0)
    #expect(place.attempt(TRIAL_THREAD) == 0)
    #expect(place.attempt(TRIAL_FORK) == EPERM)
    #expect(place.attempt(TRIAL_UNIX_SOCKET) == EPERM)
    #expect(place.attempt(TRIAL_LISTEN) == EPERM)
    #expect(place.attempt(TRIAL_CODE) == EPERM)
    #expect(place.attempt(TRIAL_SIGNAL_PARENT) == EPERM)
    #expect(place.attempt(TRIAL_SIGNAL_PARENT, supervises: true) == EPERM)
    #expect(place.attempt(TRIAL_TERMINAL_INPUT, supervises: true) == EPERM)
    if (Landlock.version ?? 0) >= 4 { #expect(place.attempt(TRIAL_BIND_TCP) == EACCES) }
  }

  @Test func anIntruderIsEnded() throws {
    let place = try Place()
    #expect(place.attempt(TRIAL_EXECUTE, "/bin/true") == 128 + SIGSYS)
    #expect(place.attempt(TRIAL_UNSHARE) == 128 + SIGSYS)
  }
}

/// A folder of its own.
private final class Place {
  private let root: String

  init() throws {
    let folder = FileManager.default.temporaryDirectory.resolvingSymlinksInPath().appending(path: "confined-\(UUID())")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
    root = folder.path
  }

  deinit { try? FileManager.default.removeItem(atPath: root) }

  func path(_ name: String) -> String { "\(root)/\(name)" }

  func file(_ name: String) throws -> String {
    let folder = (path(name) as NSString).deletingLastPathComponent
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try Data("x".utf8).write(to: URL(filePath: path(name)))
    return path(name)
  }

  func attempt(
    _ trial: trial, _ path: String = "", keeping kept: String? = nil, _ reach: SelfConfinement.Reach = .read,
    supervises: Bool = false
  ) -> Int32 {
    confined_try(trial, kept, reach.rawValue, supervises ? 1 : 0, path)
  }
}

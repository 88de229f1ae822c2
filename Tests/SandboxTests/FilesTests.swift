// What a sandbox sees of the file system, and in which order it is mounted: held on the plan, without making a sandbox.
import Kernel
import Testing

@testable import Sandbox

@Suite struct FilesTests {
  private static let work = "/home/u/work"

  private func steps(_ change: (inout SandboxOptions) -> Void) -> [Step] {
    var facts = HostFacts()
    facts.systemFolders = [.init("/usr", .folder), .init("/bin", .link("usr/bin"))]
    facts.settings = [.init("/etc/ssl", source: "/usr/share/ssl")]
    var options = SandboxOptions(
      command: ["true"], environment: [], workspace: Self.work, user: SandboxUser(uid: 1, gid: 1, isOther: false))
    change(&options)
    return SandboxPlan(options, facts).steps
  }

  /// From the first thing of the user's on.
  private func shared(_ change: (inout SandboxOptions) -> Void) throws -> [Step] {
    let all = steps(change)
    let start = try #require(
      all.firstIndex {
        if case .bind(let path, _, _) = $0 { !path.hasPrefix("/usr") && !path.hasPrefix("/dev") } else { false }
      })
    let end = try #require(all.firstIndex(of: .enterRoot))
    return Array(all[start..<end])
  }

  private let bound = Step.bind(work, at: work, .writable)

  @Test func whatIsProtectedIsReadOnlyAndCoveredWhereItIsMissing() throws {
    let got = try shared {
      $0.protected = [
        ProtectedPath("/home/u/work/.git/hooks", placeholder: .folder), ProtectedPath("/home/u/work/.git/config"),
        ProtectedPath("/home/u/work/.git/commondir", placeholder: .file("./\n")),
      ]
    }
    #expect(
      got == [
        bound, .pin("/home/u/work/.git", .writable), .cover("/home/u/work/.git/commondir", .file("./\n")),
        .pin("/home/u/work/.git/config", .readOnly), .cover("/home/u/work/.git/hooks", .folder),
      ])
  }

  @Test func whatIsProtectedCannotBeMovedWithTheFoldersAboveIt() throws {
    let got = try shared {
      $0.protected = ["/home/u/work/a/b/p.yaml", "/home/u/work/a", "/elsewhere/p.yaml"].map { ProtectedPath($0) }
    }
    // A folder stands for all that is in it.
    #expect(got == [bound, .pin("/home/u/work/a", .readOnly)])
    let deep = try shared { $0.protected = [ProtectedPath("/home/u/work/ä/b/p.yaml")] }
    #expect(
      deep == [
        bound, .pin("/home/u/work/ä", .writable), .pin("/home/u/work/ä/b", .writable),
        .pin("/home/u/work/ä/b/p.yaml", .readOnly),
      ])
  }

  @Test func whatLiesInAnotherIsMountedAfterIt() throws {
    let got = try shared {
      $0.readOnly = ["/home/u/work/data/set", "/home/u", "/home/u/x"]
      $0.readWrite = ["/home/u/work/data/set/scratch", "/srv"]
    }
    #expect(
      got == [
        .bind("/srv", at: "/srv", .writable), .bind("/home/u", at: "/home/u", .readOnly), bound,
        // What could be replaced from inside is mounted from where it was found, with the folders above it held.
        .pin("/home/u/work/data", .writable), .pin("/home/u/work/data/set", .readOnly),
        .bind("/home/u/work/data/set/scratch", at: "/home/u/work/data/set/scratch", .writable),
      ])
  }

  @Test func whatIsHiddenIsCoveredLast() throws {
    let got = try shared {
      $0.readOnly = ["/opt/tool"]
      $0.protected = [ProtectedPath("/home/u/work/.git/config")]
      $0.hidden = [
        "/home/u/work/.git", "/home/u/work/.git/objects", "/opt/tool/key", "/home/u/work/c/.env", "/usr/x",
        "/root/.ssh",
      ]
    }
    #expect(
      got == [
        .bind("/opt/tool", at: "/opt/tool", .readOnly), bound, .pin("/home/u/work/.git", .writable),
        .pin("/home/u/work/.git/config", .readOnly), .hide("/home/u/work/.git"), .pin("/home/u/work/c", .writable),
        .hide("/home/u/work/c/.env"), .hide("/opt/tool/key"), .hide("/usr/x"),
      ])
  }

  @Test func theHomeIsEmptyOrAFolderOfTheHost() throws {
    let plain = steps {
      $0.home = .temporary(bytes: 1 << 30)
      $0.temporaryBytes = 1 << 20
    }
    #expect(plain.contains(.temporary("/home/agent", mode: "0755", bytes: 1 << 30, inodes: 1 << 17)))
    #expect(plain.contains(.temporary("/tmp", mode: "1777", bytes: 1 << 20, inodes: 65_536)))
    let kept = steps { $0.home = .folder("/srv/home") }
    #expect(kept.contains(.bind("/srv/home", at: "/home/agent", .writable)))
    #expect(!kept.contains { if case .temporary("/home/agent", _, _, _) = $0 { true } else { false } })
    var options = SandboxOptions(
      command: ["true"], environment: [], workspace: Self.work, user: SandboxUser(uid: 1, gid: 1, isOther: false))
    options.home = .folder("/srv/home")
    // The log must not stand there.
    #expect(SandboxPlan(options, HostFacts()).writable == [Self.work, "/srv/home"])
  }

  /// A protected path is protected at each place where it is seen.
  @Test func aBindAtAnotherPlaceIsHeldAsTheFolderItself() throws {
    let plan = steps {
      $0.mounts = [
        SharedMount("/srv/data", at: "/mnt/data", .writable), SharedMount("/srv/tool", at: "/opt/tool", .readOnly),
      ]
      $0.protected = [ProtectedPath("/srv/data/.git/config"), ProtectedPath("/srv/data/.envrc", placeholder: .folder)]
      $0.hidden = ["/srv/data/.env"]
    }
    for step: Step in [
      .bind("/srv/data", at: "/mnt/data", .writable), .bind("/srv/tool", at: "/opt/tool", .readOnly),
      .pin("/mnt/data/.git", .writable), .pin("/mnt/data/.git/config", .readOnly), .cover("/mnt/data/.envrc", .folder),
      .hide("/mnt/data/.env"),
    ] { #expect(plan.contains(step), "\(step)") }
    var options = SandboxOptions(
      command: ["true"], environment: [], workspace: Self.work, user: SandboxUser(uid: 1, gid: 1, isOther: false))
    options.mounts = [SharedMount("/srv/data", at: "/mnt/data", .writable)]
    options.protected = [ProtectedPath("/srv/data/.envrc", placeholder: .folder)]
    let whole = SandboxPlan(options, HostFacts())
    // The log must not stand there, and what keeps a name from being made stands on the host.
    #expect(whole.writable == [Self.work, "/srv/data"] && whole.placeholders.map(\.path) == ["/srv/data/.envrc"])
    let landlock = try #require(
      whole.steps.compactMap { if case .landlock(let paths, _) = $0 { paths } else { nil } }.first)
    #expect(landlock.contains("/mnt/data") && !landlock.contains("/srv/data"))
  }

  @Test func aHomeStandsWhereItIsWantedWithWhatIsPutIntoIt() {
    let plan = steps {
      $0.homePath = "/home/u"
      $0.seeds = [HomeSeed("/home/u/.tool.toml", Array("x".utf8))]
      $0.mounts = [
        SharedMount("/data/cache", at: "/home/u/.cache/pip", .writable), SharedMount("/home/u/.cfg", .readOnly),
      ]
    }
    let order: [Step] = [
      .temporary("/home/u", mode: "0755", bytes: 256 << 20, inodes: 65_536), bound,
      .bind("/home/u/.cfg", at: "/home/u/.cfg", .readOnly),
      .bind("/data/cache", at: "/home/u/.cache/pip", .writable), .seed(HomeSeed("/home/u/.tool.toml", Array("x".utf8))),
    ]
    let places = order.compactMap { plan.firstIndex(of: $0) }
    #expect(places.count == order.count && places.first == places.min() && places.last == places.max())
    #expect(
      plan.contains(
        .file(
          "/etc/passwd",
          "agent:x:1:1:agent:/home/u:/bin/sh\n" + "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n")))
  }

  @Test func theAuthoritiesStandInTheSystemsFolderByTheirNumbers() {
    var facts = HostFacts()
    facts.trustBundles = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"]
    facts.trustFolder = HostFacts.TrustFolder("/etc/ssl/certs", names: ["0000abcd.0", "x.pem"])
    var options = SandboxOptions(
      command: ["true"], environment: [], workspace: Self.work, user: SandboxUser(uid: 1, gid: 1, isOther: false))
    let pem = Array("one".utf8)
    options.trust = SandboxTrust(
      certificate: pem, bundle: Array("all".utf8), javaStore: [],
      hashed: [(0xabcd, pem), (0x1_0000_0001, Array("two".utf8)), (1, Array("three".utf8))])
    let steps = SandboxPlan(options, facts).steps
    // A number that the system has already is another certificate's: the next one is free.
    #expect(
      steps.contains(
        .layer(
          "/etc/ssl/certs",
          [
            LayerFile("ca-certificates.crt", "all"), LayerFile("0000abcd.1", "one"), LayerFile("00000001.0", "two"),
            LayerFile("00000001.1", "three"),
          ])))
    #expect(steps.contains(.cover("/etc/pki/tls/certs/ca-bundle.crt", .file("all"))))
    #expect(!steps.contains(.cover("/etc/ssl/certs/ca-certificates.crt", .file("all"))))
  }

  @Test func pathsAreComparedByBytesAndByWholeNames() {
    #expect("/a/b".isBelow("/a") && !"/ab".isBelow("/a") && !"/a".isBelow("/a") && "/a".isBelow("/"))
    #expect("/a".isAtOrBelow("/a") && !"/".isBelow("/"))
    // One letter to Unicode, two files to Linux.
    #expect(!"/e\u{301}/x".isBelow("/\u{e9}") && !"/e\u{301}".isAtOrBelow("/\u{e9}"))
    #expect("/\u{301}a/b".pathParts == ["\u{301}a", "b"])
  }
}

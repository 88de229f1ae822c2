// Changes of a copied workspace: found in the upper folder, shown as a difference, applied below the workspace alone.
import Foundation
import Glibc
import Kernel
import Testing

@testable import Sandbox

@Suite struct WorkspaceCopyTests {
  private func copy(_ place: TestFolder, protected: [String] = []) -> WorkspaceCopy {
    WorkspaceCopy(
      workspace: "\(place.path)/ws", folder: "\(place.path)/run", protected: protected.map { "\(place.path)/ws/\($0)" })
  }

  private func text(_ place: TestFolder, _ name: String) -> String? {
    HostFile.readText("\(place.path)/\(name)", bytesMax: 9999)
  }

  @Test func whatWasWrittenIsFoundShownAndApplied() throws {
    let place = try TestFolder()
    try place.file("ws/same", "same\n")
    try place.file("ws/text", (1...9).map { "line \($0)\n" }.joined())
    try place.file("ws/dir/old", "old\n")
    try place.file("run/upper/same", "same\n")
    try place.file("run/upper/text", (1...9).map { $0 == 5 ? "line five\nand more\n" : "line \($0)\n" }.joined())
    try place.file("run/upper/new/deep/file", "a\tb\n")
    try place.link("run/upper/new/link", to: "deep/file")
    try place.file("run/upper/.git/index", "x\0")
    let copy = copy(place)
    let changes = copy.changes()
    #expect(
      changes.map { "\($0.kind.rawValue) \($0.path)" } == [
        "A .git", "A .git/index", "A new", "A new/deep", "A new/deep/file", "A new/link", "M text",
      ])
    let shown = copy.text(changes)
    #expect(
      shown.contains("M 2 files of git's own, below .git") && shown.contains("+a\tb") && shown.contains("--- /dev/null")
    )
    let hunk = ["@@ -2,7 +2,8 @@", " line 2", " line 3", " line 4", "-line 5", "+line five", "+and more", " line 6"]
    let start = try #require(shown.firstIndex(of: hunk[0]))
    #expect(Array(shown[start..<(start + hunk.count)]) == hunk)
    #expect(copy.apply(changes, startNs: .max).isEmpty)
    #expect(
      text(place, "ws/text")?.contains("line five\nand more\n") == true && text(place, "ws/new/deep/file") == "a\tb\n")
    #expect(HostFile.linkTarget("\(place.path)/ws/new/link") == "deep/file" && copy.changes().isEmpty)
    WorkspaceCopy.remove("\(place.path)/run")
    #expect(HostFile.kind("\(place.path)/run") == .missing && text(place, "ws/dir/old") == "old\n")
  }

  /// The command chose each name below the upper folder.
  @Test func nothingIsAppliedThroughALinkOrOutsideOrToWhatIsProtected() throws {
    let place = try TestFolder()
    try place.file("secret/key", "key\n")
    try place.folder("ws")
    try place.link("ws/out", to: "\(place.path)/secret")
    try place.file("run/upper/out/key", "mine\n")
    try place.file("run/upper/.git/hooks/pre-commit", "x")
    try place.file("run/upper/kept", "x")
    try place.link("run/upper/a", to: "\(place.path)/secret/key")
    try place.link("run/upper/b", to: "../secret/key")
    try place.link("run/upper/c", to: "x/../../secret")
    // Each stays inside by its letters; one behind the other they lead out.
    try place.link("run/upper/d", to: ".")
    try place.link("run/upper/e", to: "d/../secret")
    #expect(mkfifo("\(place.path)/run/upper/pipe", 0o600) == 0)
    let copy = copy(place, protected: [".git/hooks"])
    let changes = copy.changes()
    #expect(!changes.contains { $0.path.contains("hooks") })
    let problems = copy.apply(changes, startNs: .max)
    #expect(problems.filter { $0.contains("a link to a target outside") }.count == 4)
    #expect(problems.contains { $0.hasPrefix("pipe: a device, pipe") })
    #expect(text(place, "secret/key") == "key\n" && HostFile.kind("\(place.path)/ws/.git/hooks") == .missing)
    // The link itself was replaced by the folder that the command made of it.
    #expect(HostFile.kind("\(place.path)/ws/out") == .folder && text(place, "ws/out/key") == "mine\n")
    for name in ["a", "b", "c", "e", "pipe"] { #expect(HostFile.kind("\(place.path)/ws/\(name)") == .missing) }
  }

  @Test func whatWasChangedOutsideMeanwhileStays() throws {
    let place = try TestFolder()
    try place.file("ws/file", "outside\n")
    try place.file("run/upper/file", "inside\n")
    let copy = copy(place)
    #expect(
      copy.apply(copy.changes(), startNs: 0) == [
        "file: it was also changed outside while the command ran; it is left unchanged"
      ])
    #expect(text(place, "ws/file") == "outside\n")
  }

  /// The folder was looked at, and is a link when the changes are written.
  @Test func aFolderThatBecomesALinkIsNotFollowed() throws {
    let place = try TestFolder()
    try place.file("secret/key", "key\n")
    try place.file("ws/dir/key", "old\n")
    try place.file("run/upper/dir/key", "mine\n")
    let copy = copy(place)
    let changes = copy.changes()
    #expect(changes.map(\.path) == ["dir/key"])
    try FileManager.default.removeItem(atPath: "\(place.path)/ws/dir")
    try place.link("ws/dir", to: "\(place.path)/secret")
    #expect(copy.apply(changes, startNs: .max).count == 1)
    #expect(text(place, "secret/key") == "key\n")
  }

  @Test func modesAreAppliedWithoutSetUserIdAndOtherNamesOfAFileStay() throws {
    let place = try TestFolder()
    try place.file("outside", "kept\n")
    try place.folder("ws")
    #expect(Glibc.link("\(place.path)/outside", "\(place.path)/ws/name") == 0)
    try place.file("run/upper/name", "mine\n")
    try place.file("run/upper/tool", "#!/bin/sh\n")
    #expect(chmod("\(place.path)/run/upper/tool", 0o6755) == 0)
    let copy = copy(place)
    #expect(copy.apply(copy.changes(), startNs: .max).isEmpty)
    #expect(text(place, "outside") == "kept\n" && text(place, "ws/name") == "mine\n")
    #expect(HostFile.stamp("\(place.path)/ws/tool").map { $0.mode & 0o7777 } == 0o755)
  }

  @Test func differencesOfTextsAreRight() {
    // Each is applied again: a difference that loses or invents a line is seen whatever it looks like.
    var random = SystemRandomNumberGenerator()
    for size in [0, 1, 2, 5, 40, 900] {
      let old = (0..<size).map { _ in "\(Int.random(in: 0...9, using: &random))" }
      var new = old
      for _ in 0..<min(size, 12) {
        new[Int.random(in: 0..<size, using: &random)] = "x\(Int.random(in: 0...3, using: &random))"
      }
      if size > 3 { new.remove(at: 1); new.insert("y", at: 3) }
      let diff = UnifiedDiff(Array(old.map { $0 + "\n" }.joined().utf8), Array(new.map { $0 + "\n" }.joined().utf8))
      var (result, place) = ([String](), 0)
      for line in diff.lines {
        if line.hasPrefix("@@") {
          let start = Int(line.dropFirst(4).prefix { $0 != "," }) ?? 0
          let from = line.contains(",0 +") ? start : max(start - 1, 0)
          result += old[place..<from]
          place = from
        } else {
          if !line.hasPrefix("+") {
            #expect(old[place] == line.dropFirst())
            place += 1
          }
          if !line.hasPrefix("-") { result.append(String(line.dropFirst())) }
        }
      }
      #expect(result + old[place...] == new, "\(old) \(new) \(diff.lines)")
    }
  }
}

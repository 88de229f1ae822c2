// `sluice version`: which build this is, and what is linked into it.
// It relies on each module to ask its own libraries: their versions are those that run, not those of the headers.
import ArgumentParser
import Content
import Gate
import Intercept
import Wire
import YAML

struct VersionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "version",
    abstract: "Print the version, the commit, and the libraries in this binary.",
    discussion: """
      The licences of the libraries are in docs/licences.md of the source.

        sluice version
        sluice version --json
      """)

  @Flag(help: "One JSON object.") var json = false

  func run() throws {
    let libraries =
      (InterceptLibraries.versions + ContentLibraries.versions + Version.libraries
      + [("libyaml", YAMLDocument.libraryVersion)]).sorted { $0.name < $1.name }
    if json {
      let object = JSONValue.object([
        JSONMember("version", .text(Version.text)), JSONMember("commit", Version.commit.map { .text($0) } ?? .null),
        JSONMember("libraries", .object(libraries.map { JSONMember($0.name, .text($0.version)) })),
      ])
      print(String(decoding: object.line, as: UTF8.self), terminator: "")
      return
    }
    print("sluice \(Version.text), \(Version.commit.map { "commit \($0)" } ?? "a build of a working tree")")
    for library in libraries { print("  \(library.name) \(library.version)") }
  }
}

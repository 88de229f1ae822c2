// A folder that is gone with the test, without links in its path.
import Foundation
import Testing

@testable import Sandbox

final class TestFolder {
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

  /// With the folders above it.
  func file(_ name: String, _ text: String = "") throws {
    try folder(name.parentFolder)
    try Data(text.utf8).write(to: URL(filePath: "\(path)/\(name)"))
  }

  func link(_ name: String, to target: String) throws {
    try FileManager.default.createSymbolicLink(atPath: "\(path)/\(name)", withDestinationPath: target)
  }

  func move(_ name: String, to other: String) throws {
    try FileManager.default.moveItem(atPath: "\(path)/\(name)", toPath: "\(path)/\(other)")
  }
}

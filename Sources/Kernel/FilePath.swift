// Paths as text: the parent folder, the last part, and the test for a path below another.
// It relies on no file: links are not followed, so callers should compare real paths.

/// Compares paths as bytes: String's comparison treats canonically equivalent names as equal.
extension String {
  /// The folder that this path stands in; `.` for a path of one part.
  package var folderOfPath: String {
    guard let slash = utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
    return slash == startIndex ? "/" : String(self[..<slash])
  }

  package var lastPathPart: Substring {
    self[(utf8.lastIndex(of: UInt8(ascii: "/")).map { utf8.index(after: $0) } ?? startIndex)...]
  }

  package func isBelow(_ folder: String) -> Bool {
    let above = folder == "/" ? folder : "\(folder)/"
    return utf8.count > above.utf8.count && utf8.starts(with: above.utf8)
  }

  package func isAtOrBelow(_ folder: String) -> Bool { utf8.elementsEqual(folder.utf8) || isBelow(folder) }
}

// Paths as text: the folder that one stands in, its last part, and what stands below what.
// It relies on no file: links are not followed, so what is compared should be real paths.

/// Paths are bytes: String's own comparison takes two names for one that Unicode holds to be the same letters.
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

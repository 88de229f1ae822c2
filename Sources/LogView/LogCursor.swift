// Positions in logs, for a reader that goes on where its last run ended, also when they were rotated meanwhile.
// It relies on device and inode, and on a file's first bytes: a number is given to another file once its file is gone.
// Rotated files are looked for in the log's own folder; those that are compressed cannot be read.
package import Kernel
package import Wire

package struct LogCursor: Equatable, Sendable {
  package struct Entry: Equatable, Sendable {
    /// The path that was followed.
    package let path: String
    package let file: FileIdentity
    package let offset: UInt64
    /// So many first bytes had this digest.
    let markBytes: Int
    let mark: UInt64

    package init(path: String, file: FileIdentity, offset: UInt64, beginning: [UInt8]) {
      (self.path, self.file, self.offset) = (path, file, offset)
      markBytes = min(beginning.count, Int(clamping: offset))
      mark = LogCursor.digest(beginning.prefix(markBytes))
    }

    fileprivate init(path: String, file: FileIdentity, offset: UInt64, markBytes: Int, mark: UInt64) {
      (self.path, self.file, self.offset, self.markBytes, self.mark) = (path, file, offset, markBytes, mark)
    }
  }

  /// The files of one path that are remembered: rotated ones have other names in a folder.
  private static let filesMax = 16

  /// The newest last.
  package private(set) var entries: [Entry] = []

  package init() {}

  package mutating func note(_ entry: Entry) {
    entries.removeAll { $0.path == entry.path && $0.file == entry.file }
    entries.append(entry)
    let ofPath = entries.filter { $0.path == entry.path }
    if ofPath.count > Self.filesMax, let oldest = ofPath.first { entries.removeAll { $0 == oldest } }
  }

  // MARK: - Going on

  /// False: the file that was read last is gone, and what it held behind the entry with it.
  func open(_ path: String, chunkBytes: Int) throws(SystemError) -> (tail: LogTail, isWhole: Bool) {
    let whole = try LogTail(path: path, chunkBytes: chunkBytes)
    guard !entries.isEmpty, whole.canGrow, let file = whole.identity else { return (whole, true) }
    if let entry = entries.last(where: { $0.file == file && $0.isOf(whole.beginning($0.markBytes)) }),
      (FileStamp(path: path)?.size ?? 0) >= entry.offset
    {
      return (try LogTail(path: path, from: entry.offset, chunkBytes: chunkBytes), true)
    }
    guard let last = entries.last(where: { $0.path == path }) else { return (whole, true) }
    let siblings = rotated(path)
    // A copy of what was then cut in place is as good as the file itself.
    if let at = siblings.firstIndex(where: { last.isOf($0.beginning) && ($0.file == last.file || last.isTelling) }) {
      let between = siblings[(at + 1)...].map(\.path) + [path]
      return (
        try LogTail(
          path: path, after: (siblings[at].path, last.offset), Array(between), chunkBytes: chunkBytes), true
      )
    }
    // Cut in place, or taken away. What has been read of other files of that path is not read again.
    let unread = siblings.filter { one in !entries.contains { $0.file == one.file && $0.isOf(one.beginning) } }
    guard let first = unread.first else { return (whole, false) }
    let between = unread.dropFirst().map(\.path) + [path]
    return (try LogTail(path: path, after: (first.path, 0), between, chunkBytes: chunkBytes), false)
  }

  private struct Rotated {
    let path: String
    let file: FileIdentity
    let beginning: [UInt8]
    let rank: UInt64
  }

  /// The files that stood at `path` before, the oldest first: `log.jsonl.1`, `log.jsonl-20270101`,
  /// `log-20270101.jsonl`.
  private func rotated(_ path: String) -> [Rotated] {
    let (folder, name) = (path.folderOfPath, String(path.lastPathPart))
    let stem = name.lastIndex(of: ".").map { String(name[..<$0]) } ?? name
    let ending = name.dropFirst(stem.count)
    // A folder that cannot be listed hides them: the entry's file then counts as gone.
    let names = (try? FolderNames.visible(in: folder)) ?? []
    let found = names.compactMap { other -> Rotated? in
      let isNumbered = other.hasPrefix("\(name).") || other.hasPrefix("\(name)-")
      let isDated = !ending.isEmpty && other.hasPrefix("\(stem)-") && other.hasSuffix(ending)
      guard isNumbered || isDated, other != name else { return nil }
      let path = "\(folder)/\(other)"
      // Compressed, or another's: no log to read.
      guard !FolderNames.isFolder(path), let tail = try? LogTail(path: path, chunkBytes: 4096),
        let file = tail.identity
      else { return nil }
      let beginning = tail.beginning(Self.lookBytes)
      guard let rank = LogTime.rank(beginning.span) else { return nil }
      return Rotated(path: path, file: file, beginning: beginning, rank: rank)
    }
    return found.sorted { ($0.rank, $0.path) < ($1.rank, $1.path) }
  }

  private static let lookBytes = 512

  /// FNV-1a, 64 bits: nobody gains by making two files alike.
  fileprivate static func digest(_ bytes: some Sequence<UInt8>) -> UInt64 {
    bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64(truncatingIfNeeded: $1)) &* 0x100_0000_01b3 }
  }
}

extension LogCursor.Entry {
  /// So much of a beginning, with a time and a number in it, has no other log.
  fileprivate var isTelling: Bool { markBytes >= 64 }

  fileprivate func isOf(_ beginning: [UInt8]) -> Bool {
    beginning.count >= markBytes && LogCursor.digest(beginning.prefix(markBytes)) == mark
  }
}

// MARK: - As a file

extension LogCursor {
  package var json: JSONValue {
    .object([
      JSONMember("v", .number(1)),
      JSONMember(
        "files",
        .list(
          entries.map { entry in
            .object([
              JSONMember("path", .text(entry.path)), JSONMember("device", .text("\(entry.file.device)")),
              JSONMember("inode", .text("\(entry.file.inode)")), JSONMember("offset", .text("\(entry.offset)")),
              JSONMember("mark_bytes", .number(entry.markBytes)), JSONMember("mark", .text("\(entry.mark)")),
            ])
          })),
    ])
  }

  /// nil where it is no cursor of this version.
  package init?(_ json: JSONValue) {
    guard json["v"]?.asNumber == 1, case .list(let files)? = json["files"] else { return nil }
    for one in files {
      func number(_ name: String) -> UInt64? { one[name]?.asText.flatMap { UInt64.init($0) } }
      guard let path = one["path"]?.asText, let device = number("device"), let inode = number("inode"),
        let offset = number("offset"), let mark = number("mark"),
        let markBytes = one["mark_bytes"]?.asNumber, (0...512).contains(markBytes)
      else { return nil }
      entries.append(
        Entry(
          path: path, file: FileIdentity(device: device, inode: inode), offset: offset, markBytes: markBytes,
          mark: mark))
    }
  }
}

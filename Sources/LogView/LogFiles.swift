// The lines of many log files as one log, in the order of their times: files, folders, and files that come later.
// It relies on LogTail for each file. One file alone is handed through as it is; of several, what has been read and is
// not yet in turn waits in memory, one chunk of each.
package import Kernel
import Wire

package struct LogFiles {
  /// Where a line ends: whoever has dealt with it needs nothing before that again.
  package struct Place: Sendable {
    package let source: Int
    package let file: FileIdentity
    package let end: UInt64
  }

  /// Names of logs in a folder; others are left alone, such as compressed ones.
  package static let endings = [".jsonl", ".log"]
  private static let memoryBytes = 8 << 20
  private static let lookEveryMs: UInt64 = 1000

  private let folders: [String]
  /// Paths that could not be opened, and are tried again.
  private var waiting: [String]
  private var sources: [LogSource] = []
  /// Of all files that a source reads or has read, so that a renamed one in a folder is not read twice.
  private var seen: Set<FileIdentity> = []
  private let cursor: LogCursor
  private let chunkBytes: Int
  private var lookedMs: UInt64 = 0
  /// Why the first of `waiting` cannot be opened.
  package private(set) var problem: (path: String, error: SystemError)?
  /// Files whose unread lines are gone, by the cursor.
  package private(set) var missing: [String] = []

  /// `waits`: what is not there yet is looked for again and again. Otherwise it is an error.
  package init(_ paths: [String], waits: Bool = false, cursor: LogCursor = LogCursor()) throws(SystemError) {
    self.cursor = cursor
    folders = paths.filter { FolderNames.isFolder($0) }
    waiting = paths.filter { !FolderNames.isFolder($0) }
    var inFolders = 0
    for folder in folders { inFolders += try FolderNames.visible(in: folder).count }
    let count = waiting.count + inFolders
    chunkBytes = count < 2 ? GrowingFile.chunkBytesMax : min(max(Self.memoryBytes / count, 4096), 128 << 10)
    look()
    if !waits, let problem { throw SystemError("\(problem.path): \(problem.error.stage)", code: problem.error.code) }
  }

  package var isEmpty: Bool { sources.isEmpty }
  package var count: Int { sources.count }
  /// More than one file may be read, so that views say whose line is whose.
  package var areMany: Bool { !folders.isEmpty || sources.count + waiting.count > 1 }
  package var canGrow: Bool {
    !folders.isEmpty || !waiting.isEmpty || sources.contains { $0.tail.canGrow }
  }
  package var torn: Int { sources.reduce(0) { $0 + $1.tail.torn } }

  package func path(_ source: Int) -> String { sources[source].path }

  /// The file's first bytes, as far as they were there when it was read last.
  package func beginning(_ place: Place) -> [UInt8] { sources[place.source].beginnings[place.file] ?? [] }

  /// As `LogTail.read`: each whole line of what is there; false when there is nothing more by now.
  package mutating func read(_ body: (Span<UInt8>) -> Bool) throws(SystemError) -> Bool {
    try readPlaced { bytes, _ in body(bytes) }
  }

  package mutating func readPlaced(_ body: (Span<UInt8>, Place) -> Bool) throws(SystemError) -> Bool {
    let hasMore = areMany ? try readMerged(body) : try readOnly(body)
    if hasMore { return true }
    let before = sources.count
    lookAgain()
    return sources.count > before
  }

  package mutating func finish() {
    for index in sources.indices { sources[index].tail.finish() }
  }

  // MARK: - Reading

  private mutating func readOnly(_ body: (Span<UInt8>, Place) -> Bool) throws(SystemError) -> Bool {
    guard !sources.isEmpty else { return false }
    let file = sources[0].note()
    return try sources[0].tail.readPlaced { bytes, end in body(bytes, Place(source: 0, file: file, end: end)) }
  }

  /// Stops where a file's lines are used up and more may be there: an earlier one may be among them.
  private mutating func readMerged(_ body: (Span<UInt8>, Place) -> Bool) throws(SystemError) -> Bool {
    var order: [(rank: UInt64, source: Int)] = []
    for index in sources.indices {
      try sources[index].fill()
      seen.formUnion(sources[index].tail.identities)
      if let rank = sources[index].rank { order.append((rank, index)) }
    }
    if order.isEmpty { return false }
    // The last one is next: of two at the same time the first file's.
    order.sort { ($0.rank, $0.source) > ($1.rank, $1.source) }
    while let (_, index) = order.popLast() {
      guard sources[index].take(index, body) else { return true }
      guard let rank = sources[index].rank else {
        if sources[index].isAtEnd { continue } else { return true }
      }
      var (low, high) = (0, order.count)
      while low < high {
        let middle = (low + high) / 2
        if (order[middle].rank, order[middle].source) > (rank, index) { low = middle + 1 } else { high = middle }
      }
      order.insert((rank, index), at: low)
    }
    return true
  }

  // MARK: - Finding files

  private mutating func lookAgain() {
    guard !folders.isEmpty || !waiting.isEmpty else { return }
    let nowMs = Clock.monotonicMs()
    if nowMs - lookedMs >= Self.lookEveryMs { look() }
  }

  private mutating func look() {
    lookedMs = Clock.monotonicMs()
    problem = nil
    var left: [String] = []
    for path in waiting {
      do throws(SystemError) { try open(path) } catch {
        if problem == nil { problem = (path, error) }
        left.append(path)
      }
    }
    waiting = left
    var present: Set<FileIdentity> = []
    for folder in folders {
      // A folder that is gone for the moment is looked at again.
      let names = (try? FolderNames.visible(in: folder)) ?? []
      for name in names where Self.endings.contains(where: name.hasSuffix) {
        let path = folder.hasSuffix("/") ? folder + name : "\(folder)/\(name)"
        guard !FolderNames.isFolder(path), let file = FileStamp(path: path)?.identity else { continue }
        present.insert(file)
        // A file that cannot be opened is tried again; one of another user must not end the view.
        if !isKnown(path, file) { try? open(path) }
      }
    }
    // The number of a deleted file may be another's by now.
    if !folders.isEmpty { seen.formIntersection(present.union(sources.compactMap(\.tail.identity))) }
  }

  /// A source follows its path over rotations; a rotated file under its new name has been read.
  private func isKnown(_ path: String, _ file: FileIdentity) -> Bool {
    seen.contains(file) || sources.contains { $0.path == path || $0.tail.identity == file }
  }

  private func isRead(_ file: FileIdentity) -> Bool {
    seen.contains(file) || sources.contains { $0.tail.identities.contains(file) }
  }

  private mutating func open(_ path: String) throws(SystemError) {
    var (tail, isWhole) = try cursor.open(path, chunkBytes: chunkBytes)
    // A rotated file of a folder may be read by its own name already: then this path's own file is all there is to do.
    if let file = tail.identity, isRead(file) {
      tail = try LogTail(path: path, chunkBytes: chunkBytes)
      guard let file = tail.identity, !isRead(file) else { return }
    }
    if !isWhole { missing.append(path) }
    seen.formUnion(tail.identities)
    sources.append(LogSource(path: path, tail: tail))
  }
}

/// One file of several: what was read of it and has not had its turn.
struct LogSource {
  private static let beginningBytes = 256

  let path: String
  var tail: LogTail
  private(set) var isAtEnd = false
  /// First bytes, which tell a file from another one of the same number: of the current file and the one before.
  private(set) var beginnings: [FileIdentity: [UInt8]] = [:]
  private var bytes: [UInt8] = []
  private var lines: [(end: Int, place: UInt64, rank: UInt64)] = []
  private var index = 0
  private var start = 0
  private var file = FileIdentity(device: 0, inode: 0)

  init(path: String, tail: LogTail) { (self.path, self.tail) = (path, tail) }

  /// Of its next line; one without a time keeps its place behind the one before it.
  var rank: UInt64? { index < lines.count ? lines[index].rank : nil }

  /// Reads until there is a line, or there is nothing more by now.
  mutating func fill() throws(SystemError) {
    guard index == lines.count else { return }
    var last = lines.last?.rank ?? 0
    bytes.removeAll(keepingCapacity: true)
    lines.removeAll(keepingCapacity: true)
    (index, start, isAtEnd) = (0, 0, false)
    while lines.isEmpty {
      file = note()
      // Out of the value for the time of the call: the closure must not reach into it.
      var read: [UInt8] = []
      var found: [(end: Int, place: UInt64, rank: UInt64)] = []
      swap(&read, &bytes)
      swap(&found, &lines)
      let hasMore = try tail.readPlaced { line, end in
        last = LogTime.rank(line) ?? last
        read.append(line)
        found.append((read.count, end, last))
        return true
      }
      swap(&read, &bytes)
      swap(&found, &lines)
      if !hasMore {
        isAtEnd = true
        return
      }
    }
  }

  /// Hands out the next line; what `body` says.
  mutating func take(_ source: Int, _ body: (Span<UInt8>, LogFiles.Place) -> Bool) -> Bool {
    let line = lines[index]
    index += 1
    defer { start = line.end }
    return body(
      bytes.span.extracting(start..<line.end), LogFiles.Place(source: source, file: file, end: line.place))
  }

  /// The file that is read now, with its beginning as far as it is there.
  mutating func note() -> FileIdentity {
    guard let file = tail.identity else { return FileIdentity(device: 0, inode: 0) }
    guard (beginnings[file]?.count ?? 0) < Self.beginningBytes else { return file }
    if beginnings[file] == nil, beginnings.count > 1 { beginnings = beginnings.filter { $0.key == self.file } }
    self.file = file
    beginnings[file] = tail.beginning(Self.beginningBytes)
    return file
  }
}

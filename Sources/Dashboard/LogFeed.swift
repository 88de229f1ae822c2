// The log on its way into figures, a chunk a turn; and what is to be said of the file meanwhile.
// It relies on LogView.LogTail to follow the file; one that is not there yet is looked for again.
package import Kernel
package import LogView
package import Policy
package import Wire

package struct LogFeed {
  private enum State: String {
    /// There is no file yet, or it cannot be opened.
    case waiting
    /// Lines that were there at the start are being read.
    case reading
    case following
    /// The file was taken away and no new one is there: the old one is followed still.
    case gone
    /// Reading failed; it is tried again.
    case failed
  }

  private let path: String
  package private(set) var figures: Figures
  private var tail: LogTail?
  private var line = LogLine()
  private var unread = 0
  private var state = State.waiting
  private var problem: SystemError?
  private var isLoaded = false

  package init(path: String, policy: Policy?) {
    self.path = path
    figures = Figures(policy: policy)
  }

  /// For a log that must be there: why it cannot be opened.
  package mutating func open() throws(SystemError) {
    tail = try LogTail(path: path)
    state = .reading
  }

  /// True if more may come behind the end of the file; a pipe has one end.
  package var canGrow: Bool { tail?.canGrow ?? true }

  /// Lines that could not be read.
  package var broken: Int { unread + (tail?.torn ?? 0) }

  /// Why it cannot be read at this moment.
  package var problemText: String? { state == .waiting || state == .failed ? problem.map { "\($0)" } : nil }

  /// Reads a chunk, 256 KiB at most. False: there is nothing more by now.
  package mutating func advance() -> Bool {
    do throws(SystemError) {
      if tail == nil { try open() }
      guard try readChunk() else {
        isLoaded = true
        state = FileStamp(path: path) == nil && canGrow ? .gone : .following
        return false
      }
      state = isLoaded ? .following : .reading
      return true
    } catch {
      problem = error
      state = tail == nil ? .waiting : .failed
      return false
    }
  }

  /// The rest behind the last line's end is no line.
  package mutating func finish() { tail?.finish() }

  private mutating func readChunk() throws(SystemError) -> Bool {
    try tail?.read { bytes in
      if line.read(bytes) { figures.add(line) } else { unread += 1 }
      return true
    } ?? false
  }

  var json: JSONValue {
    var members = [
      JSONMember("path", .text(TerminalText.safe(path.utf8))), JSONMember("state", .text(state.rawValue)),
      JSONMember("lines", .number(figures.lines)), JSONMember("broken", .number(broken)),
    ]
    if let problemText { members.append(JSONMember("problem", .text(problemText))) }
    return .object(members)
  }

  /// All that is said at one moment, but for the moment itself.
  package func members(client: String?, span: TimeSpan, nowMs: Int64) -> [JSONMember] {
    [JSONMember("log", json)] + Snapshot(figures, client: client, span: span, nowMs: nowMs).members
  }
}

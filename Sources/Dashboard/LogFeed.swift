// The log on its way into figures, a chunk a turn; and what is to be said of its files meanwhile.
// It relies on LogView.LogFiles to follow files and folders; one that is not there yet is looked for again.
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

  private let paths: [String]
  package private(set) var figures: GateFigures
  private var files: LogFiles?
  private var line = LogLine()
  private var unread = 0
  private var state = State.waiting
  private var problem: SystemError?
  private var isLoaded = false

  package init(paths: [String], policy: Policy?) {
    self.paths = paths
    figures = GateFigures(policy: policy)
  }

  /// For logs that must be there: why one cannot be opened.
  package mutating func open() throws(SystemError) { try open(waits: false) }

  private mutating func open(waits: Bool) throws(SystemError) {
    files = try LogFiles(paths, waits: waits)
    state = .reading
  }

  /// True if more may come behind the end; a pipe has one end.
  package var canGrow: Bool { files?.canGrow ?? true }

  /// Folders without a log, and nothing else.
  package var isEmpty: Bool { files?.isEmpty ?? true }

  /// Lines that could not be read.
  package var broken: Int { unread + (files?.torn ?? 0) }

  /// Why it cannot be read at this moment.
  package var problemText: String? {
    if state == .waiting || state == .failed, let problem { return "\(problem)" }
    return files?.problem.map { paths.count > 1 ? "\($0.path): \($0.error)" : "\($0.error)" }
  }

  /// Reads what is there, a chunk of each file at most. False: there is nothing more by now.
  package mutating func advance() -> Bool {
    do throws(SystemError) {
      if files == nil { try open(waits: true) }
      let hasMore = try readChunk()
      if files?.isEmpty == true {
        (state, problem) = (.waiting, files?.problem?.error)
      } else if hasMore {
        state = isLoaded ? .following : .reading
      } else {
        isLoaded = true
        state = isGone ? .gone : .following
      }
      return hasMore
    } catch {
      problem = error
      state = files == nil ? .waiting : .failed
      return false
    }
  }

  private var isGone: Bool { canGrow && paths.contains { FileStamp(path: $0) == nil } }

  /// The rest behind the last line's end is no line.
  package mutating func finish() { files?.finish() }

  private mutating func readChunk() throws(SystemError) -> Bool {
    try files?.read { bytes in
      if line.read(bytes) { figures.add(line) } else { unread += 1 }
      return true
    } ?? false
  }

  /// The logs that are read, in a few words.
  package static func name(_ paths: [String]) -> String {
    paths.count == 1 ? paths[0] : "\(paths.first ?? "-") and \(paths.count - 1) more"
  }

  var json: JSONValue {
    var members = [
      JSONMember("path", .text(TerminalText.safe(Self.name(paths).utf8))), JSONMember("state", .text(state.rawValue)),
      JSONMember("lines", .number(figures.all.lines)), JSONMember("broken", .number(broken)),
    ]
    if let problemText { members.append(JSONMember("problem", .text(problemText))) }
    return .object(members)
  }

  /// All that is said at one moment, but for the moment itself.
  package func members(gate: String?, client: String?, span: TimeSpan, nowMs: Int64) -> [JSONMember] {
    [JSONMember("log", json)] + Snapshot(figures, gate: gate, client: client, span: span, nowMs: nowMs).members
  }
}

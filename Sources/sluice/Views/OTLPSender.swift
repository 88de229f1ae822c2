// `sluice log --otlp`: lines go to a collector in batches, and a cursor file remembers what the collector has taken.
// It relies on the collector's answer alone: the cursor moves behind it, so a line may come twice and none is lost.
import Flow
import Gate
import Intercept
import Kernel
import LogView
import Policy
import Wire

struct OTLPSender {
  /// The time that a line waits for others to share its request.
  private static let gatherMs: UInt64 = 1000
  private static let pauseMs: UInt32 = 50
  /// OTLP 1.x, "OTLP/HTTP Response", "Retryable Response Codes".
  private static let retried: Set<Int> = [429, 502, 503, 504]
  private static let firstWaitMs: UInt64 = 250
  private static let waitMaxMs: UInt64 = 30_000
  private static let cursorBytesMax = 1 << 20

  /// The lines of one request, and how far each file is read with them.
  private struct Load {
    var batch = OTLPBatch()
    var places: [LogFiles.Place] = []

    mutating func note(_ place: LogFiles.Place) {
      if let last = places.last, last.source == place.source, last.file == place.file {
        places[places.count - 1] = place
      } else {
        places.removeAll { $0.source == place.source && $0.file == place.file }
        places.append(place)
      }
    }
  }

  let post: CollectorPost
  let filter: LogFilter
  let cursorPath: String?
  private var cursor = LogCursor()
  private var sent = 0
  private var broken = BrokenLines()

  init(post: CollectorPost, filter: LogFilter, cursorPath: String?) throws {
    (self.post, self.filter, self.cursorPath) = (post, filter, cursorPath)
    guard let cursorPath, FileStamp(path: cursorPath) != nil else { return }
    let bytes = FileBytes.read(cursorPath, bytesMax: Self.cursorBytesMax) ?? []
    // Broken JSON, or JSON of something else: both are no cursor.
    guard let json = try? JSONValue.parse(bytes), let cursor = LogCursor(json) else {
      try fail("\(cursorPath) is not a cursor file of this version; remove it to send the log from its beginning")
    }
    self.cursor = cursor
  }

  /// `follows`: files that are not there yet are waited for, and what is written later is sent too.
  mutating func run(_ paths: [String], follows: Bool) throws {
    var files: LogFiles
    do { files = try LogFiles(paths, waits: follows, cursor: cursor) } catch {
      try fail("\(error); give --log FILE that can be read")
    }
    if let problem = files.problem { Messages.warn("\(problem.path): \(problem.error); it is waited for") }
    for path in files.missing {
      Messages.warn(
        "\(path): the file that was sent last is gone, and what it held behind the cursor with it; "
          + "leave rotated logs uncompressed until they are sent")
    }
    var load = Load()
    var sinceMs: UInt64 = 0
    while true {
      var full: [Load] = []
      let hasMore = try read(&files, &load, &full)
      for one in full { try send(one, files) }
      if !full.isEmpty { sinceMs = 0 }
      if load.batch.count > 0, sinceMs == 0 { sinceMs = Clock.monotonicMs() }
      if hasMore { continue }
      let isLast = !follows || !files.canGrow
      if isLast || load.batch.count == 0 || Clock.monotonicMs() - sinceMs >= Self.gatherMs {
        try send(load, files)
        load = Load()
        sinceMs = 0
      }
      if isLast { break }
      Clock.pause(ms: Self.pauseMs)
    }
    files.finish()
    broken.say(files)
    Messages.say("\(sent) line\(sent == 1 ? "" : "s") sent to \(post.url)")
  }

  /// One chunk; `full` gets each load that is ready.
  private mutating func read(_ files: inout LogFiles, _ load: inout Load, _ full: inout [Load]) throws -> Bool {
    var line = LogLine()
    var unread = 0
    defer { broken.count += unread }
    do {
      return try files.readPlaced { bytes, place in
        if !line.read(bytes) { unread += 1 } else if filter.matches(line) { load.batch.add(line) }
        load.note(place)
        if load.batch.isFull {
          full.append(load)
          load = Load()
        }
        return true
      }
    } catch { try fail("\(error)") }
  }

  private mutating func send(_ load: Load, _ files: LogFiles) throws {
    if load.batch.count > 0 {
      try deliver(load.batch.request)
      sent += load.batch.count
    }
    guard let cursorPath, !load.places.isEmpty else { return }
    let before = cursor
    for place in load.places {
      cursor.note(
        LogCursor.Entry(
          path: files.path(place.source), file: place.file, offset: place.end, beginning: files.beginning(place)))
    }
    guard cursor != before else { return }
    do { try NewFile.replace(cursorPath, cursor.json.line, mode: 0o600) } catch {
      try fail("\(error); the cursor must be writable, or lines are sent again and again")
    }
  }

  /// Until the collector has taken it.
  private func deliver(_ request: [UInt8]) throws {
    var waitMs = Self.firstWaitMs
    var hasWarned = false
    while true {
      var problem = ""
      var answer: CollectorPost.Answer?
      do throws(CollectorPost.Problem) { answer = try post.send(request, to: addresses()) } catch {
        problem = error.description
      }
      if let answer {
        if (200..<300).contains(answer.status) {
          if hasWarned { Messages.say("\(post.url.target) accepts lines again") }
          return Self.warnOfPart(answer.body)
        }
        problem = "\(post.url) answered \(answer.status)"
        guard Self.retried.contains(answer.status) else {
          let why = Self.message(answer.body).map { ": \($0)" } ?? ""
          try fail("\(problem)\(why); nothing was skipped: fix the cause, and start again")
        }
      }
      let afterMs = answer?.retryAfterSeconds.map { min($0, 3600) * 1000 }
      if !hasWarned { Messages.warn("\(problem); lines are kept and sent again until they are accepted") }
      hasWarned = true
      // Spread, so that many gates do not come back at once.
      Clock.pause(ms: UInt32(clamping: afterMs ?? waitMs * UInt64.random(in: 80...120) / 100))
      waitMs = min(waitMs * 2, Self.waitMaxMs)
    }
  }

  /// Looked up for each request: a collector may move.
  private func addresses() throws(CollectorPost.Problem) -> [SocketAddress] {
    let (host, port) = (post.url.target.host, post.url.target.port)
    guard case .name(let name) = host else {
      if case .address(let address) = host { return [SocketAddress(address, port: port)] }
      return []
    }
    let found = NameOnce.addresses(of: name)
    guard !found.isEmpty else {
      throw CollectorPost.Problem(description: "\(name) has no address, or no name server answered")
    }
    return found.map { SocketAddress($0, port: port) }
  }

  /// A collector that took a part must not be sent the rest again (OTLP, "Partial Success").
  private static func warnOfPart(_ body: [UInt8]) {
    // An answer of another kind says nothing of a part.
    guard let json = try? JSONValue.parse(body), let part = json["partialSuccess"] else { return }
    // 64-bit numbers are texts in protobuf's JSON, and some write numbers all the same.
    let rejected =
      part["rejectedLogRecords"]?.asNumber ?? part["rejectedLogRecords"]?.asText.flatMap { Int.init($0) } ?? 0
    guard rejected > 0 else { return }
    let why = part["errorMessage"]?.asText.map { TerminalText.safe($0.utf8.prefix(300)) } ?? "it did not say why"
    Messages.warn("the collector rejected \(rejected) record\(rejected == 1 ? "" : "s") for good: \(why)")
  }

  private static func message(_ body: [UInt8]) -> String? {
    // An answer of another kind says nothing here.
    (try? JSONValue.parse(body))?["message"]?.asText.map { TerminalText.safe($0.utf8.prefix(300)) }
  }
}

extension OTLPSender {
  private static let headerBytesMax = 64 << 10

  /// Lines `Name: value` of a file, so that no other user sees them among the arguments.
  static func headers(_ path: String) throws -> [String] {
    guard let bytes = FileBytes.read(path, bytesMax: headerBytesMax) else {
      try fail("\(path) cannot be read (it must exist, be readable, and be at most 64 KiB)")
    }
    var lines: [String] = []
    for line in bytes.split(separator: UInt8(ascii: "\n")) {
      let text = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
      guard let colon = text.firstIndex(of: UInt8(ascii: ":")), colon > text.startIndex,
        text[..<colon].allSatisfy({ (0x21..<0x7f).contains($0) }), text.allSatisfy({ $0 >= 0x20 && $0 != 0x7f })
      else { try fail("\(path): each line is a header, NAME: VALUE") }
      lines.append(String(decoding: text, as: UTF8.self))
    }
    return lines
  }
}

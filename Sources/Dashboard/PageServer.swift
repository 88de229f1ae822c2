// The dashboard's server: one loop that follows the log, answers browsers, and tells open pages what changed.
// It relies on PageRules for who may ask what; a page that is away misses nothing, since each event is the whole state.
package import HTTPService
package import Kernel
import LogView
package import Wire

package final class PageServer: Source, LoopDelegate, HTTPHandler {
  /// A page that is open: its figures, and which of them it was sent last.
  private struct Stream {
    let connection: HTTPConnection
    let choice: FiguresChoice
    var version: UInt64 = 0
  }

  private static let connectionsMax = 64
  private static let streamsMax = 16
  /// How long a log that is silent is left alone.
  private static let pauseMs: UInt64 = 50
  private static let chunksATurn = 8
  private static let eventEveryMs: UInt64 = 1000
  /// A page that hears nothing for three of them says so.
  private static let beatEveryMs: UInt64 = 5000

  private let loop: Loop
  private let rules: PageRules
  private var listener: HTTPListener?
  private var slot = Slot.none
  private var feed: LogFeed
  private let approvals: ApprovalDesk?
  private var streams: [ObjectIdentifier: Stream] = [:]
  private var sentMs: UInt64 = 0
  private var beatMs: UInt64 = 0
  /// Figures that streams of one choice were sent last: they are made once, and sent when they are new.
  private var latest: [FiguresChoice: (version: UInt64, figures: [UInt8])] = [:]
  private var version: UInt64 = 0

  package init(
    _ listener: consuming Descriptor, _ rules: PageRules, _ feed: LogFeed, approvals: ApprovalDesk? = nil
  ) throws(SystemError) {
    loop = try Loop()
    self.rules = rules
    self.feed = feed
    self.approvals = approvals
    slot = loop.register(self)
    if let approvals { try loop.watchMailbox(approvals.fd) }
    self.listener = try HTTPListener(
      listener, on: loop,
      HTTPListener.Bounds(connections: Self.connectionsMax, headBytes: PageRules.headBytesMax), self)
  }

  package var url: String { rules.url }

  package func run() -> Never {
    loop.again(slot)
    loop.run(self)
    preconditionFailure("nothing stops this loop")
  }

  // MARK: - Browsers

  package func refusal(_ status: Int, _ text: String) -> [UInt8] { PageReply.problem(status, text, isHEAD: false) }

  package func ended(_ connection: HTTPConnection) {
    streams[ObjectIdentifier(connection)] = nil
    approvals?.ended(connection)
  }

  package func answer(_ connection: HTTPConnection, _ head: RequestHead, _ bytes: Span<UInt8>) {
    let isHEAD = head.isHEAD
    if let approvals, rules.misdirection(head) == nil, approvals.answers(connection, head, bytes) { return }
    switch rules.answer(head, bytes) {
    case .file(let file): connection.reply(PageReply.whole(200, type: file.type, file.bytes, isHEAD: isHEAD))
    case .figures(let choice):
      let body = stamped(figures(choice))
      connection.reply(PageReply.whole(200, type: "application/json", body, isHEAD: isHEAD))
    case .events(let choice): beginStream(connection, choice, isHEAD: isHEAD)
    case .problem(let status, let text): connection.reply(PageReply.problem(status, text, isHEAD: isHEAD))
    }
  }

  private func beginStream(_ connection: HTTPConnection, _ choice: FiguresChoice, isHEAD: Bool) {
    if isHEAD { return connection.reply(PageReply.stream()) }
    guard streams.count < Self.streamsMax else {
      return connection.reply(
        PageReply.problem(503, "\(Self.streamsMax) pages are open; close one", isHEAD: false))
    }
    let key = ObjectIdentifier(connection)
    streams[key] = Stream(connection: connection, choice: choice)
    connection.beginStream(PageReply.stream())
    if connection.isIdle { tell(key) }
  }

  // MARK: - Figures

  /// Without the moment: what is the same is not sent again.
  private func figures(_ choice: FiguresChoice) -> [UInt8] {
    var out: [UInt8] = []
    JSONValue.object(feed.members(gate: choice.gate, client: choice.client, span: choice.span, nowMs: Clock.wallMs()))
      .append(to: &out)
    return out
  }

  /// The moment first.
  private func stamped(_ figures: [UInt8]) -> [UInt8] {
    Array(#"{"now_ms":\#(Clock.wallMs()),"#.utf8) + figures.dropFirst()
  }

  private func tell(_ key: ObjectIdentifier) {
    guard let stream = streams[key] else { return }
    let known = latest[stream.choice] ?? renew(stream.choice)
    guard stream.version != known.version else { return }
    streams[key]?.version = known.version
    stream.connection.sendEvent(PageReply.event("figures", stamped(known.figures)))
  }

  private func renew(_ choice: FiguresChoice) -> (version: UInt64, figures: [UInt8]) {
    let figures = figures(choice)
    if let known = latest[choice], known.figures == figures { return known }
    version += 1
    latest[choice] = (version, figures)
    return (version, figures)
  }

  /// Once a second: what changed, to those who have taken what came before.
  private func publish() {
    let nowMs = Clock.monotonicMs()
    guard nowMs - sentMs >= Self.eventEveryMs else { return }
    sentMs = nowMs
    let choices = Set(streams.values.map(\.choice))
    latest = latest.filter { choices.contains($0.key) }
    for choice in choices { _ = renew(choice) }
    let beats = nowMs - beatMs >= Self.beatEveryMs
    if beats { beatMs = nowMs }
    // A stream that breaks while it is sent to leaves the table.
    for (key, stream) in Array(streams) where stream.connection.isIdle {
      tell(key)
      if beats, stream.connection.isIdle { stream.connection.sendEvent(PageReply.event("beat", Array("{}".utf8))) }
    }
  }

  // MARK: - The log

  package func resume() { follow() }
  package func deadlinePassed() { follow() }
  package func ready(_ readiness: Readiness, tag: UInt8) {}

  private func follow() {
    var hasMore = true
    for _ in 0..<Self.chunksATurn where hasMore { hasMore = feed.advance() }
    publish()
    if hasMore { loop.again(slot) } else { loop.setDeadline(slot, atMs: Clock.monotonicMs() + Self.pauseMs) }
  }

  package func turnBegan() {}
  package func mailArrived() { approvals?.mailArrived() }
  package func turnEnded() {}
}

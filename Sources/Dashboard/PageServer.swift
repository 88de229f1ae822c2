// The dashboard's server: one loop that follows the log, answers browsers, and tells open pages what changed.
// It relies on PageRules for who may ask what; a page that is away misses nothing, since each event is the whole state.
package import Kernel
import LogView
import Wire

package final class PageServer: Source, LoopDelegate {
  private static let connectionsMax = 64
  private static let streamsMax = 16
  /// How long a log that is silent is left alone.
  private static let pauseMs: UInt64 = 50
  private static let chunksATurn = 8
  private static let eventEveryMs: UInt64 = 1000
  /// A page that hears nothing for three of them says so.
  private static let beatEveryMs: UInt64 = 5000

  let loop: Loop
  let scratch = Scratch()
  private let rules: PageRules
  private let listener: Descriptor
  private let acceptor: Acceptor
  private var slot = Slot.none
  private var feed: LogFeed
  private var connections: [Int: PageConnection] = [:]
  private var sentMs: UInt64 = 0
  private var beatMs: UInt64 = 0
  /// What streams of one choice were sent last, so that it is made once and sent when it is new.
  private var latest: [FiguresChoice: (version: UInt64, figures: [UInt8])] = [:]
  private var version: UInt64 = 0

  package init(_ listener: consuming Descriptor, _ rules: PageRules, _ feed: LogFeed) throws(SystemError) {
    loop = try Loop()
    let fd = listener.raw
    self.listener = listener
    self.rules = rules
    self.feed = feed
    acceptor = Acceptor()
    acceptor.server = self
    slot = loop.register(self)
    acceptor.slot = try loop.register(acceptor, watching: fd)
  }

  package var url: String { rules.url }

  package func run() -> Never {
    loop.again(slot)
    loop.run(self)
    preconditionFailure("nothing stops this loop")
  }

  // MARK: - Browsers

  fileprivate func acceptAll() {
    loop.acceptAll(at: acceptor.slot, { Socket.accept(listener.raw) }) { socket, _ in accepted(socket) }
  }

  private func accepted(_ socket: consuming Descriptor) {
    guard connections.count < Self.connectionsMax else { return }
    let connection = PageConnection(socket, self)
    if let slot = connection.begin() { connections[slot.index] = connection }
  }

  func ended(_ slot: Slot) {
    connections[slot.index] = nil
    loop.release(slot)
  }

  func answer(_ connection: PageConnection, _ head: RequestHead, _ bytes: Span<UInt8>) {
    let isHEAD = head.isHEAD
    switch rules.answer(head, bytes) {
    case .file(let file): connection.reply(PageReply.whole(200, type: file.type, file.bytes, isHEAD: isHEAD))
    case .figures(let choice):
      let body = stamped(figures(choice))
      connection.reply(PageReply.whole(200, type: "application/json", body, isHEAD: isHEAD))
    case .events(let choice): beginStream(connection, choice, isHEAD: isHEAD)
    case .problem(let status, let text): connection.reply(PageReply.problem(status, text, isHEAD: isHEAD))
    }
  }

  private func beginStream(_ connection: PageConnection, _ choice: FiguresChoice, isHEAD: Bool) {
    if isHEAD { return connection.reply(PageReply.stream()) }
    guard connections.values.count(where: \.isStream) < Self.streamsMax else {
      return connection.reply(
        PageReply.problem(503, "\(Self.streamsMax) pages are open; close one", isHEAD: false))
    }
    connection.stream(choice)
    if connection.isIdle { tell(connection) }
  }

  // MARK: - Figures

  /// Without the moment: what is the same is not sent again.
  private func figures(_ choice: FiguresChoice) -> [UInt8] {
    var out: [UInt8] = []
    JSONValue.object(feed.members(client: choice.client, span: choice.span, nowMs: Clock.wallMs())).append(to: &out)
    return out
  }

  /// The moment first.
  private func stamped(_ figures: [UInt8]) -> [UInt8] {
    Array(#"{"now_ms":\#(Clock.wallMs()),"#.utf8) + figures.dropFirst()
  }

  private func tell(_ connection: PageConnection) {
    let known = latest[connection.choice] ?? renew(connection.choice)
    guard connection.version != known.version else { return }
    connection.version = known.version
    connection.send(PageReply.event("figures", stamped(known.figures)))
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
    let streams = connections.values.filter(\.isStream)
    let choices = Set(streams.map(\.choice))
    latest = latest.filter { choices.contains($0.key) }
    for choice in choices { _ = renew(choice) }
    let beats = nowMs - beatMs >= Self.beatEveryMs
    if beats { beatMs = nowMs }
    for stream in streams where stream.isIdle {
      tell(stream)
      if beats, stream.isIdle { stream.send(PageReply.event("beat", Array("{}".utf8))) }
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
  package func mailArrived() {}
  package func turnEnded() {}
}

/// The listener's place on the loop.
private final class Acceptor: Source {
  unowned var server: PageServer?
  var slot = Slot.none

  func ready(_ readiness: Readiness, tag: UInt8) { server?.acceptAll() }
  func deadlinePassed() { server?.acceptAll() }
  func resume() { server?.acceptAll() }
}

// One body on its way through the gate in HTTP/1.1: as it came, or piece by piece through a filter.
// It relies on Flow.BodyMeter for where a body ends; what a filter has seen is framed anew.
import Flow
import Policy
import Wire

struct BodyPipe {
  enum Step {
    /// All bytes were of the body.
    case more
    /// The body ended behind this many of the bytes.
    case ended(Int)
    /// The filter has taken this many of the bytes, and takes no more before it has been asked again: see `ask`.
    case held(Int)
    /// The filter has ended it: what follows is not wanted.
    case cutShort
    case malformed
    case refused(Reason, detail: String?)
    case sinkBroke
  }

  /// One side of a message's filter.
  struct Filter {
    var body: (_ chunk: inout [UInt8], _ isLast: Bool) -> FilterVerdict
    var trailers: (_ fields: inout MessageHead) -> FilterVerdict = { _ in .pass }

    static func request(_ filter: any RequestFilter) -> Self {
      Self(
        body: { filter.requestBody(&$0, isLast: $1) }, trailers: { filter.requestTrailers($0) })
    }

    static func answer(_ filter: any RequestFilter) -> Self {
      Self(
        body: { filter.answerBody(&$0, isLast: $1) },
        trailers: {
          filter.answerTrailers(&$0)
          return .pass
        })
    }
  }

  private var meter = BodyMeter(.none)
  private var scanner: ChunkedScanner?
  private var writesChunks = false
  /// Gives the head that goes out in front of the first bytes, and whether the body goes out in chunks; nil when it is
  /// no head any more.
  typealias HeldHead = () -> (bytes: [UInt8], writesChunks: Bool)?
  private var head: HeldHead?
  /// The filter wants to be asked again; and whether what it has was the last piece.
  private(set) var isHeld = false
  private var isLastHeld = false

  init() {}

  /// `writesChunks`: what a filter lets through is framed as chunks, whatever it was. `head`: it waits for the first
  /// bytes.
  init(_ length: BodyLength, writesChunks: Bool = false, head: HeldHead? = nil) {
    meter = BodyMeter(length)
    if case .chunked = length { scanner = ChunkedScanner() }
    self.writesChunks = writesChunks
    self.head = head
  }

  var hasEnded: Bool { meter.hasEnded && !isHeld }
  var endsWithConnection: Bool { meter.endsWithConnection }
  /// Nothing of the message has gone out.
  var holdsHead: Bool { head != nil }

  /// As it came.
  mutating func pass(_ bytes: Span<UInt8>, to sink: any PlainStream) -> Step {
    switch meter.follow(bytes) {
    case .more: return write(bytes, to: sink) ? .more : .sinkBroke
    case .ended(let count): return write(bytes.extracting(first: count), to: sink) ? .ended(count) : .sinkBroke
    case .malformed: return .malformed
    }
  }

  private func write(_ bytes: Span<UInt8>, to sink: any PlainStream) -> Bool {
    if meter.leftOut.isEmpty { return sink.write(bytes) }
    var kept: [UInt8] = []
    kept.append(bytes, leavingOut: meter.leftOut)
    return sink.write(kept)
  }

  /// The same into memory. Broken framing takes nothing: it is met again, and told, where the body is moved.
  mutating func pass(_ bytes: Span<UInt8>, into out: inout [UInt8]) -> Step {
    var next = meter
    let progress = next.follow(bytes)
    switch progress {
    case .more: out.append(bytes, leavingOut: next.leftOut)
    case .ended(let count): out.append(bytes.extracting(first: count), leavingOut: next.leftOut)
    case .malformed: return .malformed
    }
    meter = next
    if case .ended(let count) = progress { return .ended(count) }
    return .more
  }

  mutating func pass(_ bytes: Span<UInt8>, to sink: any PlainStream, _ filter: Filter) -> Step {
    guard scanner != nil else {
      let progress = meter.follow(bytes)
      switch progress {
      case .more: return give(bytes, false, to: sink, filter) { .held(bytes.count) } ?? .more
      case .ended(let count):
        return give(bytes.extracting(first: count), true, to: sink, filter) { .held(count) } ?? .ended(count)
      case .malformed: return .malformed
      }
    }
    var index = 0
    while true {
      switch scanner?.next(bytes, from: index) ?? .malformed {
      case .data(let range):
        index = range.upperBound
        if let end = give(bytes.extracting(range), false, to: sink, filter, { .held(index) }) { return end }
      case .needsMore: return .more
      case .malformed: return .malformed
      case .done(let consumed):
        meter = BodyMeter(.none)
        return give(bytes.extracting(0..<0), true, to: sink, filter) { .held(consumed) } ?? .ended(consumed)
      }
    }
  }

  /// Asks a filter again that holds the body; `.more` or `.ended(0)` when it goes on.
  mutating func ask(_ sink: any PlainStream, _ filter: Filter) -> Step {
    isHeld = false
    let isLast = isLastHeld
    return give([UInt8]().span, isLast, to: sink, filter) { .held(0) } ?? (isLast ? .ended(0) : .more)
  }

  /// The upstream sends nothing: the filter lets go of what it holds, and a head that waits goes out with it, or alone.
  mutating func pause(_ sink: any PlainStream, _ filter: Filter) -> Step {
    give([UInt8]().span, false, to: sink, filter, releasesHead: true) { .held(0) } ?? .more
  }

  /// A body that lasts until its connection ends has done so.
  mutating func end(to sink: any PlainStream, _ filter: Filter?) -> Step? {
    meter = BodyMeter(.none)
    guard let filter else { return nil }
    return give([UInt8]().span, true, to: sink, filter) { .held(0) }
  }

  private mutating func give(
    _ bytes: Span<UInt8>, _ isLast: Bool, to sink: any PlainStream, _ filter: Filter, releasesHead: Bool = false,
    _ held: () -> Step
  ) -> Step? {
    var chunk: [UInt8] = []
    chunk.append(bytes)
    var end: Step?
    var ends = isLast
    var trailers: [UInt8]?
    switch filter.body(&chunk, isLast) {
    case .pass, .collect:
      if isLast, let kept = scanner?.trailers, !kept.isEmpty {
        var fields = MessageHead(trailers: kept)
        if case .refuse(let reason, let detail) = filter.trailers(&fields) { return .refused(reason, detail: detail) }
        var text: [UInt8] = []
        guard fields.appendTrailers(to: &text) else { return .malformed }
        trailers = text
      }
    case .refuse(let reason, let detail): return .refused(reason, detail: detail)
    case .wait:
      (isHeld, isLastHeld, ends) = (true, isLast, false)
      end = held()
    case .end:
      (end, ends) = (.cutShort, true)
      meter = BodyMeter(.none)
    }
    return write(chunk, ends: ends, trailers, sendsHead: releasesHead && !isHeld, to: sink) ?? end
  }

  private mutating func write(
    _ chunk: [UInt8], ends: Bool, _ trailers: [UInt8]?, sendsHead: Bool, to sink: any PlainStream
  ) -> Step? {
    var framed: [UInt8] = []
    if let head, ends || sendsHead || !chunk.isEmpty {
      guard let leaving = head() else { return .malformed }
      (framed, writesChunks) = leaving
      self.head = nil
    }
    if writesChunks {
      if !chunk.isEmpty {
        framed += String(chunk.count, radix: 16).utf8
        framed.append("\r\n")
        framed += chunk
        framed.append("\r\n")
      }
      if ends {
        framed.append("0\r\n")
        framed += trailers ?? [0x0d, 0x0a]
      }
    } else {
      framed = framed.isEmpty ? chunk : framed + chunk
    }
    return sink.write(framed) ? nil : .sinkBroke
  }
}

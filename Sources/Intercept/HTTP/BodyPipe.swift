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
    case malformed
    case refused(Reason, detail: String?)
    case sinkBroke
  }

  typealias Filter = (_ chunk: inout [UInt8], _ isLast: Bool) -> FilterVerdict

  private var meter = BodyMeter(.none)
  private var scanner: ChunkedScanner?
  private var writesChunks = false

  init() {}

  /// `writesChunks`: what a filter lets through is framed as chunks, whatever it was.
  init(_ length: BodyLength, writesChunks: Bool = false) {
    meter = BodyMeter(length)
    if case .chunked = length { scanner = ChunkedScanner() }
    self.writesChunks = writesChunks
  }

  var hasEnded: Bool { meter.hasEnded }
  var endsWithConnection: Bool { meter.endsWithConnection }

  /// As it came.
  mutating func pass(_ bytes: Span<UInt8>, to sink: any PlainStream) -> Step {
    switch meter.follow(bytes) {
    case .more: return sink.write(bytes) ? .more : .sinkBroke
    case .ended(let count): return sink.write(bytes.extracting(first: count)) ? .ended(count) : .sinkBroke
    case .malformed: return .malformed
    }
  }

  mutating func pass(_ bytes: Span<UInt8>, to sink: any PlainStream, _ filter: Filter) -> Step {
    guard scanner != nil else {
      let progress = meter.follow(bytes)
      switch progress {
      case .more: return give(bytes, false, to: sink, filter) ?? .more
      case .ended(let count): return give(bytes.extracting(first: count), true, to: sink, filter) ?? .ended(count)
      case .malformed: return .malformed
      }
    }
    var index = 0
    while true {
      switch scanner?.next(bytes, from: index) ?? .malformed {
      case .data(let range):
        if let end = give(bytes.extracting(range), false, to: sink, filter) { return end }
        index = range.upperBound
      case .needsMore: return .more
      case .malformed: return .malformed
      case .done(let consumed):
        meter = BodyMeter(.none)
        return give(bytes.extracting(0..<0), true, to: sink, filter) ?? .ended(consumed)
      }
    }
  }

  /// A body that lasts until its connection ends has done so.
  mutating func end(to sink: any PlainStream, _ filter: Filter?) -> Step? {
    meter = BodyMeter(.none)
    guard let filter else { return nil }
    return give([UInt8]().span, true, to: sink, filter)
  }

  private func give(_ bytes: Span<UInt8>, _ isLast: Bool, to sink: any PlainStream, _ filter: Filter) -> Step? {
    var chunk: [UInt8] = []
    chunk.append(bytes)
    if case .refuse(let reason, let detail) = filter(&chunk, isLast) { return .refused(reason, detail: detail) }
    var framed: [UInt8] = []
    if writesChunks {
      if !chunk.isEmpty {
        framed += String(chunk.count, radix: 16).utf8
        framed.append("\r\n")
        framed += chunk
        framed.append("\r\n")
      }
      if isLast { framed.append("0\r\n\r\n") }
    } else {
      framed = chunk
    }
    return sink.write(framed) ? nil : .sinkBroke
  }
}

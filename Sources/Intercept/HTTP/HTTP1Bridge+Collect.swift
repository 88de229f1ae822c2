// A request whose body a filter wants whole before its head goes out: a signature over the body stands in the head.
// It relies on the filter for the bound; what is larger is refused, and nothing of it has left.
import Flow
import Policy
import Wire

/// A head and the body behind it, as it comes, without its framing.
struct CollectedBody {
  enum Step { case more, whole, tooLarge, malformed }

  let head: [UInt8]
  private(set) var bytes: [UInt8] = []
  private(set) var isWhole: Bool
  private let bytesMax: Int
  private var scanner: ChunkedScanner?
  private var remaining: UInt64 = 0

  init(head: [UInt8], _ length: BodyLength, bytesMax: Int) {
    (self.head, self.bytesMax) = (head, bytesMax)
    if case .chunked = length { scanner = ChunkedScanner() }
    if case .length(let count) = length { remaining = count }
    isWhole = scanner == nil && remaining == 0
  }

  /// How many of the bytes it took, and what they came to.
  mutating func take(_ more: Span<UInt8>) -> (count: Int, step: Step) {
    guard scanner != nil else {
      if remaining > UInt64(bytesMax) { return (0, .tooLarge) }
      let count = min(more.count, Int(remaining) - bytes.count)
      bytes.append(more.extracting(first: count))
      isWhole = bytes.count == Int(remaining)
      return (count, isWhole ? .whole : .more)
    }
    var index = 0
    while true {
      switch scanner?.next(more, from: index) ?? .malformed {
      case .data(let range):
        if bytes.count + range.count > bytesMax { return (index, .tooLarge) }
        bytes.append(more.extracting(range))
        index = range.upperBound
      case .needsMore: return (more.count, .more)
      case .malformed: return (index, .malformed)
      case .done(let consumed):
        isWhole = true
        return (consumed, .whole)
      }
    }
  }
}

extension HTTP1Bridge {
  func beginCollecting(bytesMax: Int) -> Step {
    var head: [UInt8] = []
    input.parse { head.append($0.extracting(first: headLength)) }
    input.drop(headLength)
    collected = CollectedBody(head: head, request.body, bytesMax: bytesMax)
    state = .waiting(.body)
    // The client may wait for it, and the upstream is not asked yet.
    if request.expectsContinue, input.isEmpty, !client.write(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8)) {
      return .end(.clientReset)
    }
    return .worked
  }

  func collect(_ tick: Tick) -> Step {
    if collected?.isWhole == true { return offerAgain(tick) }
    if let step = fillInput(tick) { return step }
    guard let (count, step) = input.parse({ collected?.take($0) }) else { return .end(.gateFailed) }
    input.drop(count)
    switch step {
    case .more, .whole: return .worked
    case .malformed: return refuseCollected(tick, "The framing of the body is broken")
    case .tooLarge:
      return refuseCollected(tick, "Its body has to be there whole to be signed, and is larger than the gate keeps")
    }
  }

  /// What of the body has not come is not waited for.
  private func refuseCollected(_ tick: Tick, _ detail: String) -> Step {
    headLength = 0
    return refuse(requests.refuse(.badRequest, tick, line: line, detail: detail))
  }
}

// One stream of a tunnel: the same request on both sides, under two numbers, and what is held of its bodies.
// It relies on flow control: a body holds no more than the window that the sender was given.
import Flow
import Policy

final class HTTP2Stream {
  let clientID: Int32
  /// Zero while nothing of it has gone to the upstream.
  var upstreamID: Int32 = 0
  let ordinal: UInt32
  var up = HTTP2Body()
  var down = HTTP2Body()
  /// What came in is answered here, and read no more.
  var isRefused = false
  var hasFinalHead = false
  var isHEAD = false
  var refusalForm = RefusalForm()
  var interimHeads = 0
  var filter: (any RequestFilter)?
  /// The answer's head, while a filter holds it back.
  var heldHead: FieldBlock?
  /// When an answer that is held back leaves, if its upstream sends nothing.
  var pauseEndsMs: UInt64 = .max
  /// The rule that let the request out.
  var judgedBy: AllowRule?
  /// The head of a request that waits, for a token or for a filter, and until when.
  var waiting: (block: FieldBlock, endsStream: Bool, untilMs: UInt64)?
  var pacedSinceMs: UInt64?
  /// A person is asked about the request.
  var isAwaiting = false
  /// The request has its token.
  var isPaid = false
  /// Method and path, which a reload is held to when the head is gone.
  var line = RequestLine()

  init(clientID: Int32, ordinal: UInt32) {
    self.clientID = clientID
    self.ordinal = ordinal
  }

  func endFilter() {
    filter?.ended()
    filter = nil
    heldHead = nil
  }

  deinit { filter?.ended() }
}

/// Bytes of one direction between the two sessions.
struct HTTP2Body {
  private var bytes: [UInt8] = []
  private var offset = 0
  /// Bytes that came in and that the sender's window has not got back.
  private var owed = 0
  var isEnded = false
  var trailers: FieldBlock?
  /// The sink's session asked for bytes when there were none.
  var isDeferred = false
  /// What came while the filter took no more, and whether that is all of the body.
  var unfiltered: [UInt8] = []
  var isWholeUnfiltered = false
  /// The filter wants to be asked again.
  var isHeld = false

  var count: Int { bytes.count - offset }

  mutating func append(_ chunk: [UInt8]) { bytes += chunk }

  mutating func append(_ chunk: UnsafeBufferPointer<UInt8>) { unsafe bytes.append(contentsOf: chunk) }

  mutating func owe(_ count: Int) { owed += count }

  /// Hands out up to `room` bytes, and says what the sender's window gets back for them.
  mutating func take(into buffer: UnsafeMutablePointer<UInt8>, room: Int) -> (taken: Int, returned: Int) {
    let taken = min(room, count)
    unsafe bytes.withUnsafeBufferPointer { source in
      guard let base = source.baseAddress, taken > 0 else { return }
      unsafe buffer.update(from: base + offset, count: taken)
    }
    offset += taken
    if offset == bytes.count {
      bytes.removeAll(keepingCapacity: bytes.capacity <= 16 * 1024)
      offset = 0
    } else if offset >= 64 * 1024 {
      bytes.removeFirst(offset)
      offset = 0
    }
    // A filter may have made it longer or shorter: at the latest when it is empty, all is given back.
    let returned = count == 0 ? max(0, owed - unfiltered.count) : min(owed, taken)
    owed -= returned
    return (taken, returned)
  }

  /// Nobody wants it any more. What the sender's window gets back.
  mutating func discard() -> Int {
    unfiltered = []
    isHeld = false
    bytes = []
    offset = 0
    return settle()
  }

  /// What the sender's window gets back of it, though its bytes are still on their way to the sink.
  mutating func discardOwed() -> Int {
    defer { owed = 0 }
    return owed
  }

  /// Of a body that a filter has taken for itself, what the sender's window gets back.
  mutating func settle() -> Int {
    count == 0 && unfiltered.isEmpty ? discardOwed() : 0
  }
}

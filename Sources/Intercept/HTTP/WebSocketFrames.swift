// Frames of a WebSocket (RFC 6455) as they pass: each message is a text, which is searched while its bytes stay where
// they are.
// It relies on no extension having been agreed on: frames that are compressed cannot be read, and end the connection.
import Content

struct WebSocketFrames {
  struct Piece {
    enum Kind { case head, data, control }

    var kind: Kind
    /// As they came.
    var bytes: [UInt8]
    /// The same without their mask; empty of a head.
    var text: [UInt8] = []
    /// The message is whole with it.
    var endsMessage = false
  }

  private var head: [UInt8] = []
  private var left: UInt64 = 0
  private var mask: [UInt8] = []
  private var maskOffset = 0
  private var control: [UInt8] = []
  private var isInPayload = false

  /// Nil: these are no frames, or frames that cannot be read.
  mutating func split(_ bytes: [UInt8]) -> [Piece]? {
    var pieces: [Piece] = []
    var place = 0
    while place < bytes.count || isInPayload && left == 0 {
      if isInPayload {
        let count = Int(clamping: min(left, UInt64(bytes.count - place)))
        take(Array(bytes[place..<(place + count)]), &pieces)
        place += count
        continue
      }
      head.append(bytes[place])
      place += 1
      guard head[0] & 0x70 == 0 else { return nil }
      if head.count == headBytes {
        guard readHead() else { return nil }
        pieces.append(Piece(kind: .head, bytes: head))
      }
    }
    return pieces
  }

  private var isControl: Bool { head[0] & 0x08 != 0 }
  private var isFinal: Bool { head[0] & 0x80 != 0 }

  private var headBytes: Int {
    guard head.count > 1 else { return 2 }
    let length = head[1] & 0x7f
    return 2 + (length == 126 ? 2 : length == 127 ? 8 : 0) + (head[1] & 0x80 != 0 ? 4 : 0)
  }

  private mutating func readHead() -> Bool {
    let isMasked = head[1] & 0x80 != 0
    let short = head[1] & 0x7f
    left = short < 126 ? UInt64(short) : head[2..<(short == 126 ? 4 : 10)].reduce(0) { $0 << 8 | UInt64($1) }
    mask = isMasked ? Array(head.suffix(4)) : []
    (maskOffset, isInPayload, control) = (0, true, [])
    return left < 1 << 62 && !(isControl && (left > 125 || !isFinal))
  }

  private mutating func take(_ bytes: [UInt8], _ pieces: inout [Piece]) {
    left -= UInt64(bytes.count)
    let isEnd = left == 0
    if isControl {
      // The text is short, and searched whole.
      control += bytes
      if isEnd { pieces.append(Piece(kind: .control, bytes: control, text: unmasked(control))) }
    } else if !bytes.isEmpty || isEnd {
      pieces.append(Piece(kind: .data, bytes: bytes, text: unmasked(bytes), endsMessage: isEnd && isFinal))
    }
    if isEnd { (isInPayload, head) = (false, []) }
  }

  private mutating func unmasked(_ bytes: [UInt8]) -> [UInt8] {
    guard !mask.isEmpty else { return bytes }
    defer { maskOffset = (maskOffset + bytes.count) % 4 }
    return bytes.enumerated().map { $0.element ^ mask[(maskOffset + $0.offset) % 4] }
  }
}

/// What a server says: echoes are taken out of each message, and no frame changes its length.
struct WebSocketEchoes {
  /// Control frames and empty ones can follow a beginning of an echo without an end.
  private static let waitingBytesMax = 256 << 10

  private var frames = WebSocketFrames()
  private(set) var search: EchoSearch
  /// Bytes that wait behind what the search holds, and where in them that stands.
  private var waiting: [UInt8] = []
  private var held: [Int] = []

  init(_ search: EchoSearch) { self.search = search }

  /// False: what came cannot be searched.
  mutating func take(_ bytes: inout [UInt8]) -> Bool {
    guard let pieces = frames.split(bytes) else { return false }
    for piece in pieces {
      switch piece.kind {
      case .head:
        // A server masks nothing (RFC 6455 section 5.1).
        guard piece.bytes[1] & 0x80 == 0 else { return false }
        waiting += piece.bytes
      case .control:
        var text = piece.text
        search.scrubWhole(&text)
        waiting += text
      case .data:
        held += waiting.count..<(waiting.count + piece.text.count)
        waiting += piece.text
        var text = piece.text
        search.scrub(&text, isLast: piece.endsMessage)
        for (offset, byte) in text.enumerated() { waiting[held[offset]] = byte }
        held.removeFirst(text.count)
      }
    }
    let count = held.first ?? waiting.count
    bytes = Array(waiting[..<count])
    waiting.removeFirst(count)
    for index in held.indices { held[index] -= count }
    return waiting.count <= Self.waitingBytesMax
  }
}

/// What a client says: each message is whole before it is looked at, and goes on behind that.
struct WebSocketMessages {
  /// A longer one is not looked into.
  static let bytesMax = 1 << 20

  private var frames = WebSocketFrames()
  private(set) var waiting: [UInt8] = []
  /// Of a frame of which nothing else has come.
  private var head: [UInt8] = []
  private var text: [UInt8] = []

  enum Taken { case texts([[UInt8]], released: [UInt8]), tooLarge, unreadable }

  /// The messages that are whole now, and the bytes of them and of what stood before. Control frames wait for no
  /// message that they stand in.
  mutating func take(_ bytes: [UInt8]) -> Taken {
    guard let pieces = frames.split(bytes) else { return .unreadable }
    var texts: [[UInt8]] = []
    var released: [UInt8] = []
    for piece in pieces {
      switch piece.kind {
      case .head: head = piece.bytes
      case .control:
        texts.append(piece.text)
        released += head + piece.bytes
        head = []
      case .data:
        text += piece.text
        waiting += head + piece.bytes
        head = []
        // Frames without a byte cost their heads.
        if waiting.count > 2 * Self.bytesMax || text.count > Self.bytesMax { return .tooLarge }
        guard piece.endsMessage else { continue }
        texts.append(text)
        text = []
        released += waiting
        waiting = []
      }
    }
    return .texts(texts, released: released)
  }
}

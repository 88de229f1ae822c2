// The framing that clients of S3 put around a body (`aws-chunked`): chunks with their sizes, and fields behind the last
// one. It relies on nothing: what is not of this form is no such body, and nothing of it is taken for text.

struct AWSChunks {
  private enum State {
    /// `SIZE` in hexadecimal, and perhaps `;chunk-signature=` with 64 digits.
    case size
    case data(left: Int)
    case dataEnd
    case trailers
  }

  private static let lineBytesMax = 128
  private static let extensionStart = Array(";chunk-signature=".utf8)

  private var state = State.size
  private var line: [UInt8] = []
  private(set) var isBroken = false

  /// The body is there whole.
  var hasEnded: Bool { if case .trailers = state { !isBroken } else { false } }

  /// The text of the next bytes: what is in the chunks, and the fields behind them in a line of their own.
  mutating func take(_ bytes: [UInt8]) -> [UInt8] {
    var text: [UInt8] = []
    var place = 0
    while place < bytes.count, !isBroken {
      switch state {
      case .data(let left):
        let count = min(left, bytes.count - place)
        text += bytes[place..<(place + count)]
        place += count
        state = left == count ? .dataEnd : .data(left: left - count)
      case .trailers:
        text += bytes[place...]
        place = bytes.count
      case .size, .dataEnd:
        line.append(bytes[place])
        place += 1
        if line.count > Self.lineBytesMax { isBroken = true }
        if line.suffix(2) == [0x0d, 0x0a] { endLine(&text) }
      }
    }
    return text
  }

  private mutating func endLine(_ text: inout [UInt8]) {
    let line = self.line.dropLast(2)
    self.line = []
    if case .dataEnd = state {
      (state, isBroken) = (.size, !line.isEmpty)
      return
    }
    let digits = line.prefix { $0 != UInt8(ascii: ";") }
    let signature = line.dropFirst(digits.count)
    let isSigned = signature.starts(with: Self.extensionStart) && signature.count == Self.extensionStart.count + 64
    guard signature.isEmpty || isSigned, (1...8).contains(digits.count),
      let size = Int(String(decoding: digits, as: UTF8.self), radix: 16)
    else {
      isBroken = true
      return
    }
    if size == 0 { text.append(0x0a) }
    state = size == 0 ? .trailers : .data(left: size)
  }
}

extension MessageHead {
  /// Clients that sign a body piece by piece, or put its checksum behind it, say so.
  var isAWSChunked: Bool {
    let codings = values("content-encoding").flatMap { $0.split(separator: UInt8(ascii: ",")) }.map(\.withoutBlanks)
    return codings.contains { $0.map { $0 | 0x20 }.elementsEqual(BodyCodings.awsChunked.utf8.map { $0 | 0x20 }) }
      || self["x-amz-content-sha256"]?.starts(with: "STREAMING-".utf8) == true
  }
}

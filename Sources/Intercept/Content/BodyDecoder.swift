// Undoes the codings of one body, one behind the other, a bounded piece at a time: what is left waits for the next
// call. It relies on Decompressor for each coding and for how much a body may grow.
import Content

struct BodyDecoder {
  private struct Stage {
    let decoder: Decompressor
    /// What has come, and waits.
    var input: ArraySlice<UInt8> = []
    /// The decoder has given all that its input comes to.
    var isDone = true
  }

  private var stages: [Stage] = []
  /// The framing around it all, and its text where nothing else is to be undone.
  private var chunks: AWSChunks?
  private var plain: [UInt8] = []

  init(_ codings: [ContentCoding], isAWSChunked: Bool = false) throws(DecompressProblem) {
    chunks = isAWSChunked ? AWSChunks() : nil
    for coding in codings { stages.append(Stage(decoder: try Decompressor(coding, bytesMax: .max))) }
  }

  var windowBytes: Int { stages.reduce(0) { $0 + $1.decoder.windowBytes } }

  mutating func append(_ bytes: [UInt8]) {
    let text = chunks?.take(bytes) ?? bytes
    if stages.isEmpty { plain += text } else { give(text, to: 0) }
  }

  private mutating func give(_ bytes: [UInt8], to index: Int) {
    guard !bytes.isEmpty else { return }
    stages[index].input += bytes
    stages[index].isDone = false
  }

  /// The next piece, of at most 64 KiB. `isDone`: all that came has been undone.
  mutating func next() throws(DecompressProblem) -> (bytes: [UInt8], isDone: Bool) {
    if chunks?.isBroken == true { throw .malformed }
    if stages.isEmpty {
      defer { plain = [] }
      return (plain, true)
    }
    // The last stage goes first, so that no more than one piece waits in between.
    for index in stages.indices.reversed() where !stages[index].isDone {
      let (piece, isDone) = try stages[index].decoder.step(&stages[index].input)
      stages[index].isDone = isDone
      if index + 1 == stages.count {
        if !piece.isEmpty { return (piece, stages.allSatisfy(\.isDone)) }
      } else if !piece.isEmpty {
        give(piece, to: index + 1)
        return ([], false)
      }
    }
    return ([], stages.allSatisfy(\.isDone))
  }

  /// The body is over; throws where a coding is not.
  func finish() throws(DecompressProblem) {
    if let chunks, !chunks.hasEnded { throw .malformed }
    for stage in stages { try stage.decoder.finish() }
  }
}

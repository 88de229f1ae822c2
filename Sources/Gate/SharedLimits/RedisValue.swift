// Redis' protocol: commands to bytes, and bytes to values, by hiredis.
// It relies on hiredis' parser and formatter alone; sockets and TLS are the gate's own.
import CHiredis

enum RedisValue: Equatable {
  case null
  case integer(Int)
  case text([UInt8])
  case error(String)
  case list([RedisValue])

  var asInteger: Int? {
    switch self {
    case .integer(let value): value
    case .text(let bytes): Int(String(decoding: bytes, as: UTF8.self))
    default: nil
    }
  }

  var asString: String? {
    guard case .text(let bytes) = self else { return nil }
    return String(decoding: bytes, as: UTF8.self)
  }

  var asList: [RedisValue]? {
    guard case .list(let values) = self else { return nil }
    return values
  }
}

enum RedisCommand {
  /// nil where there is no memory for it.
  static func bytes(_ words: [[UInt8]]) -> [UInt8]? {
    let text = words.joined().map { CChar(bitPattern: $0) }
    let lengths = words.map(\.count)
    var target: UnsafeMutablePointer<CChar>?
    // SAFETY: arrays and a local for the time of the call; hiredis' own memory is copied, and then freed.
    let count = unsafe chiredis_format(&target, CInt(words.count), text, lengths)
    guard count > 0, let target = unsafe target else { return nil }
    defer { unsafe redisFreeCommand(target) }
    return unsafe UnsafeBufferPointer(start: target, count: Int(clamping: count)).map { UInt8(bitPattern: $0) }
  }
}

/// SAFETY: hiredis' reader is owned here and freed in deinit; replies are read, and freed, before anything else is
/// called.
@safe final class RedisReader {
  enum Next: Equatable {
    case value(RedisValue)
    case incomplete
    case broken(String)
  }

  /// A reply of the gate's own script is far below that.
  private static let replyBytesMax = 1 << 20
  private static let depthMax = 6

  private let reader: UnsafeMutablePointer<redisReader>
  private var waiting = 0

  init?() {
    guard let reader = unsafe redisReaderCreate() else { return nil }
    unsafe self.reader = unsafe reader
  }

  deinit { unsafe redisReaderFree(reader) }

  /// False where it is too much, or nothing of Redis'.
  func feed(_ bytes: Span<UInt8>) -> Bool {
    waiting += bytes.count
    guard waiting <= Self.replyBytesMax else { return false }
    return unsafe bytes.withUnsafeBytes { bytes in
      unsafe redisReaderFeed(reader, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count) == REDIS_OK
    }
  }

  func next() -> Next {
    var raw: UnsafeMutableRawPointer?
    guard unsafe redisReaderGetReply(reader, &raw) == REDIS_OK else {
      return .broken("it does not speak Redis' protocol")
    }
    guard let raw = unsafe raw else { return .incomplete }
    defer { unsafe freeReplyObject(raw) }
    waiting = 0
    return .value(unsafe Self.value(raw.assumingMemoryBound(to: redisReply.self).pointee, depth: 0))
  }

  private static func value(_ reply: redisReply, depth: Int) -> RedisValue {
    switch unsafe reply.type {
    case REDIS_REPLY_INTEGER: return unsafe .integer(Int(clamping: reply.integer))
    case REDIS_REPLY_STRING, REDIS_REPLY_STATUS: return .text(unsafe text(reply))
    case REDIS_REPLY_ERROR: return .error(String(decoding: unsafe text(reply), as: UTF8.self))
    case REDIS_REPLY_ARRAY:
      guard depth < depthMax else { return .null }
      let count = unsafe reply.elements
      var values: [RedisValue] = []
      for index in 0..<Int(clamping: count) {
        guard let element = unsafe reply.element[index] else { return .null }
        values.append(unsafe value(element.pointee, depth: depth + 1))
      }
      return .list(values)
    default: return .null
    }
  }

  private static func text(_ reply: redisReply) -> [UInt8] {
    guard let start = unsafe reply.str else { return [] }
    return unsafe UnsafeBufferPointer(start: start, count: Int(clamping: reply.len)).map { UInt8(bitPattern: $0) }
  }
}

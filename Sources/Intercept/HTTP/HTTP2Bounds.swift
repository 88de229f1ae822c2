// How many frames that carry nothing a peer may send: resets, pings, settings, priorities, empty data.
// It relies on the frames that do carry something to pay for them; nghttp2 has bounds of its own beside these.
import CNGHTTP2

struct HTTP2Bounds {
  /// Of frames without use. Each request or piece of body earns some.
  private static let creditMax = 1_000
  private static let earned = 4
  /// Streams may be reset as often as others are used, and that many times more (CVE-2023-44487).
  private static let resetsMax = 200

  private var credit = creditMax
  private var resets = 0

  /// False: the peer does nothing but keep the gate busy.
  mutating func allow(_ frame: nghttp2_frame_hd) -> Bool {
    switch UInt32(frame.type) {
    case NGHTTP2_HEADERS.rawValue: earn()
    case NGHTTP2_DATA.rawValue where frame.length > 0:
      earn()
      resets = max(0, resets - 1)
    case NGHTTP2_DATA.rawValue:
      if frame.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) == 0 { credit -= 1 }
    case NGHTTP2_RST_STREAM.rawValue:
      resets += 1
      credit -= 1
    case NGHTTP2_WINDOW_UPDATE.rawValue: break
    default: credit -= 1
    }
    return credit > 0 && resets <= Self.resetsMax
  }

  /// A stream went to its end as it should, or was given up when its answer had begun: the work for it was not in vain.
  mutating func completed() { resets = max(0, resets - 1) }

  private mutating func earn() { credit = min(Self.creditMax, credit + Self.earned) }
}

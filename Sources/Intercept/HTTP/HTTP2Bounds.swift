// How fast a peer may send frames that carry nothing: resets, pings, settings, priorities, window updates, empty data.
// It relies on a clock that is told; nghttp2 has bounds of its own beside these (HTTP2Library).
import CNGHTTP2

/// Rates, not totals: credit comes back with time, and with bytes that are of use. A session that works for days is
/// never at its end, and a flood is at its end within a second.
struct HTTP2Bounds {
  /// Credit is counted in thousandths of a frame: a rate per second is that many thousandths per millisecond.
  private struct Credit {
    let perSecond: UInt64
    let max: UInt64
    private var left: UInt64
    private var atMs: UInt64 = 0

    init(burst: UInt64, perSecond: UInt64) {
      self.perSecond = perSecond
      max = burst * 1000
      left = max
    }

    mutating func take(nowMs: UInt64) -> Bool {
      if nowMs > atMs {
        // The first moment finds it full; after that, a long time is no more than it takes to fill it.
        earn(thousandths: min(nowMs - atMs, 1_000_000) * perSecond)
        atMs = nowMs
      }
      if left < 1000 { return false }
      left -= 1000
      return true
    }

    mutating func earn(_ frames: UInt64) { earn(thousandths: frames * 1000) }
    private mutating func earn(thousandths: UInt64) { left = min(max, left + thousandths) }
  }

  /// Requests that the peer gave up, or made us give up, before they had an answer (CVE-2023-44487, CVE-2025-8671):
  /// each has cost an upstream its work. Nothing but time earns these.
  private var abandoned = Credit(burst: 200, perSecond: 50)
  /// Programs that measure bandwidth send one per piece of data that they got (gRPC).
  private var pings = Credit(burst: 1_000, perSecond: 100)
  private var settings = Credit(burst: 200, perSecond: 5)
  /// Some clients send one per few bytes that they read.
  private var windows = Credit(burst: 10_000, perSecond: 1_000)
  private var others = Credit(burst: 1_000, perSecond: 50)

  /// Bytes of a frame that we sent, of which each part may be answered by a window update of the stream and one of the
  /// connection.
  private static let bytesPerWindowUpdate: UInt64 = 256

  /// A frame of the peer's, but for RST_STREAM. False: it does nothing but keep the gate busy.
  mutating func allow(_ frame: nghttp2_frame_hd, nowMs: UInt64) -> Bool {
    switch UInt32(frame.type) {
    case NGHTTP2_HEADERS.rawValue:
      others.earn(4)
      return true
    case NGHTTP2_DATA.rawValue:
      if frame.length > 0 {
        others.earn(4)
        pings.earn(1)
        return true
      }
      return frame.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0 || others.take(nowMs: nowMs)
    case NGHTTP2_PING.rawValue: return pings.take(nowMs: nowMs)
    case NGHTTP2_SETTINGS.rawValue: return settings.take(nowMs: nowMs)
    case NGHTTP2_WINDOW_UPDATE.rawValue: return windows.take(nowMs: nowMs)
    default: return others.take(nowMs: nowMs)
    }
  }

  /// A stream that the peer reset, or made us reset by a fault of its own. `isAnswered`: a part of its answer is out,
  /// or it was over: what the request cost was not in vain.
  mutating func allowReset(isAnswered: Bool, nowMs: UInt64) -> Bool {
    isAnswered ? others.take(nowMs: nowMs) : abandoned.take(nowMs: nowMs)
  }

  static func name(of type: UInt8) -> String {
    switch UInt32(type) {
    case NGHTTP2_DATA.rawValue: "empty DATA"
    case NGHTTP2_RST_STREAM.rawValue: "RST_STREAM"
    case NGHTTP2_PING.rawValue: "PING"
    case NGHTTP2_SETTINGS.rawValue: "SETTINGS"
    case NGHTTP2_WINDOW_UPDATE.rawValue: "WINDOW_UPDATE"
    case NGHTTP2_PRIORITY.rawValue: "PRIORITY"
    default: "HTTP/2"
    }
  }

  /// We sent a piece of a body: the peer may answer it with a measurement, and with windows.
  mutating func sent(dataBytes: Int) {
    guard dataBytes > 0 else { return }
    pings.earn(1)
    windows.earn(2 + UInt64(dataBytes) / Self.bytesPerWindowUpdate)
  }
}

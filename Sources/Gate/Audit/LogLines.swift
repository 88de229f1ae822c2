// JSON Lines in memory: the fields of the log, written straight into one buffer that is used again each turn.
// It relies on Wire.JSONText, so that no byte from outside can break a line; names and words of ours need no escape.
import Flow
import Policy
import Wire

/// A field is named by all that stands before its value, `,"port":`, so that it costs one append.
struct LogLines {
  private var bytes: [UInt8] = []
  /// The time as text, for all lines of its millisecond.
  private var time: [UInt8] = []
  private var timeMs = Int64.min

  var byteCount: Int { bytes.count }

  /// Lends the buffer; whoever writes it out empties it.
  mutating func withBytes(_ body: (inout [UInt8]) -> Void) { body(&bytes) }

  /// One whole line: what every line has, then its own fields.
  mutating func append(
    _ event: LogEvent, _ sequence: UInt64, _ wallMs: Int64, _ fields: (inout LogLines) -> Void
  ) {
    bytes.append(#"{"v":1,"time":""#)
    if wallMs != timeMs {
      timeMs = wallMs
      time.removeAll(keepingCapacity: true)
      Timestamp.append(unixMilliseconds: wallMs, to: &time)
    }
    bytes += time
    bytes.append(#"","seq":"#)
    JSONText.appendDecimal(sequence, to: &bytes)
    word(#","event":""#, event.rawValue)
    fields(&self)
    bytes.append("}\n")
  }

  // MARK: - Fields

  mutating func number(_ key: StaticString, _ value: UInt64) {
    bytes.append(key)
    JSONText.appendDecimal(value, to: &bytes)
  }

  mutating func fact(_ key: StaticString, _ value: Bool) {
    bytes.append(key)
    bytes.append(value ? "true" : "false")
  }

  /// For text of ours that needs no escape; the key ends with the opening quote.
  mutating func word(_ key: StaticString, _ text: String) {
    bytes.append(key)
    bytes += text.utf8
    bytes.append(UInt8(ascii: "\""))
  }

  mutating func text(_ key: StaticString, _ text: String) {
    bytes.append(key)
    JSONText.appendString(text, to: &bytes)
  }

  mutating func text(_ key: StaticString, _ text: [UInt8]) {
    bytes.append(key)
    JSONText.appendString(text, to: &bytes)
  }

  /// What is JSON already.
  mutating func json(_ key: StaticString, _ value: [UInt8]) {
    bytes.append(key)
    bytes += value
  }

  mutating func address(_ address: IPAddress) {
    bytes.append(#","address":""#)
    address.append(to: &bytes)
    bytes.append(UInt8(ascii: "\""))
  }

  /// The number of the flow, and of the request on its connection.
  mutating func flowNumber(_ id: UInt64, _ ordinal: UInt32) {
    bytes.append(#","id":""#)
    JSONText.appendHex(id, to: &bytes)
    if ordinal > 0 {
      bytes.append(UInt8(ascii: "-"))
      JSONText.appendDecimal(UInt64(ordinal), to: &bytes)
    }
    bytes.append(UInt8(ascii: "\""))
  }

  mutating func target(_ target: Target, _ via: Via) {
    word(#","via":""#, via.rawValue)
    bytes.append(#","host":""#)
    target.host.append(to: &bytes)
    number(#"","port":"#, UInt64(target.port))
  }

  /// What a DNS query asked for, where that is a host name: any other bytes are left out.
  mutating func name(_ host: HostName?) {
    bytes.append(#","via":"dns""#)
    guard let host else { return }
    bytes.append(#","host":""#)
    bytes += host.bytes
    bytes.append(UInt8(ascii: "\""))
  }

  mutating func bucket(_ level: BucketLevel) {
    number(#","tokens":"#, UInt64(max(0, level.tokens)))
    number(#","capacity":"#, UInt64(max(0, level.capacity)))
    number(#","per_minute":"#, UInt64(max(0, level.perMinute)))
  }
}

// JSON objects written straight into one buffer, with nesting, and without a tree of values.
// It relies on its caller to close what it opens; keys are literals of ours, or names that came as JSON keys before.
import Wire

struct JSONWriter {
  private(set) var bytes: [UInt8] = []
  private var needsComma = false

  mutating func removeAll() {
    bytes.removeAll(keepingCapacity: true)
    needsComma = false
  }

  mutating func begin(_ key: StaticString? = nil) { open(key, UInt8(ascii: "{")) }
  mutating func end() { close(UInt8(ascii: "}")) }
  mutating func beginList(_ key: StaticString) { open(key, UInt8(ascii: "[")) }
  mutating func endList() { close(UInt8(ascii: "]")) }

  mutating func text(_ key: StaticString, _ text: String) {
    name(key)
    JSONText.appendString(text, to: &bytes)
  }

  /// A text in a list.
  mutating func element(_ text: String) {
    name(nil)
    JSONText.appendString(text, to: &bytes)
  }

  mutating func text(_ key: StaticString, _ text: ArraySlice<UInt8>) {
    name(key)
    JSONText.appendString(text.span, to: &bytes)
  }

  mutating func number(_ key: StaticString, _ number: UInt64) {
    name(key)
    JSONText.appendDecimal(number, to: &bytes)
  }

  mutating func number(_ key: StaticString, _ number: Int) {
    name(key)
    JSONText.appendDecimal(number, to: &bytes)
  }

  mutating func flag(_ key: StaticString, _ flag: Bool) {
    name(key)
    bytes.append(flag ? "true" : "false")
  }

  /// `json` is a whole value.
  mutating func value(_ key: [UInt8], json: some Sequence<UInt8>) {
    separate()
    JSONText.appendString(key, to: &bytes)
    bytes.append(UInt8(ascii: ":"))
    bytes += json
    needsComma = true
  }

  mutating func value(_ key: StaticString, json: some Sequence<UInt8>) {
    name(key)
    bytes += json
  }

  /// A whole value in a list.
  mutating func element(json: some Sequence<UInt8>) {
    separate()
    bytes += json
    needsComma = true
  }

  private mutating func open(_ key: StaticString?, _ bracket: UInt8) {
    name(key)
    bytes.append(bracket)
    needsComma = false
  }

  private mutating func close(_ bracket: UInt8) {
    bytes.append(bracket)
    needsComma = true
  }

  private mutating func name(_ key: StaticString?) {
    separate()
    if let key {
      JSONText.appendString(key, to: &bytes)
      bytes.append(UInt8(ascii: ":"))
    }
    needsComma = true
  }

  private mutating func separate() { if needsComma { bytes.append(UInt8(ascii: ",")) } }
}

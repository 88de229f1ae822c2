// Numbers and addresses in network byte order, in and out of bytes.
// It relies on the caller having checked that the bytes are there: a read past them traps.

extension Span where Element == UInt8 {
  /// As many bytes as `Value` has, the highest first.
  @inline(__always)
  package func number<Value: FixedWidthInteger & UnsignedInteger>(at index: Int, as type: Value.Type = Value.self)
    -> Value
  {
    var value: Value = 0
    for offset in 0..<(Value.bitWidth / 8) { value = value << 8 | Value(self[index + offset]) }
    return value
  }

  /// Four bytes.
  func address4(at index: Int) -> IPAddress { .v4(number(at: index)) }

  /// Sixteen bytes.
  func address6(at index: Int) -> IPAddress { .v6(high: number(at: index), low: number(at: index + 8)) }
}

extension Array where Element == UInt8 {
  @inline(__always)
  package mutating func append<Value: FixedWidthInteger & UnsignedInteger>(number value: Value) {
    for shift in stride(from: Value.bitWidth - 8, through: 0, by: -8) {
      append(UInt8(truncatingIfNeeded: value >> Value(shift)))
    }
  }

  /// Four or sixteen bytes.
  mutating func append(_ address: IPAddress) {
    switch address {
    case .v4(let value): append(number: value)
    case .v6(let high, let low):
      append(number: high)
      append(number: low)
    }
  }
}

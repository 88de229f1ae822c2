// RFC 3339 times to and from numbers, without a calendar library.
// It relies on the proleptic Gregorian calendar counted in eras of 400 years, which have 146,097 days each.

package enum Timestamp {
  /// Appends `2026-01-02T03:04:05.678Z`. Years outside 0 to 9999 are clamped: RFC 3339 has no others.
  package static func append(unixMilliseconds: Int64, to out: inout [UInt8]) {
    let clamped = min(max(unixMilliseconds, -62_167_219_200_000), 253_402_300_799_999)
    let days = clamped.floorDivided(by: 86_400_000)
    let millisecond = clamped - days * 86_400_000
    let date = civil(fromDays: days)
    appendPadded(date.year, 4, to: &out)
    out.append(UInt8(ascii: "-"))
    appendPadded(date.month, 2, to: &out)
    out.append(UInt8(ascii: "-"))
    appendPadded(date.day, 2, to: &out)
    out.append(UInt8(ascii: "T"))
    appendPadded(millisecond / 3_600_000, 2, to: &out)
    out.append(UInt8(ascii: ":"))
    appendPadded(millisecond / 60_000 % 60, 2, to: &out)
    out.append(UInt8(ascii: ":"))
    appendPadded(millisecond / 1000 % 60, 2, to: &out)
    out.append(UInt8(ascii: "."))
    appendPadded(millisecond % 1000, 3, to: &out)
    out.append(UInt8(ascii: "Z"))
  }

  /// Unix seconds of an RFC 3339 date-time with `Z` or an offset; a fraction is cut off. Nil for anything else,
  /// also for days that no month has and for leap seconds.
  package static func parse(_ text: String) -> Int64? {
    let bytes = [UInt8](text.utf8)
    func number(_ start: Int, _ count: Int) -> Int64? {
      guard start + count <= bytes.count, bytes[start..<(start + count)].allSatisfy(\.isDigit) else { return nil }
      return bytes[start..<(start + count)].reduce(0) { $0 * 10 + Int64($1 & 0x0f) }
    }
    guard bytes.count >= 20, bytes[4] == UInt8(ascii: "-"), bytes[7] == UInt8(ascii: "-"),
      bytes[10].lowercased == UInt8(ascii: "t"), bytes[13] == UInt8(ascii: ":"), bytes[16] == UInt8(ascii: ":"),
      let year = number(0, 4), let month = number(5, 2), let day = number(8, 2),
      let hour = number(11, 2), let minute = number(14, 2), let second = number(17, 2),
      hour < 24, minute < 60, second < 60
    else { return nil }
    let days = daysFromCivil(year: year, month: month, day: day)
    guard civil(fromDays: days) == (year, month, day) else { return nil }
    var index = 19
    if bytes[index] == UInt8(ascii: ".") {
      index += 1
      let fraction = index
      while index < bytes.count, bytes[index].isDigit { index += 1 }
      guard index > fraction, index < bytes.count else { return nil }
    }
    let local = days * 86400 + hour * 3600 + minute * 60 + second
    let zone = bytes[index]
    if zone.lowercased == UInt8(ascii: "z") { return index + 1 == bytes.count ? local : nil }
    guard zone == UInt8(ascii: "+") || zone == UInt8(ascii: "-"), index + 6 == bytes.count,
      bytes[index + 3] == UInt8(ascii: ":"), let hours = number(index + 1, 2), let minutes = number(index + 4, 2),
      hours < 24, minutes < 60
    else { return nil }
    let offset = hours * 3600 + minutes * 60
    return zone == UInt8(ascii: "+") ? local - offset : local + offset
  }

  /// Years begin in March here, so the leap day is the last of its year.
  private static func civil(fromDays days: Int64) -> (year: Int64, month: Int64, day: Int64) {
    let shifted = days + 719_468
    let era = shifted.floorDivided(by: 146_097)
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let marchMonth = (5 * dayOfYear + 2) / 153
    let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * marchMonth + 2) / 5 + 1)
  }

  private static func daysFromCivil(year: Int64, month: Int64, day: Int64) -> Int64 {
    let shifted = month <= 2 ? year - 1 : year
    let era = shifted.floorDivided(by: 400)
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
  }

  private static func appendPadded(_ value: Int64, _ width: Int, to out: inout [UInt8]) {
    if width > 1 { appendPadded(value / 10, width - 1, to: &out) }
    out.append(UInt8(ascii: "0") + UInt8(value % 10))
  }
}

extension Int64 {
  /// Towards minus infinity.
  package func floorDivided(by divisor: Int64) -> Int64 {
    let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
    return remainder < 0 ? quotient - 1 : quotient
  }
}

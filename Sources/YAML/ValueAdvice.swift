// Advice on a value of the wrong form, as `; write …`; empty if the meant value is unclear.
// Relies on nothing but the text, and never changes it: the operator corrects the file.

enum ValueAdvice {
  static func integer(_ text: String) -> String {
    let digits = text.filter { !"_,' ".contains($0) }
    return (1...15).contains(digits.utf8.count) && digits.utf8.allSatisfy { (0x30...0x39).contains($0) }
      ? Int(digits).map { "; write \($0)" } ?? "" : ""
  }

  static func flag(_ text: String) -> String {
    switch text.lowercased() {
    case "true", "yes", "on", "1", "y": "; write true without quotes"
    case "false", "no", "off", "0", "n": "; write false without quotes"
    default: ""
    }
  }

  /// `30s`, `2 minutes` and `500ms` as seconds.
  static func seconds(_ text: String) -> String {
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    guard (1...6).contains(digits.utf8.count), let number = Int(digits) else { return "" }
    switch text.dropFirst(digits.count).filter({ $0 != " " }).lowercased() {
    case "s", "sec", "secs", "second", "seconds": return "; write \(number)"
    case "m", "min", "mins", "minute", "minutes": return "; write \(number * 60)"
    case "h", "hour", "hours": return "; write \(number * 3600)"
    case "d", "day", "days": return "; write \(number * 86_400)"
    case "ms" where number % 100 == 0: return "; write \(number / 1000).\(number % 1000 / 100)"
    default: return ""
    }
  }
}

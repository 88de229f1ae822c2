// `process_limits`: limits for a sandbox's processes, with the file names of cgroup v2 as keys.
// It relies on the kernel's own spelling (cgroup-v2.rst): `max` is no limit, sizes may be K, M, G or KiB, MiB, GiB.
import Policy
import YAML

struct LimitsSection {
  let findings: Findings

  func read(_ node: YAMLNode) -> Settings.Process {
    var limits = Settings.Process()
    let known = ["cpu.max", "memory.max", "memory.swap.max", "pids.max", "io.max"]
    guard let fields = Fields(node, of: "process_limits", known: known, findings) else { return limits }
    if let cpu = readCPU(fields) { limits.cpu = cpu.value }
    if let bytes = amount("memory.max", fields, 16 << 20...1 << 50, example: "512M", isSize: true) {
      limits.memoryBytes = bytes.value
    }
    if let bytes = amount("memory.swap.max", fields, 0...1 << 50, example: "0", isSize: true) {
      limits.swapBytes = bytes.value
    }
    if let count = amount("pids.max", fields, 4...4_194_304, example: "64", isSize: false) {
      limits.processes = count.value
    }
    limits.io = readIO(fields)
    limits.stated = Set(known.filter { fields.has($0) })
    return limits
  }

  /// `value` is nil for `max`.
  private struct Amount<Value> { let value: Value? }

  private func amount(
    _ key: String, _ fields: Fields, _ range: ClosedRange<Int>, example: String, isSize: Bool
  ) -> Amount<Int>? {
    guard let text = fields.text(key, example: example) else { return nil }
    if text == "max" { return Amount(value: nil) }
    let value = isSize ? Self.size(text) : Self.number(text)
    guard let value, range.contains(value) else {
      let bounds = "from \(range.lowerBound) to \(range.upperBound)"
      findings.problem(
        fields.node(key)?.mark ?? fields.mark,
        "`\(key)` is \(bounds), or max, such as \(example); not `\(text.quotable)`")
      return nil
    }
    return Amount(value: value)
  }

  /// Microseconds of processor time in each period of microseconds.
  private func readCPU(_ fields: Fields) -> Amount<Settings.Process.CPU>? {
    guard let text = fields.text("cpu.max", example: "200000 1000000") else { return nil }
    let words = text.split(separator: " ").map(String.init)
    let period = words.count == 2 ? Self.number(words[1]) : 100_000
    if (1...2).contains(words.count), let period, (1000...1_000_000).contains(period) {
      if words[0] == "max" { return Amount(value: nil) }
      if let quota = Self.number(words[0]), (1000...1_000_000_000).contains(quota) {
        return Amount(value: Settings.Process.CPU(quotaUs: quota, periodUs: period))
      }
    }
    findings.problem(
      fields.node("cpu.max")?.mark ?? fields.mark,
      "`cpu.max` is a quota (1000 and more, or max) and a period (1000 to 1000000), in microseconds, such as 200000 1000000; "
        + "not `\(text.quotable)`")
    return nil
  }

  // MARK: - io.max

  /// One device, or a list with one line each: `8:0 rbps=1048576 wiops=120`.
  private func readIO(_ fields: Fields) -> [Settings.Process.IO] {
    var limits: [Settings.Process.IO] = []
    for node in fields.list("io.max", orSingle: true, example: "[\"8:0 wbps=10M\"]") {
      guard case .scalar(let text, _) = node.content, let limit = Self.io(text) else {
        findings.problem(
          node.mark,
          "`io.max` is \(Self.ioKeys.joined(separator: "=N, "))=N, each once, for the workspace's device or behind MAJOR:MINOR, "
            + "such as wbps=10M or 8:0 rbps=1048576 wiops=120; not \(node.shown)")
        continue
      }
      if limits.contains(where: { $0.device == limit.device }) {
        findings.problem(node.mark, "this device stands twice in `io.max`; write its limits in one line")
      }
      limits.append(limit)
    }
    return limits
  }

  private static let ioKeys = ["rbps", "wbps", "riops", "wiops"]

  private static func io(_ text: String) -> Settings.Process.IO? {
    var words = text.split(separator: " ").map(String.init)
    var device: Settings.Process.Device?
    if let first = words.first, first.contains(":") {
      let numbers = first.split(separator: ":", omittingEmptySubsequences: false).compactMap { number(String($0)) }
      guard numbers.count == 2, let major = UInt32(exactly: numbers[0]), let minor = UInt32(exactly: numbers[1]),
        first == "\(major):\(minor)"
      else { return nil }
      device = Settings.Process.Device(major: major, minor: minor)
      words.removeFirst()
    }
    var seen: Set<String> = []
    var limits: [String] = []
    for word in words {
      let parts = word.split(separator: "=", omittingEmptySubsequences: false).map(String.init)
      guard parts.count == 2, ioKeys.contains(parts[0]), seen.insert(parts[0]).inserted else { return nil }
      let value = parts[0].hasSuffix("bps") ? size(parts[1]) : number(parts[1])
      guard parts[1] == "max" || value ?? 0 > 0 else { return nil }
      limits.append("\(parts[0])=\(value.map(String.init) ?? "max")")
    }
    return limits.isEmpty ? nil : Settings.Process.IO(device: device, text: limits.joined(separator: " "))
  }

  private static func number(_ text: String) -> Int? {
    guard (1...15).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return Int(text)
  }

  private static func size(_ text: String) -> Int? {
    let units: [(Character, Int)] = [("K", 10), ("M", 20), ("G", 30)]
    guard let last = text.last, let unit = units.first(where: { $0.0 == last }) else { return ByteSize.parse(text) }
    guard let value = number(String(text.dropLast())), value < 1 << 30 else { return nil }
    return value << unit.1
  }
}

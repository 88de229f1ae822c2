// Why a target deserves a second look before a rule lets it out: look-alikes, ways around the gate, names that carry
// data. It relies on KnownHosts and on the names that are allowed already; it judges names alone, and looks nothing up.
import Policy
package import Wire

package struct Suspicion: Sendable {
  /// Names that others may imitate, by what they look like; and by their length, for those that are one edit away.
  private var bySkeleton: [String: String] = [:]
  private var byLength: [Int: [[UInt8]]] = [:]
  private var trusted: Set<String> = []
  /// Registrable names with more names below them than a program has reasons for.
  private var crowded: Set<String> = []

  /// Hosts that were refused on more ports than a program has reasons for.
  private var scanned: Set<Host> = []

  private static let crowd = 50
  private static let portsMax = 12

  /// `trusted` are the names that rules allow already, `refused` the targets of which nothing was let out.
  package init(trusted names: [HostName], seen: [HostName] = [], refused: [Target] = []) {
    for name in KnownHosts.popular + names.map({ NameParts.registrable("\($0)") }) where trusted.insert(name).inserted {
      bySkeleton[NameParts.skeleton(name)] = name
      byLength[name.utf8.count, default: []].append(Array(name.utf8))
    }
    var below: [String: Int] = [:]
    for name in Set(seen) { below[NameParts.registrable("\(name)"), default: 0] += 1 }
    crowded = Set(below.filter { $0.value >= Self.crowd }.keys)
    var ports: [Host: Set<UInt16>] = [:]
    for target in refused { ports[target.host, default: []].insert(target.port) }
    scanned = Set(ports.filter { $0.value.count > Self.portsMax }.keys)
  }

  /// Empty: nothing is known against it.
  package func reasons(against host: Host, addresses: Set<IPAddress> = []) -> [String] {
    let scan = scanned.contains(host) ? ["more than \(Self.portsMax) of its ports were tried: a port scan"] : []
    let name: HostName
    switch host {
    case .name(let known): name = known
    case .address(let address):
      return [
        "a raw address (\(address.kind.rawValue)): no name says whose it is, and TLS is not held to one"
      ] + scan
    }
    let text = "\(name)"
    var found = scan
    if MetadataServices.names.contains(text) {
      found.append("a cloud's metadata service, which hands out the machine's credentials")
    }
    if text == "localhost" || text.hasSuffix(".localhost") { found.append("the gate's own machine") }
    if let kind = KnownHosts.evasiveKind(of: text) { found.append(kind.text) }
    if let imitated = imitated(by: text) { found.append(imitated) }
    if NameParts.carriesData(text) { found.append("a label that looks random: data can leave in a name") }
    if crowded.contains(NameParts.registrable(text)) {
      found.append("\(Self.crowd) names or more below \(NameParts.registrable(text)): data can leave in names")
    }
    let inside = addresses.filter { $0.kind != .global && $0.kind != .privateUse }
    if let address = inside.min(by: { "\($0)" < "\($1)" }) {
      found.append("it was at \(address), which is \(address.kind.rawValue)")
    }
    return found
  }

  private func imitated(by text: String) -> String? {
    let name = NameParts.registrable(text)
    if trusted.contains(name) { return nil }
    if let known = bySkeleton[NameParts.skeleton(name)] { return "it looks like \(known), and is not" }
    let bytes = Array(name.utf8)
    for length in (bytes.count - 1)...(bytes.count + 1) where length >= 6 {
      for known in byLength[length] ?? [] where NameParts.areOneEditApart(bytes, known) {
        return "one letter away from \(String(decoding: known, as: UTF8.self))"
      }
    }
    let front = text.dropLast(name.utf8.count).split(separator: ".")
    for (one, next) in zip(front, front.dropFirst()) where KnownHosts.popularNames.contains("\(one).\(next)") {
      return "it begins like \(one).\(next), and belongs to \(name)"
    }
    return nil
  }
}

/// Parts of a host name, as far as its text shows them.
enum NameParts {

  /// The last two labels; three where the second last is a `co` or `com` under a country code. No list of public
  /// suffixes: where it errs, it compares a longer or shorter end of the name.
  static func registrable(_ name: String) -> String {
    let labels = name.split(separator: ".")
    guard labels.count > 2 else { return name }
    let isShared =
      labels[labels.count - 1].utf8.count == 2 && PublicSuffixes.secondLevel.contains(String(labels[labels.count - 2]))
    return labels.suffix(isShared ? 3 : 2).joined(separator: ".")
  }

  /// True if the names right below it can be taken to have one owner.
  static func isOwned(_ parent: String) -> Bool {
    let labels = parent.split(separator: ".")
    guard labels.count >= 2, registrable(parent) != parent || !isSecondLevel(labels) else { return false }
    return !KnownHosts.shared.contains { parent == $0 || $0.hasSuffix(".\(parent)") || parent.hasSuffix(".\($0)") }
  }

  private static func isSecondLevel(_ labels: [Substring]) -> Bool {
    labels.count == 2 && labels[1].utf8.count == 2 && PublicSuffixes.secondLevel.contains(String(labels[0]))
  }

  /// The text with letters that look alike made the same.
  static func skeleton(_ name: String) -> String {
    let labels = name.split(separator: ".").map { label -> String in
      guard label.hasPrefix("xn--"), let decoded = Punycode.decode(Array(label.dropFirst(4).utf8)) else {
        return String(label)
      }
      return decoded
    }
    var text = ""
    for scalar in labels.joined(separator: ".").unicodeScalars { text += Confusables.latin(scalar) }
    return text.replacing("rn", with: "m").replacing("vv", with: "w")
  }

  /// One letter more, less, other, or two neighbours changed over.
  static func areOneEditApart(_ one: [UInt8], _ other: [UInt8]) -> Bool {
    let (short, long) = one.count <= other.count ? (one, other) : (other, one)
    guard long.count - short.count <= 1, one != other else { return false }
    var front = 0
    while front < short.count, short[front] == long[front] { front += 1 }
    if long.count > short.count { return short[front...].elementsEqual(long[(front + 1)...]) }
    if short[(front + 1)...].elementsEqual(long[(front + 1)...]) { return true }
    return front + 1 < short.count && short[front] == long[front + 1] && short[front + 1] == long[front]
      && short[(front + 2)...].elementsEqual(long[(front + 2)...])
  }

  /// Labels in front of the registrable name that are long and even in their letters, as encoded data is.
  static func carriesData(_ name: String) -> Bool {
    let front = name.dropLast(registrable(name).utf8.count)
    if front.utf8.count >= 80 { return true }
    return front.split(separator: ".").contains { label in
      let bytes = Array(label.utf8)
      if bytes.count >= 45 { return true }
      return bytes.count >= 20 && bytes.count(where: \.isDigit) >= 3 && entropy(bytes) >= 3.3
    }
  }

  /// Shannon's, in bits a byte.
  static func entropy(_ bytes: [UInt8]) -> Double {
    var counts = [Int](repeating: 0, count: 256)
    for byte in bytes { counts[Int(byte)] += 1 }
    return counts.filter { $0 > 0 }.reduce(0) { sum, count in
      let share = Double(count) / Double(bytes.count)
      return sum - share * Logarithm.base2(share)
    }
  }
}

/// Letters that are drawn like Latin ones: an excerpt of Unicode's confusables.txt (UTS #39), and letters with marks.
enum Confusables {
  private static let groups: [(latin: String, others: String)] = [
    ("a", "аαɑáàâäãåāăą"), ("b", "Ьƅ"), ("c", "сϲçćč"), ("d", "ԁďđ"), ("e", "еҽéèêëēėęě"), ("g", "ɡցğ"), ("h", "һհ"),
    ("j", "ј"), ("k", "κк"), ("l", "1iіιıíìîïīӏłľĺ"), ("n", "ոñńňη"), ("o", "0оοօóòôöõøōő"), ("p", "рρ"), ("q", "ԛ"),
    ("r", "гŕř"), ("s", "ѕśšş"), ("t", "тţť"), ("u", "υսúùûüūůű"), ("v", "νѵ"), ("w", "ԝωŵ"), ("x", "хχ"),
    ("y", "уүýÿ"),
    ("z", "źžż"),
  ]
  private static let table: [Unicode.Scalar: String] = {
    var table: [Unicode.Scalar: String] = [:]
    for (latin, others) in groups { for scalar in others.unicodeScalars { table[scalar] = latin } }
    return table
  }()

  static func latin(_ scalar: Unicode.Scalar) -> String { table[scalar] ?? String(Character(scalar)) }
}

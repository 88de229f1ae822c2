// /etc/hosts as a value: names to addresses, read on the main thread and handed to the loops.
// It relies on hosts(5); a line that cannot be read is passed over, as every resolver does.
import Flow
import Policy
import Wire

package struct HostsTable: Sendable {
  struct Entry: Sendable {
    var v4 = NameAnswer(family: .v4, addresses: [])
    var v6 = NameAnswer(family: .v6, addresses: [])
  }

  package static let empty = HostsTable(entries: [:])

  private var entries: [HostName: Entry]

  private init(entries: [HostName: Entry]) { self.entries = entries }

  func find(_ name: HostName) -> Entry? {
    if !entries.isEmpty, let entry = entries[name] { return entry }
    return HostMachine.isNamed(by: name) ? Self.hostMachine : nil
  }

  private static let hostMachine = Entry(
    v4: NameAnswer(family: .v4, addresses: HostMachine.addresses.filter { $0.width == 32 }),
    v6: NameAnswer(family: .v6, addresses: HostMachine.addresses.filter { $0.width == 128 }))

  package static func parse(_ bytes: [UInt8]) -> HostsTable {
    var table = HostsTable.empty
    for line in bytes.split(separator: UInt8(ascii: "\n")) {
      let text = line.prefix { $0 != UInt8(ascii: "#") }
      let words = text.split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: "\r") }
      guard let first = words.first, let address = IPAddress(parsing: Array(first).span) else { continue }
      for word in words.dropFirst() { table.add(Array(word), address) }
    }
    return table
  }

  private mutating func add(_ word: [UInt8], _ address: IPAddress) {
    // A name that cannot be a target is of no use here.
    guard let name = try? HostName(parsing: word.span) else { return }
    if address.width == 32 {
      entries[name, default: Entry()].v4.addresses.append(address)
    } else {
      entries[name, default: Entry()].v6.addresses.append(address)
    }
  }
}

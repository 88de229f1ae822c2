// Lines and refusals by the gate that wrote them, where a log holds those of several.
// It relies on lines of one gate to follow each other: the name of the line before is compared first.
import Wire

struct GateCounts: Sendable {
  struct Entry: Sendable {
    let name: String
    var lines = 0
    var refused = 0
    var lastMs: Int64 = 0
  }

  private static let gatesMax = 64

  private(set) var entries: [Entry] = []
  /// Lines of gates beyond the bound.
  private(set) var beyond = 0
  private var known: [[UInt8]] = []
  private var last = 0

  mutating func add(_ line: borrowing LogLine) {
    guard let name = line.bytes(.gate) else { return }
    if last >= known.count || !name.elementsEqual(known[last]) {
      guard let index = known.firstIndex(where: { name.elementsEqual($0) }) ?? addGate(name) else {
        beyond += line.count
        return
      }
      last = index
    }
    entries[last].lines += line.count
    if line.isRefusal { entries[last].refused += line.count }
    entries[last].lastMs = max(entries[last].lastMs, line.timeMs ?? 0)
  }

  private mutating func addGate(_ name: ArraySlice<UInt8>) -> Int? {
    guard entries.count < Self.gatesMax else { return nil }
    known.append(Array(name))
    entries.append(Entry(name: TerminalText.safe(name.prefix(64))))
    return entries.count - 1
  }
}

// Figures of all gates together and, once there is more than one gate, of each gate alone.
// It relies on Figures being a value: the first gate's own figures are a copy of all, taken when the second gate comes.
package import Policy
import Wire

package struct GateFigures: Sendable {
  /// More gates than this have no figures of their own.
  static let partsMax = 64

  package private(set) var all: Figures
  /// By the gate's place in `names`; empty while there is one gate.
  private var parts: [Figures] = []

  package init(policy: Policy?) { all = Figures(policy: policy) }

  package var names: [String] { all.tally.gates }

  package mutating func add(_ line: borrowing LogLine) {
    let known = names.count
    let gate = all.gate(of: line)
    if names.count > known, known > 0 {
      if known == 1 { parts.append(all) }
      if known < Self.partsMax { parts.append(Figures(policy: all.policy)) }
    }
    all.add(line)
    if gate < parts.count { parts[gate].add(line) }
  }

  /// nil: of all.
  func of(_ gate: String?) -> Figures {
    guard let gate else { return all }
    guard let index = names.firstIndex(of: gate) else { return Figures(policy: all.policy) }
    // One gate alone is all.
    return names.count == 1 ? all : index < parts.count ? parts[index] : Figures(policy: all.policy)
  }
}

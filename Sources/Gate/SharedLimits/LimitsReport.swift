// Shared limits as `sluice status` and a monitoring system see them.
// It relies on figures that the keeper wrote down at the end of its last turn; it asks nobody.
import Policy
import Wire

extension GateStatus {
  struct SharedLimits {
    let settings: Settings.SharedLimits
    let status: LimitsStatus

    init(_ settings: Settings.SharedLimits, _ status: LimitsStatus) {
      (self.settings, self.status) = (settings, status)
    }

    /// `settling` is the end of a loss, and shows as one.
    private var state: String {
      switch status.state {
      case .joining: "joining"
      case .shared: "shared"
      case .lost, .settling: "lost"
      }
    }

    var json: JSONValue {
      .object([
        JSONMember("state", .text(state)), JSONMember("redis", .text(settings.placeText)),
        JSONMember("group", .text(settings.group)), JSONMember("on_loss", .text(settings.onLoss.rawValue)),
        JSONMember("gates", .number(status.gates)), JSONMember("limits", .number(status.limits)),
        JSONMember("held_tokens", .number(status.heldTokens)),
        JSONMember("operations", .number(Int(clamping: status.operations))),
        JSONMember("losses", .number(Int(clamping: status.losses))),
        JSONMember("problem", status.problem.map { .text($0) } ?? .null),
      ])
    }
  }
}

extension GateMetrics {
  static let sharedUp = MetricFamily(
    "sluice_shared_limits_up", .gauge, "1 while the gates of the group count together, 0 while Redis is out of reach.")
  static let sharedGates = MetricFamily(
    "sluice_shared_limits_gates", .gauge, "Gates of the group, as Redis counted them last.")
  static let sharedHeld = MetricFamily(
    "sluice_shared_limits_held_tokens", .gauge, "Tokens that this gate holds unspent, requests and bytes together.")
  static let sharedOperations = MetricFamily(
    "sluice_shared_limits_operations_total", .counter, "Operations of this gate on Redis.")
  static let sharedLosses = MetricFamily(
    "sluice_shared_limits_losses_total", .counter, "How often this gate lost Redis.")

  static let sharedFamilies = [sharedUp, sharedGates, sharedHeld, sharedOperations, sharedLosses]

  /// A gate that counts for itself has none of them.
  func sharedLimits(_ out: inout Exposition) {
    let shared = status.limits?.status
    let values: [MetricValue?] = [
      shared.map { .flag($0.state == .shared) }, shared.map { .whole($0.gates) }, shared.map { .whole($0.heldTokens) },
      shared.map { .whole($0.operations) }, shared.map { .whole($0.losses) },
    ]
    for (family, value) in zip(Self.sharedFamilies, values) {
      out.begin(family)
      if let value { out.sample(family, value) }
    }
  }
}

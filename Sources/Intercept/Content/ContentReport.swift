// What the checks of one request and its answer found, for the log: what it was, where, how often. Never the text
// itself. It relies on Finding, which holds none of it either.
import Content

package struct ContentReport: Equatable, Sendable {
  /// A kind of Finding, or `unchecked`: something could not be looked into.
  package var finding: String
  /// The pattern, the kind of secret, the limit, or why it could not be looked into.
  package var what: String
  package var place: String
  package var count: Int
  /// Which request of its connection.
  package var ordinal: UInt32
  /// Report mode let it out, and enforce would have refused it.
  package var wouldDeny = false
}

/// Where one exchange's findings go.
struct ContentReporter {
  private static let kindsMax = 64

  let ordinal: UInt32
  let tell: (ContentReport) -> Void

  /// Each kind once, however often it is there.
  func found(_ findings: [Finding], in place: String, wouldDeny: Bool = false) {
    var reports: [ContentReport] = []
    for finding in findings {
      if let index = reports.firstIndex(where: { $0.finding == finding.kind.rawValue && $0.what == finding.id }) {
        reports[index].count += 1
      } else if reports.count < Self.kindsMax {
        reports.append(
          ContentReport(
            finding: finding.kind.rawValue, what: finding.id, place: place, count: 1, ordinal: ordinal,
            wouldDeny: wouldDeny))
      }
    }
    for report in reports { tell(report) }
  }

  func unchecked(_ why: String, in place: String) {
    tell(ContentReport(finding: "unchecked", what: why, place: place, count: 1, ordinal: ordinal))
  }
}

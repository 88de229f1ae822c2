// The surroundings of a content filter: what its tunnel, its rule and its gate lend to it.
// It relies on the Gate to make them anew for each request.
package import Flow
package import Policy

/// What a filter has of its tunnel.
package struct ContentSurroundings {
  package var held: HeldBytes
  package var placeholders: Placeholders
  package var own: [OwnSecret]
  /// What the gate writes itself, in place of what the client sent.
  package var fieldsOfTheGate: [[UInt8]]
  /// A key of the gate goes with the request where nothing speaks against it.
  package var hasCredential: Bool
  /// nil where nobody can be asked.
  package var review: (any ReviewDesk)?
  package var wake: @Sendable () -> Void
  package var report: (ContentReport) -> Void

  package init(
    held: HeldBytes, placeholders: Placeholders, own: [OwnSecret], fieldsOfTheGate: [[UInt8]],
    hasCredential: Bool = false, review: (any ReviewDesk)? = nil, wake: @escaping @Sendable () -> Void,
    report: @escaping (ContentReport) -> Void
  ) {
    (self.held, self.placeholders, self.own, self.fieldsOfTheGate) = (held, placeholders, own, fieldsOfTheGate)
    (self.hasCredential, self.review, self.wake, self.report) = (hasCredential, review, wake, report)
  }
}

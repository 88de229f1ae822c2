// Package registries whose hosts a policy takes from the settings of their tool, and what those settings say.
// Relies on whoever loads the policy to read them, as no host of a registry is known here.

package enum Registry: String, CaseIterable, Sendable { case pip, npm, cargo, maven, apt }

/// The settings of one registry's tool, as far as a sandbox needs them.
package struct RegistryAnswer: Equatable, Sendable {
  package let registry: Registry
  /// `HOST:PORT`, each once, in the order of the settings.
  package var targets: [String] = []
  /// Variables that tell the tool inside the same, without passwords.
  package var variables: [Settings.Environment.Variable] = []
  /// Settings that stand in the caller's home and hold no password, relative to it.
  package var files: [String] = []
  /// Where a password stands, which stays outside.
  package var passwords: [String] = []

  package init(_ registry: Registry) { self.registry = registry }
}

// Package registries whose hosts come from the settings of their tool, with the parts of those settings that matter.
// It relies on the loader of the policy to read them: no registry's host is built in here.

package enum Registry: String, CaseIterable, Sendable { case pip, npm, cargo, maven, apt }

/// The settings of one registry's tool, as far as a sandbox needs them.
package struct RegistryAnswer: Equatable, Sendable {
  package let registry: Registry
  /// Targets as `HOST:PORT` without duplicates, in the order of the settings.
  package var targets: [String] = []
  /// Variables that give the tool inside the sandbox the same settings, without passwords.
  package var variables: [Settings.Environment.Variable] = []
  /// Settings files in the caller's home without passwords, relative to it.
  package var files: [String] = []
  /// Places of passwords, which stay outside the sandbox.
  package var passwords: [String] = []

  package init(_ registry: Registry) { self.registry = registry }
}

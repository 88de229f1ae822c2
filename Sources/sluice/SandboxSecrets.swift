// Credentials as a sandbox sees them: the placeholders of the policy, and no place that a value is read from.
// It relies on the policy for where values are; a wish that would show one inside is refused before anything starts.
import Kernel
import Policy
import Sandbox

struct SandboxSecrets {
  let credentials: [Credential]

  private var hidden: Set<String> { Set(credentials.flatMap(\.secretVariables)) }

  /// Variables of the policy's `environment.pass`. A wildcard passes a credential over; to name one is a mistake.
  func withoutThem(_ names: [String], passing patterns: [String]) throws(LaunchFailure) -> [String] {
    let hidden = hidden
    for pattern in patterns where hidden.contains(pattern) {
      throw LaunchFailure("environment.pass \(pattern): \(Self.staysOutside)")
    }
    return names.filter { name in
      !hidden.contains(name) && patterns.contains { SandboxVariable.matches($0, name) }
    }
  }

  private static let staysOutside =
    "a credential of the policy is read from it, and stays outside; leave it out, the gate puts it in"

  /// Variables of `--env`, after the placeholders: they win.
  func environment(_ wanted: [String]) throws(LaunchFailure) -> [String] {
    let hidden = hidden
    for entry in wanted where hidden.contains(entry) { throw LaunchFailure("--env \(entry): \(Self.staysOutside)") }
    return credentials.compactMap { credential in
      guard let name = credential.environment, let placeholder = credential.placeholder else { return nil }
      return "\(name)=\(placeholder)"
    } + wanted
  }

  /// `shown` are real paths.
  func checkFiles(shown: [String]) throws(LaunchFailure) {
    for credential in credentials {
      for file in credential.secretFiles {
        // A path that is not there yet cannot be followed: then its own name counts.
        let path = HostFile.realPath(file) ?? file
        for folder in shown where path == folder || path.hasPrefix("\(folder)/") {
          throw LaunchFailure(
            "credential \(credential.name) is read from \(file), which the command could read in \(folder); keep it elsewhere"
          )
        }
      }
    }
  }
}

// A named credential: its source, its place in a request, and the placeholder that the client sends instead.
// It relies on the gate to read the value: no value of a credential is ever stored here.
package import Wire

package struct Credential: Hashable, Sendable {
  package indirect enum Source: Hashable, Sendable {
    case file(String)
    /// A variable of the gate's own environment.
    case env(String)
    case command([String], timeoutMs: UInt64)
    case oauth2(OAuth2)
  }

  package enum Placement: Hashable, Sendable {
    /// A field whose value is `prefix`, the token, `suffix`.
    case header(name: String, prefix: String, suffix: String)
    case basic(user: String)
    case query(String)
    /// Region and service from the policy, or else those that the client signed for.
    case sigv4(region: String?, service: String?)
  }

  package enum Mode: Hashable, Sendable {
    case inject
    /// The client sends this text where the credential belongs.
    case replace(placeholder: String)
  }

  package let name: String
  package let line: SourceLine
  package var source: Source
  package var placement: Placement
  package var mode = Mode.inject
  /// The variable that `sluice run` sets to the placeholder.
  package var environment: String?

  package init(name: String, line: SourceLine, source: Source, placement: Placement) {
    (self.name, self.line, self.source, self.placement) = (name, line, source, placement)
  }

  package var placeholder: String? {
    if case .replace(let text) = mode { return text }
    return nil
  }

  /// Environment variables that hold values: no child process of the gate may see them.
  package var secretVariables: [String] { source.secretVariables }
  package var secretFiles: [String] { source.secretFiles }
  /// Files that the gate overwrites while it runs.
  package var writtenFiles: [String] {
    guard case .oauth2(let grant) = source, grant.writesBack, case .file(let path)? = grant.refreshToken else {
      return []
    }
    return [path]
  }
  package var commands: [(words: [String], timeoutMs: UInt64)] { source.commands }
}

extension Credential.Source {
  fileprivate var secretVariables: [String] {
    switch self {
    case .env(let name): [name]
    case .oauth2(let grant): grant.clientSecret.secretVariables + (grant.refreshToken?.secretVariables ?? [])
    case .file, .command: []
    }
  }

  fileprivate var secretFiles: [String] {
    switch self {
    case .file(let path): [path]
    case .oauth2(let grant): grant.clientSecret.secretFiles + (grant.refreshToken?.secretFiles ?? [])
    case .env, .command: []
    }
  }

  fileprivate var commands: [(words: [String], timeoutMs: UInt64)] {
    switch self {
    case .command(let words, let timeoutMs): [(words, timeoutMs)]
    case .oauth2(let grant): grant.clientSecret.commands + (grant.refreshToken?.commands ?? [])
    case .file, .env: []
    }
  }

  package var word: String {
    switch self {
    case .file: "file"
    case .env: "env"
    case .command: "command"
    case .oauth2: "oauth2"
    }
  }
}

/// The two grants of RFC 6749 that need no person: client credentials (section 4.4), and a refresh token (section 6).
package struct OAuth2: Hashable, Sendable {
  package enum Authentication: String, CaseIterable, Sendable { case basic, body }

  package var endpoint: Target
  /// Path and query of the token endpoint.
  package var path: String
  package var clientID: String
  package var clientSecret: Credential.Source
  package var refreshToken: Credential.Source?
  /// A new refresh token replaces the file's text.
  package var writesBack = false
  package var scope: String?
  package var audience: String?
  package var authentication = Authentication.basic
  /// The only addresses allowed for the endpoint.
  package var addresses: [AddressPrefix] = []
  package var tls = UpstreamTLS()

  package init(endpoint: Target, path: String, clientID: String, clientSecret: Credential.Source) {
    (self.endpoint, self.path, self.clientID, self.clientSecret) = (endpoint, path, clientID, clientSecret)
  }

  /// True if both can use the same refresh token: same client, same endpoint, same initial token.
  package func sharesRefreshToken(with other: OAuth2) -> Bool {
    refreshToken != nil && refreshToken == other.refreshToken && endpoint == other.endpoint && path == other.path
      && clientID == other.clientID
  }
}

extension Credential.Placement {
  package var description: String {
    switch self {
    case .header(let name, let prefix, let suffix): "header \(name): \(prefix)${token}\(suffix)"
    case .basic(let user): "basic \(user)"
    case .query(let name): "query \(name)"
    case .sigv4(let region, let service): "sigv4 \(service ?? "*")/\(region ?? "*")"
    }
  }
}

// Reads a credential from where it is: a file, a variable, a program, a token endpoint. All of it may block.
// It relies on being called on a thread of its own; what goes wrong is told without a byte of what was read.
package import Kernel
package import Policy

package struct CredentialSources: Sendable {
  /// Variables that hold values: programs that are run do not see them.
  package var hiddenVariables: [String]
  /// nil: programs are started as they are needed. Else by these alone, as the gate can start none any more.
  package var helpers: [[String]: CommandHelper]?
  /// Screened addresses of a token endpoint; throws what the user is told.
  package var resolve: @Sendable (OAuth2) throws(CredentialProblem) -> [SocketAddress]

  package init(
    hiddenVariables: [String], helpers: [[String]: CommandHelper]? = nil,
    resolve: @escaping @Sendable (OAuth2) throws(CredentialProblem) -> [SocketAddress]
  ) {
    (self.hiddenVariables, self.helpers, self.resolve) = (hiddenVariables, helpers, resolve)
  }

  /// `refreshToken` is what the endpoint gave in place of the one in the policy.
  package func fetch(
    _ credential: Credential, refreshToken: Secret?
  ) throws(CredentialProblem) -> FetchedCredential {
    let nowUnix = Clock.wallMs() / 1000
    if case .oauth2(let grant) = credential.source {
      let id = try text(of: grant.clientSecret)
      var refresh = refreshToken
      if refresh == nil, let source = grant.refreshToken { refresh = try text(of: source) }
      let endpoint = TokenEndpoint(grant: grant, addresses: try resolve(grant))
      var fetched = try endpoint.ask(
        clientSecret: id, refreshToken: refresh, for: credential.placement, nowUnix: nowUnix)
      if let token = fetched.refreshToken, let path = credential.writtenFiles.first {
        fetched.warning = Self.writeBack(token, path)
      }
      return fetched
    }
    var bytes = try bytes(of: credential.source)
    do throws(CredentialProblem) {
      return try CredentialText.read(&bytes, for: credential.placement, nowUnix: nowUnix)
    } catch {
      throw CredentialProblem("\(Self.name(of: credential.source)): \(error)")
    }
  }

  /// In place of the old text, whole or not at all. What could not be done; nil when it was.
  static func writeBack(_ token: Secret, _ path: String) -> String? {
    token.withCopy { text in
      var line = text
      line.reserveCapacity(text.count + 1)
      line.append(0x0a)
      defer { Secret.wipe(&line) }
      do throws(SystemError) {
        try NewFile.replace(path, line, mode: NewFile.mode(path) ?? 0o600)
        return nil
      } catch {
        return "its new refresh token cannot be written to \(path), and is kept in memory alone: \(error);"
          + " let the gate's user write to the folder"
      }
    }
  }

  /// A plain text, such as a client's secret.
  private func text(of source: Credential.Source) throws(CredentialProblem) -> Secret {
    var bytes = try bytes(of: source)
    do throws(CredentialProblem) {
      return try CredentialText.read(&bytes, for: .query(""), nowUnix: 0).value.secret
    } catch {
      throw CredentialProblem("\(Self.name(of: source)): \(error)")
    }
  }

  private func bytes(of source: Credential.Source) throws(CredentialProblem) -> [UInt8] {
    switch source {
    case .file(let path):
      guard let bytes = FileBytes.read(path, bytesMax: CredentialText.bytesMax) else {
        throw CredentialProblem("\(path) cannot be read (it must exist, be readable, and be at most 64 KiB)")
      }
      return bytes
    case .env(let name):
      guard let text = Environment.value(name) else {
        throw CredentialProblem("the gate has no variable \(name); set it where the gate is started")
      }
      return Array(text.utf8)
    case .command(let words, let timeoutMs): return try output(of: words, timeoutMs)
    case .oauth2: preconditionFailure("a grant is asked for, and not read")
    }
  }

  private func output(of words: [String], _ timeoutMs: UInt64) throws(CredentialProblem) -> [UInt8] {
    let ended: ChildProcess.Printed
    if helpers != nil, helpers?[words] == nil {
      throw CredentialProblem(
        "\(words[0]): this gate has confined itself, and starts no program that its policy did not name then; restart it"
      )
    }
    do throws(SystemError) {
      if let helper = helpers?[words] {
        ended = try helper.run()
      } else {
        ended = try ChildProcess.output(of: words, hiding: hiddenVariables, timeoutMs: timeoutMs)
      }
    } catch {
      throw CredentialProblem("cannot be run: \(error)")
    }
    switch ended {
    case .output(let bytes) where bytes.count <= CredentialText.bytesMax: return bytes
    case .output: throw CredentialProblem("\(words[0]) printed more than 64 KiB")
    case .status(let status):
      throw CredentialProblem("\(words[0]) ended with status \(status); run it by hand to see what it says")
    case .tookTooLong: throw CredentialProblem("\(words[0]) took longer than its `timeout`, and was ended")
    }
  }

  private static func name(of source: Credential.Source) -> String {
    switch source {
    case .file(let path): path
    case .env(let name): "the variable \(name)"
    case .command(let words, _): "what \(words[0]) printed"
    case .oauth2(let grant): "\(grant.endpoint)"
    }
  }
}

// The policy file on disk: read whole, with the password files that it names, and what is wrong with it said.
// It relies on PolicyFile for the meaning; a file that cannot be read is a problem like any other.
import Content
import Gate
import Intercept
import Kernel
import Policy
import PolicyFile
import Sandbox
import YAML

enum PolicyOnDisk {
  private static let policyBytesMax = 16 << 20
  private static let passwordBytesMax = 1 << 20

  /// Profiles without a file of the user's own.
  private static let profilesAlone = "network_policy: {default: deny}"

  /// Says what is wrong with the file, or only doubtful; nil when it is no policy. `read` is told of each file that was
  /// opened for it, and whether that went well. Without a path the profiles are the policy.
  static func load(
    _ path: String?, profiles: [String] = [], registries: RegistryAnswers = .ofCaller, inheriting old: Policy? = nil,
    sandbox: String? = nil, say: (String) -> Void = Messages.say, read: @escaping (String, Bool) -> Void = { _, _ in }
  ) -> Policy? {
    let bytes = path.map { FileBytes.read($0, bytesMax: policyBytesMax) } ?? Array(profilesAlone.utf8)
    if let path { read(path, bytes != nil) }
    guard let bytes else {
      say("\(path ?? ""): cannot be read (it must exist, be readable, and be at most 16 MiB)")
      return nil
    }
    let loaded = PolicyFile.parse(
      bytes: bytes, name: path ?? "--profile", profiles: profiles, inheriting: old, sandbox: sandbox,
      nowUnix: Clock.wallMs() / 1000, registries: registries
    ) { path in
      let bytes = FileBytes.read(path, bytesMax: passwordBytesMax)
      read(path, bytes != nil)
      return bytes
    }
    for warning in loaded.warnings { say(warning.asWarning) }
    for problem in loaded.problems { say("\(problem)") }
    guard let policy = loaded.policy else { return nil }
    do throws(PatternProblems) { _ = try ContentPlans(policy) } catch {
      say("\(error)")
      return nil
    }
    return policy
  }
}

extension PolicyOnDisk {
  /// One allow rule as a person gives it.
  static func rule(_ text: String) -> Result<AllowSpec, RuleProblem> {
    do throws(PolicyFile.RuleTextProblem) {
      return .success(try PolicyFile.rule(text, nowUnix: Clock.wallMs() / 1000))
    } catch {
      return .failure(RuleProblem("\(error)"))
    }
  }
}

/// The policy file of a running gate. Of the main thread alone.
final class FilePolicySource: PolicySource {
  private let path: String?
  private let profiles: [String]
  /// Asked once: a gate that has confined itself cannot read the settings of tools again.
  private let registries = RegistryAnswers.ofCaller
  /// The one sandbox that the gate serves, where it is a part of `sluice run`.
  private let sandbox: String?
  private var files: Set<String> = []
  private var isConfined = false
  private var policy: Policy?
  /// As the files were before they were read last, and when they were looked at last. By path, links followed: a
  /// ConfigMap's files are swapped by one link that leads to another folder.
  private var readStamps: [String: FileStamp?] = [:]
  private var seenStamps: [String: FileStamp?] = [:]

  init(path: String?, profiles: [String] = [], sandbox: String? = nil) {
    (self.path, self.profiles, self.sandbox) = (path, profiles, sandbox)
  }

  /// Gives up all that the gate does not need, and says what the kernel cannot hold. What was read up to now can be
  /// read again, where it stands.
  func confine(log: String?, adminSocket: String?) throws(ServerError) {
    files.formUnion(policy?.filesReadLater ?? [])
    let confinement = SelfConfinement.serving(
      read: files.sorted(), replaced: policy?.writtenFiles ?? [], log: log,
      adminSocket: adminSocket, usesLocalSockets: policy?.hasLocalStore ?? false, folder: SelfConfinement.folders)
    for right in confinement.broad { Messages.warn("the gate, although confined, still \(right)") }
    try confinement.enterOrFail()
    isConfined = true
  }

  var file: String? { path }
  /// With those that the policy names: a reload reads them again.
  var filesRead: [String] { files.sorted() }

  func rule(_ text: String) -> Result<AllowSpec, RuleProblem> { PolicyOnDisk.rule(text) }

  func load(replacing old: Policy?, _ say: (String) -> Void) -> Policy? {
    guard path != nil || !profiles.isEmpty else {
      if old == nil { say("warning: no --policy: everything is denied; write a policy and start with --policy FILE") }
      return Policy.denyAll(clients: sandbox.map { [$0] } ?? [])
    }
    var refused: [String] = []
    if let path { files.insert(path) }
    let before = stamps
    defer {
      // Files that this load was the first to read have no stamp of before.
      readStamps = stamps.merging(before) { _, before in before }
      seenStamps = readStamps
    }
    let loaded = PolicyOnDisk.load(
      path, profiles: profiles, registries: registries, inheriting: old, sandbox: sandbox, say: say
    ) { file, wasRead in
      if wasRead {
        self.files.insert(file)
      } else if self.isConfined, HostFile.mayRead(file) {
        // Landlock refuses to open it, not to look.
        refused.append(file)
      }
    }
    for file in refused {
      say(
        "\(file): the gate may read only the folders that it used at its start; "
          + "restart it to use this file"
      )
    }
    policy = loaded ?? policy
    return loaded
  }

  private var stamps: [String: FileStamp?] {
    Dictionary(uniqueKeysWithValues: files.map { ($0, FileStamp(path: $0)) })
  }

  /// A change counts once it stays the same from one look to the next: a file may be half written.
  func hasChanged() -> Bool {
    let now = stamps
    defer { seenStamps = now }
    return now != readStamps && now == seenStamps
  }
}

extension RegistryAnswers {
  /// Out of the settings of the caller's own tools.
  static var ofCaller: RegistryAnswers {
    let settings = ToolSettings(
      variable: Environment.value, variables: Environment.names(),
      read: { FileBytes.read($0, bytesMax: 1 << 20) }, list: { HostFile.list($0).map(\.name) })
    return RegistryAnswers(settings.answer)
  }
}

extension Policy {
  /// The Redis of shared limits is at a path.
  var hasLocalStore: Bool {
    settings.shared?.place.servers.contains { if case .unix = $0 { true } else { false } } ?? false
  }

  /// Files that the gate replaces while it serves.
  var writtenFiles: [String] {
    credentials.flatMap(\.writtenFiles) + (settings.stateFolder.map { ["\($0)/\(StateFile.name)"] } ?? [])
  }

  /// Files that are read while the gate serves: values of credentials, the CA at a reload, the system's roots.
  var filesReadLater: [String] {
    var files = credentials.flatMap(\.secretFiles)
    if !inspectedTLS.isEmpty {
      // Where the CA has no place, the gate does not start at all.
      if let folder = try? InspectionSetup.folder(self) { files.append(folder.keyFile) }
      if let roots = SystemRoots.path { files.append(roots) }
    }
    return files
  }
}

extension SelfConfinement {
  func enterOrFail() throws(ServerError) {
    do throws(SystemError) {
      let lacks = try enter()
      if !lacks.isEmpty {
        Messages.warn("this kernel cannot confine the gate fully: \(lacks.joined(separator: "; "))")
      }
    } catch {
      throw .cannotConfine(error)
    }
  }

  static func sayOff() {
    Messages.warn("--no-self-sandbox: the gate is not confined, and has every right of its user")
  }
}

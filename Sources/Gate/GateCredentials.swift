// The credential store with the surroundings that its fetches need.
// It relies on Intercept for values and placements; names are resolved as the gate's own loops do.
import Flow
import Intercept
import Kernel
import Policy
import Synchronization
import Wire

/// The credential store and the surroundings of its fetches. Each new policy replaces the surroundings; the fetching
/// threads read them.
final class GateCredentials: Sendable {
  struct Surroundings: Sendable {
    var settings: Settings
    var hosts: HostsTable
    var gate: GateAddresses
    var hiddenVariables: [String]
  }

  let store: CredentialStore
  private let surroundings: SharedSurroundings
  private let helpers: SharedHelpers

  init(_ policy: Policy) {
    let helpers = SharedHelpers()
    self.helpers = helpers
    let surroundings = SharedSurroundings(
      Surroundings(
        settings: policy.settings, hosts: .empty, gate: GateAddresses(listeners: [], interfaces: []),
        hiddenVariables: []))
    self.surroundings = surroundings
    store = CredentialStore(
      fetch: { credential, refreshToken throws(CredentialProblem) in
        let now = surroundings.value
        let sources = CredentialSources(hiddenVariables: now.hiddenVariables, helpers: helpers.all) {
          grant throws(CredentialProblem) in
          try EndpointLookup.addresses(of: grant, now)
        }
        return try sources.fetch(credential, refreshToken: refreshToken)
      }, tell: { Messages.warn($0) })
  }

  /// Resolves a target that the operator wrote into the policy. Blocks.
  func addresses(of target: Target) throws(CredentialProblem) -> [SocketAddress] {
    try EndpointLookup.addresses(of: target, surroundings.value)
  }

  /// Starts one helper process per program of the policy. Call before the gate gives up starting programs, and before
  /// it starts threads.
  func keepPrograms(_ policy: Policy) throws(SystemError) {
    let hidden = policy.credentials.flatMap(\.secretVariables)
    var all: [[String]: CommandHelper] = [:]
    for (words, timeoutMs) in policy.credentials.flatMap(\.commands) where all[words] == nil {
      all[words] = try CommandHelper(words, hiding: hidden, timeoutMs: timeoutMs)
    }
    helpers.all = all
  }

  /// Called at the start and with each new policy: values are read again.
  func take(_ policy: Policy, hosts: HostsTable, gate: GateAddresses) {
    surroundings.value = Surroundings(
      settings: policy.settings, hosts: hosts, gate: gate,
      hiddenVariables: policy.credentials.flatMap(\.secretVariables))
    store.take(policy.credentials)
    // The check for leaked secrets needs their values before the first request.
    if policy.contentPolicies.contains(where: { $0.secrets != nil }) { store.fetchAll() }
  }

  /// Called in every round of the main thread.
  func lookAround(hosts: HostsTable, gate: GateAddresses) {
    var now = surroundings.value
    (now.hosts, now.gate) = (hosts, gate)
    surroundings.value = now
    store.lookAround()
  }
}

private final class SharedHelpers: Sendable {
  private let state = Mutex<[[String]: CommandHelper]?>(nil)

  var all: [[String]: CommandHelper]? {
    get { state.withLock { $0 } }
    set { state.withLock { $0 = newValue } }
  }
}

private final class SharedSurroundings: Sendable {
  private let state: Mutex<GateCredentials.Surroundings>

  init(_ value: GateCredentials.Surroundings) { state = Mutex(value) }

  var value: GateCredentials.Surroundings {
    get { state.withLock { $0 } }
    set { state.withLock { $0 = newValue } }
  }
}

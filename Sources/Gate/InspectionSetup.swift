// Preparation for inspection: the CA, and the TLS settings of the upstreams.
// It relies on Intercept; the main thread does all of this before the policy is in force.
import Content
package import Intercept
package import Policy

package enum InspectionSetup {
  /// The CA's folder: the policy's setting, or else the folder of the user who runs the gate.
  package static func folder(_ policy: Policy) throws(TLSProblem) -> AuthorityFolder {
    if let path = policy.settings.caFolder { return AuthorityFolder(path) }
    guard let own = AuthorityFolder.own() else {
      throw TLSProblem("no place for the CA: HOME is not set; name a folder in tls: {ca: FOLDER}")
    }
    return own
  }

  package static func explainsDenials(_ policy: Policy, byDefault: Bool) -> Bool {
    policy.settings.explainsDenials ?? byDefault
  }

  static func prepare(
    _ policy: Policy, _ options: ServeOptions, keeping old: PolicyInForce?
  ) throws(ServerError) -> PolicyInForce {
    let listeners = try listeners(policy, keeping: old)
    let explains = explainsDenials(policy, byDefault: options.explainsDenials)
    let content: ContentPlans
    do throws(PatternProblems) { content = try ContentPlans(policy) } catch { throw .cannotInspect("\(error)") }
    guard explains || !policy.inspectedTLS.isEmpty else {
      return PolicyInForce(
        policy: policy, intercept: nil, content: content, explainsDenials: false, listeners: listeners)
    }
    do throws(TLSProblem) {
      let contexts = try InterceptContexts(policy, folder: folder(policy), keeping: old?.intercept)
      return PolicyInForce(
        policy: policy, intercept: contexts, content: content, explainsDenials: explains, listeners: listeners)
    } catch {
      throw .cannotInspect("\(error)")
    }
  }

  /// A listener that the new policy no longer has stays open until the next start, with its old identity.
  private static func listeners(
    _ policy: Policy, keeping old: PolicyInForce?
  ) throws(ServerError) -> [ListenAddress: ListenerTLS] {
    var listeners = old?.listeners ?? [:]
    let standing = old?.policy.settings.listen.identities ?? [:]
    for (address, identity) in policy.settings.listen.identities where standing[address] != identity {
      do throws(TLSProblem) { listeners[address] = try ListenerTLS(identity) } catch {
        throw .cannotServeTLS(address, "\(error)")
      }
    }
    return listeners
  }
}

// What a policy needs before its tunnels can be looked into: the CA, and the TLS settings of its upstreams.
// It relies on Intercept; all of it is done on the main thread, before the policy is in force.
import Content
package import Intercept
package import Policy

package enum InspectionSetup {
  /// The folder of the CA: what the policy names, else that of who runs the gate.
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
    _ policy: Policy, _ options: ServeOptions, keeping old: InterceptContexts?
  ) throws(ServerError) -> PolicyInForce {
    let explains = explainsDenials(policy, byDefault: options.explainsDenials)
    let content: ContentPlans
    do throws(PatternProblems) { content = try ContentPlans(policy) } catch { throw .cannotInspect("\(error)") }
    guard explains || !policy.inspectedTLS.isEmpty else {
      return PolicyInForce(policy: policy, intercept: nil, content: content, explainsDenials: false)
    }
    do throws(TLSProblem) {
      let contexts = try InterceptContexts(policy, folder: folder(policy), keeping: old)
      return PolicyInForce(policy: policy, intercept: contexts, content: content, explainsDenials: explains)
    } catch {
      throw .cannotInspect("\(error)")
    }
  }
}

// The page that an agent is given: the gate answers with it, and `sluice run` mounts it.
// It relies on docs/for-agents.md, which a test compares with this text word for word.

package enum AgentGuide {
  package static let text = page
}

private let page = #"""
  # For agents: working behind an egress gate

  This machine reaches the network through Sluice, an egress gate. The gate allows only what its operator's policy
  names, and refuses everything else. A refusal comes from the policy, not from a broken network. Trying again, another
  DNS server, another proxy or another port does not help.

  Ask the gate for your rules and limits at `http://sluice.internal/`. This needs no key, no TLS and no policy rule.

  | ask | answer |
  | --- | --- |
  | `GET /policy` | the hosts, ports, methods and paths that you may reach, your limits, and what is left of them now |
  | `GET /refusals` | your latest refusals, the newest first, each with its id, reason and state |
  | `POST /requests` with `{"target": "host:port", "reason": "…"}` | asks the operator to allow it; returns an id |
  | `GET /requests/ID` | the state of that request: `waiting`, `recorded`, `approved`, `refused` or `expired` |

  Answers are JSON; with `Accept: text/plain` they are text.

      curl -s -H 'Accept: text/plain' http://sluice.internal/policy
      curl -s http://sluice.internal/requests -d '{"target": "api.example.com:443", "reason": "fetch the schema"}'

  ## What a refusal looks like

  - HTTP: status 403, and `X-Sluice-Reason`. The JSON body has `reason`, `message`, and `policy_line`, the line that
    an operator would add. The answer to a refused API call has an `error.message` as the API's own errors do.
  - HTTPS: a failed CONNECT (`403 Denied by egress policy: not_allowed`), or a TLS alert. The certificates are not the
    problem, and turning verification off changes nothing.
  - DNS: the name does not exist, or it resolves to an address at which the gate answers with the refusal.
  - Status 429 with `Retry-After`: a limit of the policy. Wait that long; trying at once takes longer.

  | reason | what to do |
  | --- | --- |
  | `not_allowed` | use a host of `/policy`, or ask for this one |
  | `method_refused`, `path_refused` | the host is allowed, this request is not: see `methods` and `paths` there |
  | `denied_by_rule`, `address_refused` | the operator does not want this: do not ask again |
  | `not_approved` | a person refused, or nobody answered: do not ask again at once |
  | `rate_limited`, `too_many` | wait for `Retry-After` |
  | `content_refused`, `secret_refused` | the content is refused, wherever it goes: do not encode it or split it |
  | `resolve_failed`, `connect_failed`, `timeout` | the server is at fault; trying again later may help |

  ## When the work needs more

  Ask for it instead of working around the gate. Name the target and the reason: `POST /requests`. If that answers 404,
  tell the person who started you, and quote the `policy_line`. While a request waits, the connection that asked stays
  open for as long as the operator allows. Do other work meanwhile, and ask `GET /requests/ID` from time to time, not in
  a loop.

  Keys that you see here may be placeholders. The gate replaces them with the real keys in requests to
  their own hosts only. Send them as they are.

  """#

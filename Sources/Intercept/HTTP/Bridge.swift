// What carries requests and answers between the two TLS connections of a tunnel, in one of the protocols.
// It relies on both connections speaking the same one: see InspectedTunnel.
package import Flow
package import Wire

package protocol Bridge: AnyObject {
  /// Does all that the two connections now allow.
  func advance(_ tick: Tick) -> TunnelProgress
  /// When it wants another turn without an edge.
  var deadlineMs: UInt64 { get }
  /// What is to be written down.
  func takeOutcomes() -> [Outcome]
}

package enum Bridges {
  /// One exchange outside of a tunnel. The flow has judged its request, whose bytes are `input`.
  static func exchange(
    _ input: [UInt8], client: any PlainStream, upstream: any PlainStream, target: Target, clientName: String,
    _ tools: InterceptTools
  ) -> HTTP1Bridge {
    HTTP1Bridge(
      client: client, upstream: upstream, requests: TunnelRequests(.plain, target: target, client: clientName),
      buffer: tools.buffer, input: input)
  }

  /// nil without memory for it. Without an upstream every request is refused with `standing`.
  package static func make(
    _ spoken: ApplicationProtocol, client: any PlainStream, upstream: (any PlainStream)?, target: Target,
    clientName: String, standing: Refusal? = nil, _ tools: InterceptTools, _ tick: Tick
  ) -> (any Bridge)? {
    var requests = TunnelRequests(target: target, client: clientName)
    requests.standing = standing
    switch spoken {
    case .http1: return HTTP1Bridge(client: client, upstream: upstream, requests: requests, buffer: tools.buffer)
    case .http2:
      guard let library = tools.http2 else { return nil }
      return HTTP2Bridge(client: client, upstream: upstream, requests: requests, buffer: tools.buffer, library, tick)
    }
  }
}

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

/// A plain HTTP request that the flow has judged: all that came of it, and the path that goes out.
package struct JudgedRequest {
  package var bytes: [UInt8]
  package var path: [UInt8]?

  package init(bytes: [UInt8], path: [UInt8]?) { (self.bytes, self.path) = (bytes, path) }
}

package enum Bridges {
  /// One exchange outside of a tunnel; the connection ends behind it.
  package static func make(
    _ request: JudgedRequest, client: any PlainStream, upstream: any PlainStream, target: Target, clientName: String,
    _ tools: InterceptTools
  ) -> any Bridge {
    HTTP1Bridge(
      client: client, upstream: upstream, judge: RequestJudge(target: target, client: clientName),
      buffer: tools.buffer, judged: request)
  }

  /// nil without memory for it. Without an upstream every request is refused with `standing`.
  package static func make(
    _ spoken: ApplicationProtocol, client: any PlainStream, upstream: (any PlainStream)?, target: Target,
    clientName: String, standing: Refusal? = nil, _ tools: InterceptTools, _ tick: Tick
  ) -> (any Bridge)? {
    var judge = RequestJudge(target: target, client: clientName)
    judge.standing = standing
    switch spoken {
    case .http1: return HTTP1Bridge(client: client, upstream: upstream, judge: judge, buffer: tools.buffer)
    case .http2:
      guard let library = tools.http2 else { return nil }
      return HTTP2Bridge(client: client, upstream: upstream, judge: judge, buffer: tools.buffer, library, tick)
    }
  }
}

// What can happen to a flow, and what it may ask for in return.
// These two enums are the whole surface between the pure core and the Gate that does the I/O.
package import Wire

/// How a connection came in, and so who says its target.
package enum Opening: Sendable, Equatable {
  /// To a proxy: CONNECT, a request in absolute form, or SOCKS 5.
  case proxy
  /// Redirected: its first bytes, or where it went. `name` is the one that this address was made up for.
  case redirected(to: IPAddress, port: UInt16, name: HostName?)
}

package enum Event: Sendable {
  /// The first event of a redirected connection: it may be about to hear a server that speaks first.
  case accepted
  /// What is known of the address that a PROXY header said the connection went to.
  case destinationNamed(HostName?)
  /// Bytes were added with `Flow.clientSent`.
  case clientSent
  case clientEnded
  case authenticated(Bool)
  case answered(NameAnswer)
  /// Both families were known at once.
  case resolved(v4: [IPAddress], v6: [IPAddress])
  /// The attempt to `dialled` stands; `peer` is what getpeername(2) says of it.
  case connected(dialled: IPAddress, peer: IPAddress)
  case attemptFailed(code: Int32)
  /// The gate itself could not go on, e.g. no descriptor was left for the upstream socket.
  case gateFailed
  /// Bytes were added with `Flow.upstreamSent`.
  case upstreamSent
  case upstreamEnded
  case requestBodyEnded
  case responseBodyEnded
  /// The framing of a body broke: nothing that follows can be trusted.
  case bodyMalformed
  /// Both directions of a tunnel are done.
  case relayEnded
  /// A checked exchange is over, and its client may ask again; what it said behind is back in the flow's input.
  case exchangeEnded
  case upstreamReset
  case clientReset
  /// Its certificate did not verify; no byte of the client has gone to it.
  case upstreamUntrusted(String)
  /// The TLS handshake with it came to nothing.
  case upstreamFailed(String)
  case uploadLimited
  case downloadLimited
  case deadlinePassed
  case policyReplaced
  /// An operator wants it gone.
  case operatorCloses
  /// The time to drain is over.
  case drainEnded
  /// The registry's answer to the question that `Action.askApproval` asked.
  case approval(ApprovalAnswer)
  /// There may be another answer now.
  case approvalAnswered
  /// A client that waits for an approval sends no more: it is taken for one that has gone.
  case clientLeft
}

package enum Family: UInt8, Sendable { case v4, v6 }

/// Why a look-up found no address.
package enum Absence: Sendable {
  /// There is no such name.
  case name
  /// The name has no address of this family.
  case address
  /// Nobody who knows has said so: another try may find one.
  case failure
}

/// One family's part of a look-up.
package struct NameAnswer: Sendable {
  package var family: Family
  package var addresses: [IPAddress]
  /// What an answer without addresses means.
  package var absence: Absence

  package init(family: Family, addresses: [IPAddress], absence: Absence = .address) {
    self.family = family
    self.addresses = addresses
    self.absence = absence
  }
}

package enum Action: Sendable {
  /// Nothing to do before the next event or the flow's deadline.
  case wait
  case authenticate
  /// Put the question to the registry: `approval` follows. The question stands until the flow does something else.
  case askApproval(ApprovalQuestion)
  case resolve(HostName)
  /// Say which name this address was made up for, if any: `destinationNamed` follows.
  case nameDestination(IPAddress)
  /// Give up an upstream that stands, and start one more attempt.
  case connect(IPAddress, port: UInt16)
  /// Send `flow.toClient`; the client has more to say before its target is known.
  case reply
  /// Send `flow.toClient`, send `flow.toUpstream`, then relay the named directions.
  case relay(up: Bool, down: Bool)
  /// Send `flow.toClient`, then terminate the TLS that the client begins, and that of the upstream: see Intercept.
  case intercept
  /// Send `flow.toClient`, give up the upstream, terminate the client's TLS, and answer there with `flow.unsaid`.
  case explain
  /// The request and its answer are looked into: they are Intercept's from `flow.takeJudgedRequest` on, until
  /// `exchangeEnded`.
  case inspectExchange
  /// Answer `flow.question`, about the gate itself: `flow.answer` takes the bytes.
  case answerQuestion
  /// Send `flow.toUpstream`, then a request body so framed; bytes from the upstream go to the flow.
  case sendRequest(BodyLength)
  /// Send `flow.toClient`; more of the answer's head follows (an interim answer).
  case sendInterim
  /// Send `flow.toClient`, then an answer body so framed.
  case sendResponse(BodyLength)
  /// Send `flow.toClient` if there is any; the exchange is over: give up the upstream unless it may serve the next
  /// request.
  case nextRequest(keepUpstream: Bool)
  /// Send `flow.toClient` if there is any, then close both sides.
  case close(Ending)
}

package enum Ending: Sendable {
  /// The client gets all that was sent to it, then the end.
  case graceful
  /// Both sides are reset: what was cut must not look complete.
  case cut
}

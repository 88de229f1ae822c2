// The events of a flow and the actions that it returns.
// It relies on nothing else: these two enums are the whole interface between the pure core and the Gate's I/O.
package import Wire

/// The way a connection arrived, which decides how its target is named.
package enum Opening: Sendable, Equatable {
  /// A proxy client: CONNECT, a request in absolute form, or SOCKS 5.
  case proxy
  /// A redirected connection: its first bytes or its original destination name the target. `name` is the name that a
  /// synthetic address stands for.
  case redirected(to: IPAddress, port: UInt16, name: HostName?)
}

package enum Event: Sendable {
  /// The first event of a redirected connection: its server may speak first, so the client may send nothing.
  case accepted
  /// The name behind the destination address of a PROXY header, if the address is synthetic.
  case destinationNamed(HostName?)
  /// Bytes were added with `Flow.clientSent`.
  case clientSent
  case clientEnded
  case authenticated(Bool)
  case answered(NameAnswer)
  /// Both families were in the cache.
  case resolved(v4: [IPAddress], v6: [IPAddress])
  /// The attempt to `dialled` is connected; `peer` is the result of getpeername(2).
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
  /// Both directions of a tunnel have ended.
  case relayEnded
  /// A checked exchange has ended, and its client may send another request. Bytes behind the request are back in the
  /// flow's input.
  case exchangeEnded
  case upstreamReset
  case clientReset
  /// The upstream's certificate did not verify. No byte of the client has been sent to it.
  case upstreamUntrusted(String)
  /// The TLS handshake with the upstream failed.
  case upstreamFailed(String)
  case uploadLimited
  case downloadLimited
  case deadlinePassed
  case policyReplaced
  /// An operator closes the connection.
  case operatorCloses
  /// The drain's time limit has passed.
  case drainEnded
  /// The registry's answer to the question that `Action.askApproval` asked.
  case approval(ApprovalAnswer)
  /// The registry may have a new answer.
  case approvalAnswered
  /// The client closed its sending side while it waited for an approval, and counts as gone.
  case clientLeft
}

package enum Family: UInt8, Sendable { case v4, v6 }

/// Why a look-up found no address.
package enum Absence: Sendable {
  /// There is no such name.
  case name
  /// The name has no address of this family.
  case address
  /// The DNS servers gave no usable answer: another try may succeed.
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
  /// Ask the registry: `approval` follows. The question stays open until the flow moves on.
  case askApproval(ApprovalQuestion)
  case resolve(HostName)
  /// Look up the name that this synthetic address stands for: `destinationNamed` follows.
  case nameDestination(IPAddress)
  /// Close an open upstream, and start one more attempt.
  case connect(IPAddress, port: UInt16)
  /// Send `flow.toClient`; more bytes of the client are needed to know the target.
  case reply
  /// Send `flow.toClient`, send `flow.toUpstream`, then relay the named directions.
  case relay(up: Bool, down: Bool)
  /// Send `flow.toClient`, then terminate the client's TLS and start TLS to the upstream: see Intercept.
  case intercept
  /// Send `flow.toClient`, close the upstream, terminate the client's TLS, and answer there with `flow.unsaid`.
  case explain
  /// Inspect the request and its answer: Intercept owns both from `flow.takeJudgedRequest` until `exchangeEnded`.
  case inspectExchange
  /// Answer `flow.question`, about the gate itself: `flow.answer` takes the bytes.
  case answerQuestion
  /// Send `flow.toUpstream`, then a request body with this framing; bytes from the upstream go to the flow.
  case sendRequest(BodyLength)
  /// Send `flow.toClient`; more of the answer's head follows (an interim answer).
  case sendInterim
  /// Send `flow.toClient`, then an answer body with this framing.
  case sendResponse(BodyLength)
  /// Send `flow.toClient` if not empty. The exchange has ended: close the upstream unless it may serve the next
  /// request.
  case nextRequest(keepUpstream: Bool)
  /// Send `flow.toClient` if not empty, then close both sides.
  case close(Ending)
}

package enum Ending: Sendable {
  /// The client gets all bytes queued for it, then the end.
  case graceful
  /// Both sides are reset, so that a cut transfer does not look complete.
  case cut
}

// A connection of the gate's own to a server that it uses, over TLS or without: one nonblocking socket on a loop.
// It relies on TLSStream and SocketStream; the server must prove to be the host that was asked for.
package import Kernel
package import Policy
package import Wire

/// Whom such servers must be vouched for by.
package final class OutgoingTLS: Sendable {
  let context: TLSContext

  /// `ca`: in place of the system's roots.
  package init(ca: UpstreamTLS.PEM?) throws(TLSProblem) {
    var tls = UpstreamTLS()
    tls.roots = ca
    context = try InterceptContexts.upstream(tls)
  }
}

package final class OutgoingStream {
  package enum Progress: Equatable {
    case ready
    case waiting
    case failed(String)
  }

  private enum Below {
    case plain(SocketStream)
    case tls(TLSStream)
  }

  private let below: Below

  /// The socket is the caller's, and outlives this. nil where there is no memory, or no host for TLS.
  package init?(fd: CInt, _ tls: OutgoingTLS?, for host: Host?) {
    guard let tls else {
      below = .plain(SocketStream(fd: fd))
      return
    }
    guard let host, let stream = TLSStream(tls.context, fd: fd) else { return nil }
    let isAsked =
      switch host {
      case .name(let name): stream.ask(name, protocols: [])
      case .address(let address): stream.ask(address)
      }
    guard isAsked else { return nil }
    below = .tls(stream)
  }

  private var stream: any PlainStream {
    switch below {
    case .plain(let stream): stream
    case .tls(let stream): stream
    }
  }

  package func note(_ readiness: Readiness) {
    let (readable, writable, ended) = (readiness.isReadable, readiness.isWritable, readiness.hasPeerEnded)
    switch below {
    case .plain(let stream): stream.note(isReadable: readable, isWritable: writable, hasPeerEnded: ended)
    case .tls(let stream): stream.note(isReadable: readable, isWritable: writable, hasPeerEnded: ended)
    }
  }

  package func handshake() -> Progress {
    guard case .tls(let stream) = below else { return .ready }
    switch stream.handshake() {
    case .done: return .ready
    case .blocked: return .waiting
    case .failed(.untrusted(let why)): return .failed("its certificate cannot be verified: \(why)")
    case .failed(.broken(let why)): return .failed("TLS failed: \(why)")
    }
  }

  /// False when the connection broke.
  package func send(_ bytes: [UInt8]) -> Bool { stream.write(bytes) }
  package func flush() -> Bool { stream.flush() }

  package func receive(by scratch: Scratch) -> Received {
    unsafe scratch.withRoom { unsafe stream.read(into: $0) }
  }
}

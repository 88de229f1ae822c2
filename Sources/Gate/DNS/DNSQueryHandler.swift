// The server as seen by sockets with DNS queries: they hand a query over, and get its reply now or later.
// It relies on DNSServer to be the one that answers.
import Kernel
import Policy
import Wire

/// Client of a query: an address, or the sandbox that the socket belongs to.
struct DNSClient {
  let source: IPAddress
  let sandbox: String?
}

protocol DNSQueryHandler: AnyObject {
  /// How long a stream may take from one query to the next.
  var queryTimeoutMs: UInt64 { get }
  func ask(
    _ message: Span<UInt8>, from peer: DNSClient, isDatagram: Bool, into out: inout [UInt8],
    asker: @autoclosure () -> DNSRequester
  ) -> DNSAsked
  /// A stream has ended.
  func ended(_ slot: Slot, _ owner: ShareOwner, hasWaiting: Bool)
}

enum DNSAsked {
  /// The reply was appended.
  case answered
  /// The reply comes through `DNSRequester`.
  case waiting
  /// The message gets no reply.
  case dropped
}

/// Receiver of a reply that was not there at once.
enum DNSRequester {
  case datagram(DNSDatagramSocket, DatagramPath)
  case stream(DNSConnection)

  func send(_ reply: [UInt8]) {
    switch self {
    case .datagram(let responder, let path): responder.send(reply, along: path)
    case .stream(let stream): stream.send(reply)
    }
  }
}

// One stream of a client that speaks HTTP/2 to a listener: a request, the leg to its session, and how far both sides
// are. It relies on HTTP2ListenerSession for what comes and goes.
import Kernel

final class ListenerStream {
  let id: Int32
  let kind: InnerRequest.Kind
  /// nil where the gate answers without a session.
  let leg: StreamSocket?
  var answer: InnerAnswer
  /// Bytes that came in and that the client's window has not got back.
  var owed = 0
  var hasFinalHead = false
  var isDeferred = false
  var hasClientEnded: Bool
  var hasAnswerEnded = false
  var interimHeads = 0
  /// Bytes of its answer's body that went into frames.
  var taken = 0
  var untaken = SendDeadline()

  /// Nobody works for it any more: what is left is for the client to take.
  var isServed: Bool { leg.map { $0.ending == nil } ?? false }

  init(_ id: Int32, _ kind: InnerRequest.Kind, _ leg: StreamSocket?, _ answer: InnerAnswer, hasClientEnded: Bool) {
    self.id = id
    self.kind = kind
    self.leg = leg
    self.answer = answer
    self.hasClientEnded = hasClientEnded
  }
}

// Any body through the filter that checks content, whole and cut in two, in both directions: the verdict, what goes on and what
// is told are the same, no more than the limit goes on, and a request that is let out whole holds no secret that was given.

import Content
import FuzzDriver
import Intercept
import Policy
import PolicyFile
import Wire

private let secretText = "Gv8-secret/Value+01"

private let contents = [
  "{strip_html: true}", "{strip_html: true, flag_instructions: block, max_response_bytes: 1000}",
  "{flag_instructions: annotate}",
  "{flag_instructions: block}", "{flag_instructions: log, secrets: log}", "{secrets: block}",
  "{strip_html: true, flag_instructions: annotate, max_response_bytes: 200, on_too_large: truncate}",
  "{max_response_bytes: 100}",
]
private let types = [
  "", "text/html", "text/plain", "application/json", "text/event-stream", "application/grpc", "image/png",
  "text/html; charset=iso-8859-1",
]
private let codings = ["", "gzip", "deflate", "br", "zstd", "gzip, br", "", ""]

private let plans: [ContentPlan] = contents.map { content in
  let text = "network_policy: {allow: [{host: 'a.example:443', content: \(content)}]}"
  guard let policy = PolicyFile.parse(bytes: Array(text.utf8), name: "p").policy, let plans = try? ContentPlans(policy),
    let rule = policy.fallback.network.allow.first?.inspection?.content, let plan = plans.plan(for: rule)
  else { preconditionFailure("no plan") }
  return plan
}

private let own: OwnSecret = {
  var bytes = Array(secretText.utf8)
  return OwnSecret(name: "own", value: CredentialValue(secret: Secret(taking: &bytes)))
}()

private let request: FilteredRequest = {
  guard let name = try? HostName("a.example") else { preconditionFailure("no name") }
  return FilteredRequest(
    target: Target(host: .name(name), port: 443), client: "c", ordinal: 1, wouldRefuse: false, isReportOnly: false)
}()

private struct Result: Equatable {
  var reason: Reason?
  var sent: [UInt8] = []
  var isWhole = false
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: size))
  guard bytes.count > 2 else { return 0 }
  let number = Int(bytes[0] & 7)
  let fields = [("content-type", types[Int(bytes[1] & 7)]), ("content-encoding", codings[Int(bytes[1] >> 3 & 7)])]
  let isAnswer = bytes[0] & 8 == 0
  let body = Array(bytes[2...])
  let cut = body.reduce(0) { ($0 &* 31 &+ Int($1)) & 0xffff } % (body.count + 1)
  let whole = run(plans[number], fields, [body], isAnswer: isAnswer)
  let parts = run(plans[number], fields, [Array(body[..<cut]), Array(body[cut...])], isAnswer: isAnswer)
  precondition(whole.reason == parts.reason && whole.isWhole == parts.isWhole, "a cut changes the verdict")
  if whole.isWhole { precondition(whole.sent == parts.sent, "a cut changes the text") }
  if number == 7, isAnswer { precondition(whole.sent.count <= 100 && parts.sent.count <= 100, "more than the limit") }
  if number == 5, !isAnswer, whole.isWhole {
    precondition(whole.sent == body, "a request is changed")
    precondition(
      fields[1].1 != "" || fields[0].1 == "application/grpc" || !contains(body, Array(secretText.utf8)),
      "a secret leaves")
  }
  return 0
}

private func run(_ plan: ContentPlan, _ list: [(String, String)], _ pieces: [[UInt8]], isAnswer: Bool) -> Result {
  let pool = PagePool { work in
    work()
    return true
  }
  let filter = ContentFilter(
    plan, request,
    ContentSurroundings(
      held: HeldBytes(pool), placeholders: Placeholders([]), own: [own], fieldsOfTheGate: [], wake: {}
    ) { _ in })
  var head = MessageHead()
  head.fields = list.filter { !$0.1.isEmpty }.map { MessageHead.Field(name: Array($0.0.utf8), value: Array($0.1.utf8)) }
  var result = Result()
  if isAnswer {
    var asked = MessageHead()
    (asked.method, asked.path) = (Array("GET".utf8), Array("/".utf8))
    _ = filter.requestHead(&asked, hasBody: false)
    head.status = 200
  } else {
    (head.method, head.path) = (Array("POST".utf8), Array("/".utf8))
  }
  let verdict = isAnswer ? filter.answerHead(&head, hasBody: true) : filter.requestHead(&head, hasBody: true)
  if case .refuse(let reason, _) = verdict { return Result(reason: reason) }
  for (number, piece) in (pieces + [[]]).enumerated() {
    var chunk = piece
    let isLast = number == pieces.count
    var rounds = 0
    while true {
      rounds += 1
      precondition(rounds < 10_000, "a filter that waits for ever")
      let verdict = isAnswer ? filter.answerBody(&chunk, isLast: isLast) : filter.requestBody(&chunk, isLast: isLast)
      if case .refuse(let reason, _) = verdict {
        result.reason = reason
        return result
      }
      result.sent += chunk
      chunk = []
      if case .end = verdict {
        result.isWhole = true
        return result
      }
      if case .wait = verdict { continue }
      break
    }
  }
  result.isWhole = true
  filter.answerHeadLeaves(&head)
  filter.ended()
  return result
}

private func contains(_ text: [UInt8], _ part: [UInt8]) -> Bool {
  text.indices.contains { text[$0...].starts(with: part) }
}

@_cdecl("FuzzContentFilter_main")
public func main(_ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> CInt {
  runFuzzer(count, arguments)
}

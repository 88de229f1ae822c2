// A request to `sluice.internal` as a value: which page, which method, JSON or text; or the answer to a wrong one.
// It relies on Flow for a whole request within bounds, and is pure.
import Flow
import HTTPService
import Wire

struct GateRequest: Equatable {
  enum Subject: Equatable {
    /// The page for agents.
    case guide
    case policy
    /// The latest refusals of this client.
    case refusals
    /// One request for an approval, by its id.
    case request(String)
    case newRequest(Target, reason: String?)
  }

  static let reasonBytesMax = 500
  private static let idBytesMax = 64

  let subject: Subject
  let wantsText: Bool

  static func read(_ question: GateQuestion) -> Result<GateRequest, GateProblem> {
    let wantsText = wantsText(question.accept)
    func failure(_ status: Int, _ code: String, _ text: String, allow: String? = nil) -> Result<
      GateRequest, GateProblem
    > {
      .failure(GateProblem(status: status, code: code, message: text, allow: allow, wantsText: wantsText))
    }
    if let origin = question.origin, !origin.elementsEqual("http://sluice.internal".utf8) {
      return failure(403, "other_origin", "A page of another site asks; the gate tells only the client itself.")
    }
    let path = question.path.prefix { $0 != UInt8(ascii: "?") }
    let words = path.split(separator: UInt8(ascii: "/")).map { String(decoding: $0, as: UTF8.self) }
    guard let page = Page(words) else {
      return failure(404, "no_such_page", "The gate's pages are /policy, /refusals, /requests/ID and POST /requests.")
    }
    let isPost = question.method.elementsEqual("POST".utf8)
    let isRead = question.isHEAD || question.method.elementsEqual("GET".utf8)
    guard page == .requests ? isPost : isRead else {
      let methods = page == .requests ? "POST" : "GET, HEAD"
      return failure(405, "method", "This page answers \(methods).", allow: methods)
    }
    if question.hasUnreadBody {
      return failure(413, "too_large", "A body has a Content-Length of at most \(GateQuestion.bodyBytesMax) bytes.")
    }
    switch page {
    case .guide:
      // A page is text for whoever does not ask for JSON.
      return .success(GateRequest(subject: .guide, wantsText: !names("application/json", question.accept)))
    case .policy: return .success(GateRequest(subject: .policy, wantsText: wantsText))
    case .refusals: return .success(GateRequest(subject: .refusals, wantsText: wantsText))
    case .request(let id): return .success(GateRequest(subject: .request(id), wantsText: wantsText))
    case .requests:
      do throws(BodyProblem) {
        let (target, reason) = try body(question.body)
        return .success(GateRequest(subject: .newRequest(target, reason: reason), wantsText: wantsText))
      } catch {
        return failure(400, "bad_body", "\(error.text) Send {\"target\": \"HOST:PORT\", \"reason\": \"…\"}.")
      }
    }
  }

  private enum Page: Equatable {
    case guide, policy, refusals, requests
    case request(String)

    init?(_ words: [String]) {
      switch words {
      case []: self = .guide
      case ["policy"]: self = .policy
      case ["refusals"]: self = .refusals
      case ["requests"]: self = .requests
      default:
        guard words.count == 2, words[0] == "requests", words[1].utf8.count <= GateRequest.idBytesMax else {
          return nil
        }
        self = .request(words[1])
      }
    }
  }

  // MARK: - The body

  private struct BodyProblem: Error { let text: String }

  private static func body(_ bytes: [UInt8]) throws(BodyProblem) -> (Target, String?) {
    let value: JSONValue
    do throws(JSONProblem) { value = try JSONValue.parse(bytes) } catch {
      throw BodyProblem(text: "The body is not JSON.")
    }
    guard case .object(let members) = value, let wanted = value["target"]?.asText else {
      throw BodyProblem(text: "The body names no target.")
    }
    if let other = members.first(where: { !["target", "reason"].contains($0.name) }) {
      throw BodyProblem(text: "The body has a member `\(other.name.prefix(40))` that is unknown.")
    }
    let target: Target
    do throws(AuthorityProblem) { target = try Authority.parse(Array(wanted.utf8).span, defaultPort: nil) } catch {
      throw BodyProblem(text: "The target is not HOST:PORT: \(error).")
    }
    if target.host.isGate { throw BodyProblem(text: "The gate itself needs no approval.") }
    guard let said = value["reason"] else { return (target, nil) }
    guard let reason = said.asText, reason.utf8.count <= reasonBytesMax else {
      throw BodyProblem(text: "The reason is a text of at most \(reasonBytesMax) bytes.")
    }
    return (target, reason)
  }

  // MARK: - Accept

  /// JSON where both are asked for, and where nothing is.
  private static func wantsText(_ accept: [UInt8]) -> Bool {
    names("text/plain", accept) && !names("application/json", accept)
  }

  private static func names(_ type: String, _ accept: [UInt8]) -> Bool {
    accept.split(separator: UInt8(ascii: ",")).contains { part in
      let name = part.prefix { $0 != UInt8(ascii: ";") }.filter { $0 != 0x20 && $0 != 0x09 }
      return name.map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 }.elementsEqual(type.utf8)
    }
  }
}

/// An answer that is no page.
struct GateProblem: Error, Equatable {
  let status: Int
  let code: String
  let message: String
  var allow: String?
  var retryAfterSeconds: Int?
  var wantsText = false

  var answer: HTTPAnswer {
    var fields: [String] = []
    if let allow { fields.append("Allow: \(allow)") }
    if let retryAfterSeconds { fields.append("Retry-After: \(retryAfterSeconds)") }
    let body = JSONValue.object([JSONMember("error", .text(code)), JSONMember("message", .text(message))])
    return GateAnswers.answer(status, body, text: message, wantsText: wantsText, fields: fields)
  }
}

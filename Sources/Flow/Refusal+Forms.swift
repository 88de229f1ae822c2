// The words of a refusal in the forms of RefusalForm that are not JSON.
// Relies on the table of reasons for the words, and on targets to be printable ASCII.
import Policy
import Wire

extension Refusal {
  /// One sentence or two for a person, printable ASCII without a line's end.
  var sentence: String {
    var words = "\(reason.row.phrase): \(reason.rawValue)"
    if let target { words += " for \(target)" }
    words += ". \(reason.row.explanation)"
    if let detail { words += " \(detail)." }
    if mentionsGate { words += " \(GateHost.url) says what is allowed." }
    return words
  }

  var contentType: StaticString {
    switch form.form {
    case .json, .grpc: "application/json"
    case .text: "text/plain"
    case .s3: "application/xml"
    }
  }

  /// The form of an error of S3; its target is made of what needs no escape.
  var s3Body: String {
    let code =
      switch statusLine.code {
      case 400: "InvalidRequest"
      case 429: "SlowDown"
      case 403: "AccessDenied"
      default: "ServiceUnavailable"
      }
    var text = ""
    for character in sentence.unicodeScalars {
      switch character {
      case "&": text += "&amp;"
      case "<": text += "&lt;"
      case ">": text += "&gt;"
      default: text.unicodeScalars.append(character)
      }
    }
    return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>\(code)</Code><Message>\(text)</Message></Error>\n"
  }

  /// A response of trailers only, as gRPC has it: the status of HTTP is 200, and the client's error holds the words.
  var grpcMessage: (status: Int, fields: [(name: String, value: String)], body: [UInt8]) {
    // gRPC's own table of HTTP statuses, but for the two that say more: INVALID_ARGUMENT and RESOURCE_EXHAUSTED.
    let code =
      switch statusLine.code {
      case 400, 408, 431: 3
      case 403: 7
      case 407: 16
      case 429: 8
      default: 14
      }
    var fields = [
      (name: "content-type", value: "application/grpc"), (name: "x-sluice-reason", value: reason.rawValue),
      (name: "grpc-status", value: "\(code)"), (name: "grpc-message", value: Self.percentEncoded(sentence)),
    ]
    if let retryAfterSeconds { fields.append(("retry-after", "\(retryAfterSeconds)")) }
    return (200, fields, [])
  }

  /// As `grpc-message` wants it: printable ASCII, but for the percent sign.
  private static func percentEncoded(_ text: String) -> String {
    var out: [UInt8] = []
    for byte in text.utf8 {
      let isPlain = (0x20..<0x7f).contains(byte) && byte != UInt8(ascii: "%")
      if isPlain { out.append(byte) } else { Percent.escape(byte, to: &out) }
    }
    return String(decoding: out, as: UTF8.self)
  }
}

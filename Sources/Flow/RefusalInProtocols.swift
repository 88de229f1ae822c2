// A refusal for a client that speaks neither HTTP nor TLS, in its own protocol: SSH, PostgreSQL, Redis.
// Relies on the client to speak first, as these do, and on ReplyForm to know which of them it is.
import Policy
import Wire

extension Refusal {
  /// A banner, and SSH_MSG_DISCONNECT (RFC 4253 section 11.1), which may come before any exchange of keys.
  var inSSH: [UInt8] {
    let words = Array(sentence.utf8)
    // HOST_NOT_ALLOWED_TO_CONNECT, or SERVICE_NOT_AVAILABLE.
    let code: UInt32 = reason.row.origin == .upstream ? 7 : 1
    var payload: [UInt8] = [1]
    payload.append(number: code)
    payload.append(number: UInt32(clamping: words.count))
    payload += words
    payload.append(number: UInt32(0))
    // RFC 4253 section 6: four bytes of padding at least, and a whole number of blocks of eight.
    let padding = 4 + (8 - (4 + 1 + payload.count + 4) % 8) % 8
    var bytes = Array("SSH-2.0-sluice\r\n".utf8)
    bytes.append(number: UInt32(clamping: 1 + payload.count + padding))
    bytes.append(UInt8(clamping: padding))
    return bytes + payload + [UInt8](repeating: 0, count: padding)
  }

  /// ErrorResponse, which may also answer a request for TLS (PostgreSQL's "Message Formats").
  var inPostgreSQL: [UInt8] {
    var fields: [UInt8] = []
    // 08004: the server rejected the establishment of the connection.
    for (kind, text) in [("S", "FATAL"), ("V", "FATAL"), ("C", "08004"), ("M", sentence)] {
      fields += Array(kind.utf8) + Array(text.utf8) + [0]
    }
    fields.append(0)
    var bytes = [UInt8(ascii: "E")]
    bytes.append(number: UInt32(clamping: fields.count + 4))
    return bytes + fields
  }

  /// An error of RESP; NOPERM is what Redis itself says where a user may not.
  var inRedis: [UInt8] {
    Array("-\(reason.row.origin == .upstream ? "ERR" : "NOPERM") \(sentence)\r\n".utf8)
  }
}

// A notification as a POST of JSON, signed so that its receiver knows whose it is and when it was made.
// It relies on HTTPPost for the connection; the secret is read from its file each time, so it may be changed.
import Intercept
import Kernel
import Wire

struct Webhook: Sendable {
  static let timestampField = "X-Sluice-Timestamp"
  static let signatureField = "X-Sluice-Signature"
  static let deliveryField = "X-Sluice-Delivery"
  static let secretBytesMax = 4096

  let url: String
  let secretFile: String?

  /// `resolve` may block, as all of this does.
  func deliver(
    _ notification: Notification, resolve: (Target) throws(CredentialProblem) -> [SocketAddress]
  ) -> Delivery {
    guard let post = HTTPPost(url: url) else {
      return .refused("its address is no http:// or https:// address with a host (https takes a name)")
    }
    var secret: [UInt8]?
    if let secretFile {
      guard let bytes = FileBytes.read(secretFile, bytesMax: Self.secretBytesMax), !Self.trimmed(bytes).isEmpty else {
        return .failed("\(secretFile) cannot be read, or is empty")
      }
      secret = Self.trimmed(bytes)
    }
    do throws(CredentialProblem) {
      let fields = Self.fields(notification, secret: secret, unixSeconds: Clock.wallMs() / 1000)
      let status = try post.send(notification.body, fields: fields, to: try resolve(post.target))
      switch status {
      case 200..<300: return .done
      case 408, 425, 429, 500...: return .failed("\(post.target) answered \(status)")
      default: return .refused("\(post.target) answered \(status)")
      }
    } catch {
      return .failed("\(error)")
    }
  }

  /// The signature covers the time: an old notification cannot be sent again as a new one.
  static func fields(
    _ notification: Notification, secret: [UInt8]?, unixSeconds: Int64
  ) -> [(name: String, value: String)] {
    let time = "\(unixSeconds)"
    var fields = [(name: timestampField, value: time), (name: deliveryField, value: notification.id)]
    if let secret {
      let digest = Digest.hmac(secret, Array("\(time).".utf8) + notification.body)
      fields.append((signatureField, "v1=" + String(decoding: Digest.hexadecimal(digest), as: UTF8.self)))
    }
    return fields
  }

  /// Editors end a file with a line end, which is no part of the secret.
  static func trimmed(_ bytes: [UInt8]) -> [UInt8] {
    var end = bytes.count
    while end > 0, bytes[end - 1] == 0x0a || bytes[end - 1] == 0x0d { end -= 1 }
    return Array(bytes[..<end])
  }
}

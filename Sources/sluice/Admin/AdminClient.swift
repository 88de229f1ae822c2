// The operator's end of the admin socket: one request goes, lines come back, the last of them says whether it went
// well. It relies on deadlines of the socket: a gate that hangs is told from one that answers.
import Gate
import Kernel
import Wire

/// Why the gate could not be asked, or what it answered instead.
struct AdminFailure: Error, CustomStringConvertible {
  let description: String
  init(_ text: String) { description = text }
}

struct AdminClient: ~Copyable {
  private static let waitSeconds = 30

  /// Readable when the gate is gone, while nothing is asked.
  let socket: Descriptor
  private let path: String
  private var input: [UInt8] = []

  init(_ path: String) throws(AdminFailure) {
    let socket: Descriptor
    do throws(SystemError) { socket = try LocalSocket.connect(to: path, waitSeconds: Self.waitSeconds) } catch {
      throw AdminFailure("\(path): \(error)\(Self.advice(error))")
    }
    // Whoever may write the folder could have put a socket of its own there, and would be told what is meant for a
    // gate.
    guard let peer = LocalSocket.peer(of: socket.raw), peer.uid == 0 || peer.uid == Machine.userID else {
      throw AdminFailure(
        "\(path): the gate that listens there is neither root's nor this user's; give another socket"
      )
    }
    self.socket = socket
    self.path = path
  }

  private static func advice(_ error: SystemError) -> String {
    if error.isMissingFile {
      return "; a gate listens there when it was started with `listen: {admin: …}` or --listen-admin"
    }
    if error.isRefusedConnection { return "; the gate that made it has ended" }
    return error.isForbidden ? "; only root and the gate's own user may use it" : ""
  }

  /// The last line of the answer; the ones before it go to `each`. A refusal is an answer too.
  mutating func ask(
    _ request: JSONValue, with descriptors: [CInt] = [], each: (JSONValue) -> Void = { _ in }
  ) throws(AdminFailure) -> JSONValue {
    var isSent = true
    if case .failed(_) = LocalSocket.send(socket.raw, request.line, with: descriptors) { isSent = false }
    // A gate that refuses this process says so, and reads nothing.
    while let line = try nextLine(orThrow: isSent) {
      let value: JSONValue
      do throws(JSONProblem) { value = try JSONValue.parse(line) } catch {
        throw AdminFailure("\(path): the answer is not JSON: \(error)")
      }
      if value["ok"] != nil { return value }
      each(value)
    }
    throw AdminFailure("\(path): the gate closed the connection")
  }

  /// The answer to a request that went well; else the gate's own words.
  mutating func demand(_ request: JSONValue, with descriptors: [CInt] = []) throws(AdminFailure) -> JSONValue {
    let answer = try ask(request, with: descriptors)
    guard answer["ok"]?.asBool == true else { throw AdminFailure("\(path): \(Self.error(in: answer))") }
    return answer
  }

  static func error(in answer: JSONValue) -> String { answer["error"]?.asText ?? "refused without a reason" }

  private mutating func nextLine(orThrow: Bool) throws(AdminFailure) -> [UInt8]? {
    while true {
      if let newline = input.firstIndex(of: UInt8(ascii: "\n")) {
        defer { input.removeFirst(newline + 1) }
        return Array(input[..<newline])
      }
      var descriptors: [CInt] = []
      let got = LocalSocket.receive(socket.raw, upTo: 65_536, into: &input, &descriptors)
      LocalSocket.close(descriptors)
      switch got {
      case .bytes: continue
      case .wouldBlock: throw AdminFailure("\(path): no answer within \(Self.waitSeconds) seconds")
      case .end: return nil
      case .failed(let code):
        if orThrow { throw AdminFailure("\(path): \(SystemError("recvmsg", code: code))") }
        return nil
      }
    }
  }
}

extension JSONValue {
  /// A request of the admin socket.
  static func command(_ name: String, _ members: [JSONMember] = []) -> JSONValue {
    .object([JSONMember("command", .text(name))] + members)
  }
}

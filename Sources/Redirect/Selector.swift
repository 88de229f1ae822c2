// Traffic for the gate: that of an interface, a network namespace, a user or a cgroup, each a name that cannot be
// wrong. It relies on nothing; what passes here is written into rules and commands as it is, so each name is held to a
// short list of characters in which neither nft, iptables nor a shell finds anything to do.

/// A problem with an option, and the text to write instead.
package struct RedirectProblem: Error, Equatable, CustomStringConvertible {
  package let description: String
  package init(_ description: String) { self.description = description }
}

package enum Selector: Equatable, Sendable {
  /// Traffic that comes in by a bridge or veth of this machine.
  case interface(InterfaceName)
  /// Traffic of processes inside a network namespace.
  case namespace(NamespacePath)
  /// Traffic of a user's processes.
  case user(UserID)
  /// Traffic of processes of a cgroup v2 and of those below it.
  case cgroup(CgroupPath)

  /// Two selectors never share a table, or one would replace the rules of the other. A namespace has its tables to
  /// itself, so however it was named, applying twice is applying once.
  package var table: String {
    switch self {
    case .interface(let name): "sluice_interface_\(Text.identifier(name.text))"
    case .namespace: "sluice_namespace"
    case .user(let id): "sluice_uid_\(id.number)"
    case .cgroup(let path): "sluice_cgroup_\(Text.identifier(path.text))"
    }
  }

  var isInterface: Bool { if case .interface = self { true } else { false } }
  var isNamespace: Bool { if case .namespace = self { true } else { false } }
}

package struct InterfaceName: Equatable, Sendable {
  package let text: String

  /// IFNAMSIZ is 16 with its NUL. `+` is a wildcard to iptables, `*` to nft.
  package init(_ text: String) throws(RedirectProblem) {
    guard Text.consists(text, of: "._-", bytesMax: 15), !Text.isDots(text), text.first != "-" else {
      throw RedirectProblem(
        "--interface \(Text.printable(text)): no interface name; write letters, digits and . _ - (up to 15), such as br0"
      )
    }
    self.text = text
  }
}

package struct NamespacePath: Equatable, Sendable {
  /// Absolute.
  package let path: String

  /// A name is one of `ip netns`; a path is any namespace file, such as /proc/PID/ns/net.
  package init(_ text: String) throws(RedirectProblem) {
    let isPath = text.first == "/"
    guard Text.consists(text, of: isPath ? "._-@:+=/" : "._-", bytesMax: 255), !Text.isDots(text), text.first != "-"
    else {
      throw RedirectProblem(
        "--namespace \(Text.printable(text)): no namespace; write a name of `ip netns list`, or a path such as /proc/PID/ns/net"
      )
    }
    path = isPath ? text : "/run/netns/\(text)"
  }
}

package struct UserID: Equatable, Sendable {
  package let number: UInt32

  /// The last number means "no user" to the kernel.
  package init(_ number: UInt32) throws(RedirectProblem) {
    guard number < UInt32.max else { throw RedirectProblem("\(number) is no user id") }
    self.number = number
  }
}

package struct CgroupPath: Equatable, Sendable {
  /// Relative to the mount, without a slash at either end.
  package let text: String
  package let depth: Int

  package init(_ given: String) throws(RedirectProblem) {
    let trimmed = given.hasPrefix("/sys/fs/cgroup/") ? given.dropFirst("/sys/fs/cgroup".count) : given[...]
    let parts = trimmed.split(separator: "/")
    text = parts.joined(separator: "/")
    depth = parts.count
    guard Text.consists(text, of: "._-@:+=/", bytesMax: 180), depth <= 16, !parts.contains(where: { Text.isDots($0) })
    else {
      throw RedirectProblem(
        "--cgroup \(Text.printable(given)): no cgroup path; write it as under /sys/fs/cgroup, such as system.slice/agent.service,"
          + " in letters, digits and . _ - @ : + = (up to 180 bytes); the root cgroup cannot be selected")
    }
    guard Text.identifier(text).utf8.count <= 200 else {
      throw RedirectProblem("--cgroup \(Text.printable(given)): too many special characters; use a shorter path")
    }
  }
}

enum Text {
  static func consists(_ text: String, of more: String, bytesMax: Int) -> Bool {
    !text.isEmpty && text.utf8.count <= bytesMax
      && text.utf8.allSatisfy { isLetterOrDigit($0) || more.utf8.contains($0) }
  }

  static func isDots(_ text: some StringProtocol) -> Bool { text == "." || text == ".." }

  /// A name for nft without quotes. An underscore is doubled and other bytes are `_` and two hex digits, so
  /// no two texts become one name.
  static func identifier(_ text: String) -> String {
    var name = ""
    for byte in text.utf8 {
      if byte == UInt8(ascii: "_") {
        name += "__"
      } else if isLetterOrDigit(byte) || "./-".utf8.contains(byte) {
        name.unicodeScalars.append(Unicode.Scalar(byte))
      } else {
        name += "_" + hex(UInt32(byte), digits: 2)
      }
    }
    return name
  }

  static func hex(_ value: UInt32, digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
  }

  static func mark(_ value: UInt32) -> String { "0x" + hex(value, digits: 8) }

  /// For messages: a terminal obeys no byte of it.
  static func printable(_ text: String) -> String {
    String(String.UnicodeScalarView(text.unicodeScalars.map { (0x20..<0x7f).contains($0.value) ? $0 : "?" }))
  }

  private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: false
    }
  }
}

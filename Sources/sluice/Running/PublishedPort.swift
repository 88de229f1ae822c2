// `--publish [HOST:]PORT[:PORT]`: a port of the sandbox that is reached on the host's loopback.
// It relies on the listener being opened before the sandbox is made: a port that is taken ends the launch.
import ArgumentParser
import Kernel
import Policy
import Sandbox
import Wire

struct PublishedPort: ExpressibleByArgument {
  /// One of the host's loopback, so that nothing but this machine reaches it.
  let address: String
  let port: UInt16
  /// Inside.
  let inner: UInt16

  init?(argument: String) {
    var rest = Substring(argument)
    var address = "127.0.0.1"
    if rest.hasPrefix("["), let end = rest.firstIndex(of: "]") {
      address = String(rest[rest.index(after: rest.startIndex)..<end])
      rest = rest[rest.index(after: end)...]
      guard rest.hasPrefix(":") else { return nil }
      rest = rest.dropFirst()
    } else if let colon = rest.firstIndex(of: ":"), rest[..<colon].contains(".") {
      address = String(rest[..<colon])
      rest = rest[rest.index(after: colon)...]
    }
    let ports = rest.split(separator: ":", omittingEmptySubsequences: false).map { UInt16($0) }
    guard (1...2).contains(ports.count), let first = ports[0], let last = ports[ports.count - 1], first > 0, last > 0,
      IPAddress(parsing: Array(address.utf8).span)?.kind == .loopback
    else { return nil }
    (self.address, port, inner) = (address, first, last)
  }

}

/// The listeners of all published ports, until the sandbox has them.
final class PublishedPorts {
  private var listeners: [(raw: CInt, inner: UInt16)] = []

  init(_ ports: [PublishedPort]) throws(LaunchFailure) {
    for one in ports {
      do throws(SystemError) {
        listeners.append((try HostListener.open(one.address, port: one.port), one.inner))
      } catch {
        throw LaunchFailure(
          "--publish: port \(one.port) of \(one.address) cannot be had: \(error); name another one: "
            + "--publish PORT:\(one.inner)")
      }
    }
  }

  func hand(to sandbox: borrowing Launched) {
    for one in listeners { sandbox.publish(one.raw, to: one.inner) }
    LocalSocket.close(listeners.map(\.raw))
    listeners = []
  }
}

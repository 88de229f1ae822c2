// The addresses of the network interfaces of this machine.
// It relies on getifaddrs(3).
import CLinux

package enum InterfaceAddresses {
  private static let countMax = 1024

  /// Empty if the call fails.
  package static func list() -> [SocketAddress] {
    var plain = [clinux_address](repeating: clinux_address(), count: countMax)
    // SAFETY: the array lives through the call and has room for `countMax`.
    let count = unsafe plain.withUnsafeMutableBufferPointer { unsafe clinux_interfaces($0.baseAddress, CInt($0.count)) }
    return plain.prefix(max(0, Int(count))).map { SocketAddress($0) }
  }
}

// The name servers that this machine is configured with, read as c-ares reads them.
// It relies on c-ares for the formats of resolv.conf(5), and is asked at the start and at each reload.
import CAres
import Glibc
import Kernel
import Policy
import Wire

enum SystemServers {
  private static let path = "/etc/resolv.conf"

  static func read() throws(SystemError) -> [ListenAddress] {
    // Where the file is there and cannot be read, c-ares would ask the loopback.
    if FileStamp(path: path) != nil { try FileBytes.require(path) }
    var channel: ares_channel?
    guard unsafe ares_init(&channel) == ARES_SUCCESS else { throw SystemError("ares_init", code: ENOMEM) }
    defer { unsafe ares_destroy(channel) }
    var first: UnsafeMutablePointer<ares_addr_port_node>?
    guard unsafe ares_get_servers_ports(channel, &first) == ARES_SUCCESS else {
      throw SystemError("ares_get_servers_ports", code: ENOMEM)
    }
    defer { unsafe ares_free_data(first) }
    var servers: [ListenAddress] = []
    var next = unsafe first
    // SAFETY: a list of c-ares, which ends with nil and lives until it is freed above.
    while let node = unsafe next?.pointee {
      let port = UInt16(truncatingIfNeeded: unsafe node.udp_port)
      servers.append(ListenAddress(unsafe address(node), port: port == 0 ? 53 : port))
      unsafe next = node.next
    }
    return servers
  }

  private static func address(_ node: ares_addr_port_node) -> IPAddress {
    if unsafe node.family == AF_INET { return .v4(UInt32(bigEndian: unsafe node.addr.addr4.s_addr)) }
    // SAFETY: the address is 16 bytes of a local copy.
    return unsafe withUnsafeBytes(of: node.addr.addr6) { raw in
      .v6(
        high: unsafe UInt64(bigEndian: raw.loadUnaligned(as: UInt64.self)),
        low: unsafe UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
    }
  }
}

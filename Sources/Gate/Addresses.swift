// Conversions between the address types of Kernel and Wire: Kernel does not depend on Wire, so both have their own.
package import Kernel
package import Wire

extension SocketAddress {
  package init(_ address: IPAddress, port: UInt16) {
    switch address {
    case .v4(let value): self.init(SocketAddress.Address.v4(value), port: port)
    case .v6(let high, let low): self.init(SocketAddress.Address.v6(high: high, low: low), port: port)
    }
  }

  var ip: IPAddress {
    switch address {
    case .v4(let value): .v4(value)
    case .v6(let high, let low): .v6(high: high, low: low)
    }
  }
}

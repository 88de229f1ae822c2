// Listeners on the host's loopback, opened for a moment, that the probe inside tries to reach: only here it shows.
// It relies on ports that the kernel chose: what is reached on them can only have been meant for them.
import CSandbox
package import Kernel

package struct HostProbeListeners {
  private final class HostProbeListener {
    let descriptor: Descriptor
    let isDatagram: Bool
    let probe: Probe

    init(_ family: IPFamily, isDatagram: Bool) throws(SystemError) {
      var port: UInt16 = 0
      // SAFETY: a local for the time of the call.
      let fd = unsafe csandbox_canary(family == .v6 ? 6 : 4, isDatagram ? 1 : 0, &port)
      if fd < 0 { throw SystemError("socket", code: -fd) }
      descriptor = Descriptor(owning: fd)
      self.isDatagram = isDatagram
      probe = isDatagram ? .hostDatagram(port: port) : .hostStream(family, port: port)
    }

    var wasReached: Bool { csandbox_canary_was_reached(descriptor.raw, isDatagram ? 1 : 0) != 0 }
  }

  private let canaries: [HostProbeListener]

  package init() throws(LaunchFailure) {
    do throws(SystemError) {
      var canaries = [try HostProbeListener(.v4, isDatagram: false), try HostProbeListener(.v4, isDatagram: true)]
      // The host may well have no ::1; then there is nothing to reach.
      if let v6 = try? HostProbeListener(.v6, isDatagram: false) { canaries.append(v6) }
      self.canaries = canaries
    } catch {
      throw LaunchFailure("cannot listen on the host's loopback for the probe: \(error)")
    }
  }

  package var probes: [Probe] { canaries.map(\.probe) }

  /// What was reached from inside.
  package func reached() -> [Probe] { canaries.filter(\.wasReached).map(\.probe) }
}

package enum HostListener {
  /// On an address of the host's loopback. Whoever takes it closes it.
  package static func open(_ address: String, port: UInt16) throws(SystemError) -> CInt {
    let fd = unsafe csandbox_host_listener(address, port)
    if fd < 0 { throw SystemError("listen", code: -fd) }
    return fd
  }
}

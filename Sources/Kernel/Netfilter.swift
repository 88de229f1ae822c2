// Sends a batch of netfilter messages to the kernel.
// It relies on the kernel to take a batch as a whole or not at all.
import CLinux

package enum Netfilter {
  /// A nil path means this process's namespace. Throws the error of the first refused message.
  package static func send(_ batch: [UInt8], inNamespace path: String?) throws(SystemError) {
    // SAFETY: the array's and the text's bytes for the time of the call.
    let result =
      if let path {
        unsafe clinux_netfilter_batch(path, batch, batch.count)
      } else {
        unsafe clinux_netfilter_batch(nil, batch, batch.count)
      }
    if result != 0 { throw SystemError("nf_tables", code: -result) }
  }
}

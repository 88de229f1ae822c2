// A file descriptor closed at the end of its lifetime, and the error of a failed system call.
// It relies on nothing else; code that hands out `raw` must not let it outlive the descriptor.
import CLinux
import Glibc

package struct Descriptor: ~Copyable {
  package let raw: CInt

  package init(owning raw: CInt) {
    precondition(raw >= 0, "a descriptor is not negative")
    self.raw = raw
  }

  /// Gives the descriptor up without closing it.
  package consuming func relinquish() -> CInt {
    let raw = raw
    discard self
    return raw
  }

  // EINTR and EIO of close(2) leave nothing to do: on Linux the descriptor is gone either way.
  deinit { clinux_close(raw) }
}

/// A failed system call: its name and errno.
package struct SystemError: Error, Equatable, CustomStringConvertible {
  package let code: CInt
  package let stage: String

  package init(_ stage: String, code: CInt) {
    self.stage = stage
    self.code = code
  }

  package static var invalidArgument: CInt { EINVAL }

  /// True if descriptors, ports, buffers or memory ran out: the machine's or the gate's fault, not the peer's.
  package var isExhaustion: Bool { Self.isExhaustion(code) }

  /// True for EADDRNOTAVAIL of connect(2): no local address or no local port is available.
  package var isWithoutAddress: Bool { code == EADDRNOTAVAIL }

  package var isWrongFamily: Bool { code == EAFNOSUPPORT }
  package var isMissingFile: Bool { code == ENOENT || code == ENOTDIR }
  package var isRefusedConnection: Bool { code == ECONNREFUSED }
  package var isForbidden: Bool { code == EACCES || code == EPERM }

  static func isExhaustion(_ code: CInt) -> Bool {
    switch code {
    case EMFILE, ENFILE, ENOBUFS, ENOMEM, EAGAIN, EADDRNOTAVAIL, ENOSPC: true
    default: false
    }
  }

  package var description: String {
    // SAFETY: the buffer lives through the closure, and strerror_r writes no more than its size.
    let text = unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { buffer in
      guard let base = buffer.baseAddress, let text = unsafe clinux_error_name(code, base, buffer.count) else {
        return "error"
      }
      return unsafe String(cString: text)
    }
    return "\(stage): \(text) (errno \(code))"
  }
}

/// Result of moving bytes.
package enum Transfer: Equatable, Sendable {
  case bytes(Int)
  case wouldBlock
  case end
  case failed(CInt)

  /// From a count or -errno; zero is the end of what is read from.
  init(reading result: Int) {
    if result > 0 {
      self = .bytes(result)
    } else {
      self = result == 0 ? .end : Transfer(failure: result)
    }
  }

  init(writing result: Int) {
    self = result >= 0 ? .bytes(result) : Transfer(failure: result)
  }

  private init(failure result: Int) {
    let code = CInt(truncatingIfNeeded: -result)
    self = code == EAGAIN ? .wouldBlock : .failed(code)
  }
}

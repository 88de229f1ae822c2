// The monotonic and the wall clock, in milliseconds and nanoseconds. The monotonic one goes on while the machine sleeps
// (CLOCK_BOOTTIME): what was to expire meanwhile has expired when a laptop wakes up.
// It relies on clock_gettime(2), which cannot fail for these clocks.
import CLinux
import Glibc

package enum Clock {
  package static func monotonicMs() -> UInt64 { clinux_monotonic_ns() / 1_000_000 }
  package static func monotonicNs() -> UInt64 { clinux_monotonic_ns() }
  package static func wallMs() -> Int64 { clinux_wall_ms() }
  /// Not for a loop's thread.
  package static func pause(ms: UInt32) { _ = usleep(ms * 1000) }

  /// Waits for another thread's result, polling often at first: mostly it arrives within microseconds. Returns false
  /// at `dueMs`. Not for a loop's thread.
  @discardableResult
  package static func wait(until dueMs: UInt64, for condition: () -> Bool) -> Bool {
    var pauseUs: UInt32 = 20
    while !condition() {
      guard monotonicMs() < dueMs else { return false }
      _ = usleep(pauseUs)
      pauseUs = min(pauseUs * 2, 2000)
    }
    return true
  }
}

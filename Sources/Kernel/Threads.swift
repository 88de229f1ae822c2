// Threads of the process, each with a name.
// It relies on a retained box to hand the closure over; a thread is never joined.
import CLinux
import Glibc

package enum Threads {
  private final class Body {
    let name: String
    let run: @Sendable () -> Void
    init(_ name: String, _ run: @escaping @Sendable () -> Void) { (self.name, self.run) = (name, run) }
  }

  /// Starts a detached thread. The closure retains everything that it uses.
  package static func start(name: String, _ run: @escaping @Sendable () -> Void) throws(SystemError) {
    // SAFETY: the body is retained here and released once, by the thread, or below if there is none.
    let body = unsafe Unmanaged.passRetained(Body(name, run))
    let result = unsafe clinux_thread_start(
      { argument in
        guard let argument = unsafe argument else { return nil }
        let body = unsafe Unmanaged<Body>.fromOpaque(argument).takeRetainedValue()
        unsafe clinux_thread_name(body.name)
        body.run()
        return nil
      }, body.toOpaque())
    guard result < 0 else { return }
    unsafe body.release()
    throw SystemError("pthread_create", code: -result)
  }
}

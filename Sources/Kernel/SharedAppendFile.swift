// A file that many threads append whole lines to. What the disk does not take waits here, in order, and nothing is torn.
// It relies on O_APPEND and on its lock; a write never blocks on a pipe that nobody reads.
import CLinux
import Glibc
import Synchronization

package final class SharedAppendFile: Sendable {
  private struct State: ~Copyable {
    var descriptor: Descriptor
    /// Lines that are not written yet, the first of them from `written` on.
    var pending: [UInt8] = []
    var written = 0
    var pendingLines = 0
    /// How many of the bytes came when, the oldest first.
    var arrivals: [Arrival] = []
  }

  private struct Arrival {
    var bytes: Int
    let atMs: UInt64
  }

  /// What came within this is one arrival.
  private static let arrivalMs: UInt64 = 100

  /// What waits for the disk.
  package struct Backlog: Equatable, Sendable {
    package var bytes = 0
    package var lines = 0
    /// How long the oldest line has waited.
    package var ageMs: UInt64 = 0
  }

  /// A reader that is slow, not gone, may let this much wait before new tunnels are refused.
  private static let slowBytesMax = 1 << 20

  package let path: String?
  private let state: Mutex<State>
  private let unwritable = Atomic<Bool>(false)
  private let waiting = Atomic<Int>(0)

  /// Without a path: standard output.
  package init(path: String?) throws(SystemError) {
    self.path = path
    state = Mutex(State(descriptor: try Self.open(path)))
  }

  private static func open(_ path: String?) throws(SystemError) -> Descriptor {
    let fd = path.map { unsafe clinux_open_append($0) } ?? clinux_reopen_append(STDOUT_FILENO)
    guard fd >= 0 else { throw SystemError("open", code: -fd) }
    return Descriptor(owning: fd)
  }

  /// The last write failed for another reason than a slow reader, or too much waits for one.
  package var isUnwritable: Bool { unwritable.load(ordering: .relaxed) }
  package var pendingBytes: Int { waiting.load(ordering: .relaxed) }

  package func backlog() -> Backlog {
    state.withLock { state in
      guard !state.pending.isEmpty else { return Backlog() }
      return Backlog(
        bytes: state.pending.count, lines: state.pendingLines,
        ageMs: state.arrivals.first.map { Clock.monotonicMs() - $0.atMs } ?? 0)
    }
  }

  /// Appends whole lines and empties the array, also when they have to wait.
  package func flush(_ lines: inout [UInt8]) {
    state.withLock { state in
      if state.pending.isEmpty {
        // The usual case: straight to the file, without a copy.
        let (written, _) = write(state.descriptor.raw, lines, from: 0)
        if written < lines.count { keep(lines, written, &state) }
      } else {
        state.pending += lines
        Self.noteArrival(lines[...], &state)
        _ = writePending(&state)
      }
      note(state)
    }
    lines.removeAll(keepingCapacity: lines.capacity <= 1 << 20)
  }

  /// Tries again what waits; the error if it still has to.
  package func retry() -> SystemError? {
    state.withLock { state in
      let error = writePending(&state)
      note(state)
      return error
    }
  }

  /// Opens the path anew: after a rename, lines go to a new file. What waits goes to the old one if that takes it.
  package func reopen() -> SystemError? {
    guard let path else { return nil }
    return state.withLock { state in
      _ = writePending(&state)
      do throws(SystemError) {
        state.descriptor = try Self.open(path)
      } catch {
        return error
      }
      // A line that was torn by a full disk begins anew in the new file.
      state.written = 0
      let error = writePending(&state)
      note(state)
      return error
    }
  }

  /// At the end of the process: all that waits, as far as it can be written in that time.
  package func finish(triesMax: Int, pauseMs: Int) -> Bool {
    for attempt in 0..<triesMax {
      if retry() == nil { return true }
      if attempt + 1 < triesMax { usleep(UInt32(pauseMs) * 1000) }
    }
    return pendingBytes == 0
  }

  // MARK: - Under the lock

  private func keep(_ lines: [UInt8], _ written: Int, _ state: inout State) {
    let start = Self.lineStart(lines, written)
    state.pending = Array(lines[start...])
    state.written = written - start
    Self.noteArrival(lines[start...], &state)
  }

  private static func noteArrival(_ lines: ArraySlice<UInt8>, _ state: inout State) {
    state.pendingLines += lineCount(lines)
    let nowMs = Clock.monotonicMs()
    if let last = state.arrivals.last, nowMs - last.atMs < arrivalMs {
      state.arrivals[state.arrivals.count - 1].bytes += lines.count
    } else {
      state.arrivals.append(Arrival(bytes: lines.count, atMs: nowMs))
    }
  }

  private static func noteDeparture(_ lines: ArraySlice<UInt8>, _ state: inout State) {
    state.pendingLines -= lineCount(lines)
    var left = lines.count
    let gone = state.arrivals.prefix { arrival in
      guard arrival.bytes <= left else { return false }
      left -= arrival.bytes
      return true
    }
    state.arrivals.removeFirst(gone.count)
    if !state.arrivals.isEmpty { state.arrivals[0].bytes -= left }
  }

  private static func lineCount(_ bytes: ArraySlice<UInt8>) -> Int { bytes.count { $0 == UInt8(ascii: "\n") } }

  private static func lineStart(_ lines: [UInt8], _ index: Int) -> Int {
    var start = index
    while start > 0 && lines[start - 1] != UInt8(ascii: "\n") { start -= 1 }
    return start
  }

  private func writePending(_ state: inout State) -> SystemError? {
    guard !state.pending.isEmpty else { return nil }
    let (written, error) = write(state.descriptor.raw, state.pending, from: state.written)
    if written == state.pending.count {
      state.pending = []
      state.written = 0
      state.pendingLines = 0
      state.arrivals = []
      return nil
    }
    let start = Self.lineStart(state.pending, written)
    Self.noteDeparture(state.pending[..<start], &state)
    state.pending.removeFirst(start)
    state.written = written - start
    return error
  }

  /// How far it got, and why no further.
  private func write(_ fd: CInt, _ bytes: [UInt8], from start: Int) -> (written: Int, error: SystemError?) {
    var written = start
    while written < bytes.count {
      // SAFETY: the pointer stays within the array for the time of the call.
      let result = unsafe bytes.withUnsafeBytes { raw in
        unsafe clinux_write(fd, raw.baseAddress?.advanced(by: written), raw.count - written)
      }
      if result < 0 {
        let code = CInt(-result)
        lastFailureIsSlowness.store(code == EAGAIN, ordering: .relaxed)
        return (written, SystemError("write", code: code))
      }
      written += result
    }
    return (written, nil)
  }

  private let lastFailureIsSlowness = Atomic<Bool>(false)

  private func note(_ state: borrowing State) {
    let count = state.pending.count
    waiting.store(count, ordering: .relaxed)
    let isBad = count > 0 && (!lastFailureIsSlowness.load(ordering: .relaxed) || count > Self.slowBytesMax)
    unwritable.store(isBad, ordering: .relaxed)
  }
}

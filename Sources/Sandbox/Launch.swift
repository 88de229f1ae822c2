// A plan carried out: the first process of the sandbox is cloned, and tells over a socket how far it came.
// It relies on the process having one thread when it clones. Closing the socket ends the sandbox, and so does its
// death.
import CSandbox
package import Kernel

/// What comes from inside.
package enum SandboxEvent: Equatable, Sendable {
  case ready
  /// Where each probe is to tell.
  case probed(Probe, holds: Bool)
  /// With the signal.
  case stopped(Int32)
  /// The command's exit status, or 128 and the signal.
  case exited(Int32)
  /// A connection to a published port has ended.
  case published(PublishedConnection)
  /// The sandbox is gone, and nobody said why: it was killed.
  case gone
}

package struct PublishedConnection: Equatable, Sendable {
  /// Inside.
  package let port: UInt16
  /// Bytes that left the sandbox, and those that came in.
  package let bytesUp: UInt64
  package let bytesDown: UInt64
  package let durationMs: UInt64
}

/// A command inside, as the loop of whoever started it sees it.
package protocol RunningCommand: ~Copyable {
  /// Readable when something is told.
  var socket: CInt { get }
  /// Blocks until something is told.
  func next() throws(LaunchFailure) -> SandboxEvent
}

extension RunningCommand where Self: ~Copyable {
  /// The command gets its terminal, and goes on.
  func bringToForeground() { _ = csandbox_send(socket, CSANDBOX_FOREGROUND.rawValue, 0) }

  /// A signal for the command. A command that has ended needs none.
  func signal(_ number: CInt) { _ = csandbox_send(socket, CSANDBOX_SIGNAL.rawValue, number) }
}

package struct Launched: ~Copyable, RunningCommand {
  package let control: Descriptor
  package let pid: CInt
  private let plan: SandboxPlan
  private let origin: [Int]
  private let cgroup: Cgroup?
  private let reportsProbes: Bool

  package var socket: CInt { control.raw }

  /// With `reportsProbes` a probe that got through is an event like one that held, and not a failure.
  package init(_ plan: SandboxPlan, reportsProbes: Bool = false) throws(LaunchFailure) {
    var cgroup: Cgroup?
    if let spec = plan.cgroup { cgroup = try Cgroup(spec) }
    // No text at all where there is no cgroup.
    let processes = cgroup.map { $0.processes.utf8.map { CChar(bitPattern: $0) } + [0] } ?? []
    let compiled = CompiledSandboxPlan(plan)
    let trees = try Self.trees(compiled)
    defer { for tree in trees { _ = Descriptor(owning: tree) } }
    var control: CInt = -1
    var stage: UnsafePointer<CChar>?
    // SAFETY: the arrays live through the call. The child has its own copy of them, and never comes back from it.
    let pid = unsafe compiled.steps.withUnsafeBufferPointer { steps in
      unsafe compiled.texts.withUnsafeBytes { texts in
        unsafe trees.withUnsafeBufferPointer { trees in
          unsafe processes.withUnsafeBufferPointer { processes in
            var plain = unsafe csandbox_plan(
              namespaces: compiled.namespaces, uid: compiled.uid, gid: compiled.gid,
              denies_setgroups: plan.user.isOther ? 0 : 1, count: UInt32(steps.count), steps: steps.baseAddress,
              texts: texts.bindMemory(to: CChar.self).baseAddress, trees: trees.baseAddress,
              tree_count: UInt32(clamping: trees.count),
              cgroup_procs: processes.isEmpty ? nil : processes.baseAddress, reports_probes: reportsProbes ? 1 : 0)
            return unsafe csandbox_launch(&plain, &control, &stage)
          }
        }
      }
    }
    guard pid >= 0 else {
      // SAFETY: the stage is a literal.
      let name = unsafe stage.map { unsafe String(cString: $0) } ?? "clone"
      throw .parent(SystemError(name, code: -pid))
    }
    self.pid = pid
    self.cgroup = cgroup
    self.plan = plan
    self.reportsProbes = reportsProbes
    origin = compiled.origin
    self.control = Descriptor(owning: control)
  }

  /// Mounts of the plan that take the rights of the real root, made here and handed on.
  private static func trees(_ plan: CompiledSandboxPlan) throws(LaunchFailure) -> [CInt] {
    var trees: [CInt] = []
    for one in plan.mapped {
      do throws(SystemError) { trees.append(try MappedTree(one.source, one.owners).relinquish()) } catch {
        for tree in trees { _ = Descriptor(owning: tree) }
        throw LaunchFailure(
          "\(one.source): the files of user \(one.owners.disk.uid) cannot be shown as the command's: \(error)")
      }
    }
    return trees
  }

  /// Where the kernel cannot redirect all ports, another plan is carried out in its place. `why` is told the reason.
  package static func start(
    _ plan: SandboxPlan, reportsProbes: Bool = false, orElse other: (_ why: LaunchFailure) -> SandboxPlan
  ) throws(LaunchFailure) -> Launched {
    let sandbox = try Launched(plan, reportsProbes: reportsProbes)
    guard let failure = sandbox.redirectionFailure() else { return sandbox }
    _ = sandbox.end()
    return try Launched(other(failure), reportsProbes: reportsProbes)
  }

  /// Waits for the first message, which is left where it is.
  private func redirectionFailure() -> LaunchFailure? {
    var message = csandbox_message()
    // SAFETY: a local for the time of the call.
    guard unsafe csandbox_peek(control.raw, &message) == 1, message.kind == CSANDBOX_FAILED.rawValue,
      origin.indices.contains(Int(message.step)), case .redirect = plan.steps[origin[Int(message.step)]]
    else { return nil }
    return failure(message)
  }

  /// The listeners that were made inside, in the plan's order. Whoever takes them closes them.
  package func takeListeners() throws(LaunchFailure) -> [(spec: ListenerSpec, raw: CInt)] {
    let specs = plan.listeners
    var taken: [CInt] = []
    while taken.count < specs.count {
      var fds = SandboxMessage.noDescriptors
      guard let (message, count) = receive(into: &fds) else {
        throw LaunchFailure("the sandbox ended while it was made")
      }
      guard message.kind == CSANDBOX_LISTENERS.rawValue else { throw failure(message) }
      taken += fds.prefix(count)
    }
    return zip(specs, taken).map { ($0, $1) }
  }

  /// The caller's side of the command's terminal; after the listeners. Whoever takes it closes it.
  package func takeTerminal() throws(LaunchFailure) -> CInt? {
    guard plan.hasTerminal else { return nil }
    var fds = SandboxMessage.noDescriptors
    guard let (message, count) = receive(into: &fds) else {
      throw LaunchFailure("the sandbox ended while it was made")
    }
    guard message.kind == CSANDBOX_TERMINAL.rawValue, count == 1 else { throw failure(message) }
    return fds[0]
  }

  /// The gate serves: now the probes may ask it.
  package func probe() throws(LaunchFailure) { try send(CSANDBOX_PROBE_NOW) }

  package func awaitReady() throws(LaunchFailure) {
    guard try next() == .ready else { throw LaunchFailure("the sandbox ended before its command was started") }
  }

  package func start() throws(LaunchFailure) { try send(CSANDBOX_START) }

  /// Connections to the listener go to that port of the sandbox's loopback. What each carried is an event at its end.
  package func publish(_ listener: CInt, to port: UInt16) {
    _ = csandbox_send_descriptor(control.raw, CSANDBOX_PUBLISH.rawValue, Int32(truncatingIfNeeded: port), listener)
  }

  /// Somebody asks on this connection for a further command.
  package func join(_ connection: borrowing Descriptor) {
    _ = csandbox_send_descriptor(control.raw, CSANDBOX_JOIN.rawValue, 0, connection.raw)
  }

  /// Blocks until something is told.
  package func next() throws(LaunchFailure) -> SandboxEvent {
    var fds = SandboxMessage.noDescriptors
    guard let (message, _) = receive(into: &fds) else { return .gone }
    switch message.kind {
    case CSANDBOX_READY.rawValue: return .ready
    case CSANDBOX_STOPPED.rawValue: return .stopped(message.code)
    case CSANDBOX_EXITED.rawValue: return .exited(message.code)
    case CSANDBOX_PUBLISHED.rawValue: return .published(SandboxMessage.published(message))
    case CSANDBOX_HELD.rawValue,
      CSANDBOX_BROKEN.rawValue where reportsProbes:
      guard case .probe(let probe) = step(message) else { throw failure(message) }
      return .probed(probe, holds: message.kind == CSANDBOX_HELD.rawValue)
    default: throw failure(message)
    }
  }

  /// The sandbox's last process is gone when this returns. Ends by a cgroup limit are reported; rlimits report none.
  package consuming func end() -> [LimitReached] {
    let (pid, cgroup) = (pid, cgroup)
    // Process 1 finds the socket closed, and ends; with it all others.
    Self.close(control)
    // The wait fails only for a process that is no child any more, and so is gone.
    _ = try? ChildProcess.wait(for: pid)
    return cgroup?.end() ?? []
  }

  private static func close(_ control: consuming Descriptor) {}

  // MARK: - Messages

  private func send(_ kind: csandbox_kind) throws(LaunchFailure) {
    // A process that is gone has said why, or says nothing any more.
    guard csandbox_send(control.raw, kind.rawValue, 0) < 0 else { return }
    _ = try next()
    throw LaunchFailure("the sandbox ended before its command was started")
  }

  /// Blocks; nil when the sandbox is gone.
  private func receive(into fds: inout [CInt]) -> (csandbox_message, Int)? {
    SandboxMessage.receive(control.raw, into: &fds)
  }

  private func number(_ message: csandbox_message) -> Int {
    origin.indices.contains(Int(message.step)) ? origin[Int(message.step)] : Int(message.step)
  }

  private func step(_ message: csandbox_message) -> Step? {
    let number = number(message)
    return plan.steps.indices.contains(number) ? plan.steps[number] : nil
  }

  private func failure(_ message: csandbox_message) -> LaunchFailure {
    let (number, step) = (number(message), step(message))
    if message.kind == CSANDBOX_BROKEN.rawValue {
      return LaunchFailure("BROKEN, the command was not started: \(step.map { "\($0)" } ?? "a probe")")
    }
    return LaunchFailure(step, number: number, SandboxMessage.error(message), hint: plan.commandHint)
  }
}

enum SandboxMessage {
  /// Room for those of one message.
  static let noDescriptors = [CInt](repeating: -1, count: Int(CSANDBOX_FDS_MAX))

  /// Blocks; nil when the sandbox is gone.
  static func receive(_ socket: CInt, into fds: inout [CInt]) -> (csandbox_message, Int)? {
    var message = csandbox_message()
    var count: CInt = 0
    var got: CInt = 0
    // SAFETY: locals for the time of the call, with room for what it writes.
    repeat { got = unsafe csandbox_receive(socket, &message, &fds, &count, -1) } while got == 0
    return got < 0 ? nil : (message, Int(count))
  }

  static func published(_ message: csandbox_message) -> PublishedConnection {
    var message = message
    // SAFETY: a local for the time of the call, which only reads it.
    let counts = unsafe csandbox_counts_of(&message)
    return PublishedConnection(
      port: UInt16(truncatingIfNeeded: message.code), bytesUp: counts.up, bytesDown: counts.down,
      durationMs: counts.duration_ms)
  }

  /// The call that failed, and why.
  static func error(_ message: csandbox_message) -> SystemError {
    var text = message.text
    // SAFETY: a local tuple of that many characters; the C side ends it with NUL.
    let call = unsafe withUnsafeBytes(of: &text) { unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    return SystemError(call, code: message.code)
  }
}

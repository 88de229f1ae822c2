// A plan as the C side takes it: an array of numbers, and one block of texts that they point into.
// It relies on CSandbox for the meaning of each number; texts hold no NUL, which SandboxOptions' makers see to, but for
// those of files, whose length is told.
import CSandbox
import Glibc

struct CompiledSandboxPlan {
  private(set) var steps: [csandbox_step] = []
  /// Place 0 is the empty text.
  private(set) var texts: [UInt8] = [0]
  private(set) var namespaces: UInt64 = 0
  private(set) var uid: UInt32 = 0
  private(set) var gid: UInt32 = 0
  /// Mounts that the parent has to make, in the order of the steps that name them.
  private(set) var mapped: [(source: String, owners: OwnerMapping)] = []
  /// Of each entry of `steps`, its place in the plan.
  private(set) var origin: [Int] = []

  init(_ plan: SandboxPlan) {
    for (index, step) in plan.steps.enumerated() {
      // What the parent does by itself.
      switch step {
      case .cgroup: continue
      case .namespaces(let kinds):
        namespaces = kinds.reduce(0) { $0 | $1.flag }
        continue
      case .mapIDs(let uid, let gid):
        (self.uid, self.gid) = (uid, gid)
        continue
      default: break
      }
      steps.append(compile(step))
      origin.append(index)
    }
  }

  private mutating func place(_ text: String) -> UInt32 { place([text]) }

  private mutating func place(_ bytes: [UInt8]) -> UInt32 {
    let start = UInt32(texts.count)
    texts += bytes
    texts.append(0)
    return start
  }

  /// Among the texts are the roots that the system trusts: a fifth of a megabyte, and more than once.
  private func hasNUL(_ text: String) -> Bool {
    let bytes = text.utf8.span
    for place in 0..<bytes.count where bytes[place] == 0 { return true }
    return false
  }

  private mutating func place(_ sequence: [String]) -> UInt32 {
    let start = UInt32(texts.count)
    for text in sequence {
      precondition(!hasNUL(text), "a text that is not cut short")
      texts += text.utf8
      texts.append(0)
    }
    return start
  }

  private mutating func entry(
    _ op: csandbox_op, _ first: UInt32 = 0, _ second: UInt32 = 0, number: UInt64 = 0, more: UInt64 = 0
  ) -> csandbox_step {
    csandbox_step(op: UInt32(op.rawValue), first: first, second: second, number: number, more: more)
  }

  private mutating func compile(_ step: Step) -> csandbox_step {
    switch step {
    case .cgroup, .namespaces, .mapIDs: preconditionFailure("the parent's own steps")
    case .becomeUser(let uid, let gid): return entry(CSANDBOX_BECOME_USER, number: UInt64(uid), more: UInt64(gid))
    case .dieWithParent: return entry(CSANDBOX_DIE_WITH_PARENT)
    case .hostName(let name): return entry(CSANDBOX_HOST_NAME, place(name))
    case .loopbackUp: return entry(CSANDBOX_LOOPBACK_UP)
    case .address(let address): return entry(CSANDBOX_ADDRESS, place(address))
    case .localRoute(let family): return entry(CSANDBOX_LOCAL_ROUTE, number: family == .v6 ? 6 : 4)
    case .setting(let path, let value): return entry(CSANDBOX_SETTING, place(path), place(value))
    case .redirect(let port, let hasIPv6):
      return entry(CSANDBOX_REDIRECT, number: UInt64(port), more: hasIPv6 ? 1 : 0)
    case .listen(let one): return entry(CSANDBOX_LISTEN, number: UInt64(one.port), more: one.flags)
    case .handOut(let count): return entry(CSANDBOX_HAND_OUT, number: UInt64(count))
    case .limit(let resource, let value): return entry(CSANDBOX_LIMIT, number: resource.number, more: value)
    case .session(let isForeground): return entry(CSANDBOX_SESSION, number: isForeground ? 1 : 0)
    case .workIn(let path): return entry(CSANDBOX_WORK_IN, place(path))
    case .landlock(let writable, let devices):
      return entry(CSANDBOX_LANDLOCK, place(writable), place(devices), number: UInt64(writable.count))
    case .probe(let probe): return compile(probe)
    case .execute(let command, let environment):
      let texts = place(command + environment)
      return entry(CSANDBOX_EXEC, texts, number: UInt64(command.count), more: UInt64(environment.count))
    default: return compile(simple: step) ?? compile(files: step)
    }
  }

  private mutating func compile(simple step: Step) -> csandbox_step? {
    switch step {
    case .enterRoot: entry(CSANDBOX_ENTER_ROOT)
    case .openTerminal: entry(CSANDBOX_OPEN_TERMINAL)
    case .dropBoundingCapabilities: entry(CSANDBOX_DROP_BOUNDING)
    case .lockSecureBits: entry(CSANDBOX_LOCK_SECUREBITS)
    case .noNewPrivileges: entry(CSANDBOX_NO_NEW_PRIVILEGES)
    case .dropCapabilities: entry(CSANDBOX_DROP_CAPABILITIES)
    case .notDumpable: entry(CSANDBOX_NOT_DUMPABLE)
    case .reaper: entry(CSANDBOX_REAPER)
    case .seccomp(let allows): entry(CSANDBOX_SECCOMP, number: allows.reduce(0) { $0 | $1.flag })
    case .closeDescriptors: entry(CSANDBOX_CLOSE_DESCRIPTORS)
    default: nil
    }
  }

  private mutating func compile(files step: Step) -> csandbox_step {
    switch step {
    case .newRoot(let bytes, let inodes):
      return entry(CSANDBOX_NEW_ROOT, number: UInt64(bytes), more: UInt64(inodes))
    case .folder(let path, let mode): return entry(CSANDBOX_FOLDER, place(path), number: UInt64(mode))
    case .link(let path, let target): return entry(CSANDBOX_LINK, place(path), place(target))
    case .file(let path, let text):
      return compile(files: .data(path, Array(text.utf8)))
    case .data(let path, let bytes):
      let start = place(bytes)
      return entry(CSANDBOX_FILE, place(path), start, number: UInt64(bytes.count))
    case .substitute(let path, let to): return entry(CSANDBOX_SUBSTITUTE, place(path), place(to))
    case .copy(let path, let changes): return entry(CSANDBOX_COPY, place(path), place(changes))
    case .layer(let path, let files):
      let (place, texts) = (place(path), place(files.flatMap { [$0.name, $0.text] }))
      return entry(CSANDBOX_LAYER, place, texts, number: UInt64(files.count))
    case .seed(let one):
      let start = place(one.bytes)
      let (place, mode) = (place(one.path), one.isProgram ? 0o755 : 0o644 as UInt64)
      return entry(CSANDBOX_SEED, place, start, number: UInt64(one.bytes.count), more: mode)
    case .bind(let source, let path, let access):
      return entry(CSANDBOX_BIND, place(source), place(path), number: access.flags)
    case .bindMapped(let source, let path, let access, let owners):
      mapped.append((source, owners))
      return entry(
        CSANDBOX_BIND, place(source), place(path), number: access.flags, more: UInt64(clamping: mapped.count))
    case .pin(let path, let access): return entry(CSANDBOX_PIN, place(path), number: access.flags)
    case .temporary(let path, let mode, let bytes, let inodes):
      return entry(CSANDBOX_TEMPORARY, place(path), place(mode), number: UInt64(bytes), more: UInt64(inodes))
    case .processes(let path): return entry(CSANDBOX_PROCESSES, place(path))
    case .terminals(let path): return entry(CSANDBOX_TERMINALS, place(path))
    case .mask(let path): return entry(CSANDBOX_MASK, place(path))
    case .hide(let path): return entry(CSANDBOX_HIDE, place(path))
    case .cover(let path, .folder): return entry(CSANDBOX_COVER, place(path), more: 1)
    case .cover(let path, .file(let text)):
      return entry(CSANDBOX_COVER, place(path), place(text), number: UInt64(text.utf8.count))
    default: preconditionFailure("no step of files: \(step)")
    }
  }

  private mutating func compile(_ probe: Probe) -> csandbox_step {
    func entry(_ kind: csandbox_probe, _ first: UInt32 = 0, port: UInt16 = 0) -> csandbox_step {
      self.entry(CSANDBOX_PROBE, first, number: UInt64(kind.rawValue), more: UInt64(port))
    }
    switch probe {
    case .target(let target): return entry(CSANDBOX_PROBE_TARGET_REFUSED, place(target))
    case .name(let name): return entry(CSANDBOX_PROBE_NAME_REFUSED, place(name))
    case .hostStream(.v4, let port): return entry(CSANDBOX_PROBE_CANARY_STREAM4, port: port)
    case .hostStream(.v6, let port): return entry(CSANDBOX_PROBE_CANARY_STREAM6, port: port)
    case .hostDatagram(let port): return entry(CSANDBOX_PROBE_CANARY_DATAGRAM4, port: port)
    case .datagram(let address, let port): return entry(CSANDBOX_PROBE_DATAGRAM_REFUSED, place(address), port: port)
    case .stream(let address, let port): return entry(CSANDBOX_PROBE_STREAM_REFUSED, place(address), port: port)
    case .rawSockets: return entry(CSANDBOX_PROBE_RAW_REFUSED)
    case .localSocket(let path): return entry(CSANDBOX_PROBE_LOCAL_UNREACHABLE, place(path))
    case .reading(let path): return entry(CSANDBOX_PROBE_UNREADABLE, place(path))
    case .writing(let path): return entry(CSANDBOX_PROBE_UNWRITABLE, place(path))
    }
  }
}

extension Namespace {
  /// clone(2)
  fileprivate var flag: UInt64 {
    switch self {
    case .mount: 0x0002_0000
    case .cgroup: 0x0200_0000
    case .uts: 0x0400_0000
    case .ipc: 0x0800_0000
    case .user: 0x1000_0000
    case .pid: 0x2000_0000
    case .network: 0x4000_0000
    }
  }
}

extension ListenerSpec {
  fileprivate var flags: UInt64 {
    var flags = 0
    if family == .v6 { flags |= Int(CSANDBOX_LISTEN_V6) }
    if isDatagram { flags |= Int(CSANDBOX_LISTEN_DATAGRAM) }
    if purpose == .proxy || isRedirected { flags |= Int(CSANDBOX_LISTEN_LOOPBACK) }
    if isRedirected { flags |= Int(CSANDBOX_LISTEN_REDIRECTED) }
    return UInt64(flags)
  }
}

extension MountAccess {
  fileprivate var flags: UInt64 {
    switch self {
    case .readOnly: 0
    case .writable: UInt64(CSANDBOX_BIND_WRITABLE)
    case .device: UInt64(CSANDBOX_BIND_DEVICE)
    }
  }
}

extension Allowance {
  fileprivate var flag: UInt64 {
    switch self {
    case .ptrace: UInt64(CSANDBOX_ALLOW_TRACING)
    case .userns: UInt64(CSANDBOX_ALLOW_NAMESPACES)
    }
  }
}

extension Resource {
  /// getrlimit(2)
  fileprivate var number: UInt64 {
    switch self {
    case .dataBytes: 2
    case .coreBytes: 4
    case .processes: 6
    case .openFiles: 7
    }
  }
}

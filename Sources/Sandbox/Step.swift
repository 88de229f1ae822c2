// One step of making a sandbox, as a value: what is done, with which numbers and paths. Each prints as one line.
// It relies on nothing: CompiledSandboxPlan turns it into what the C side performs.

package enum IPFamily: String, Sendable { case v4, v6 }

package enum Namespace: String, CaseIterable, Sendable { case user, mount, pid, network, ipc, uts, cgroup }

/// A socket that is made inside and served by the gate from outside.
package struct ListenerSpec: Hashable, Sendable {
  package enum Purpose: String, Sendable {
    /// CONNECT and plain HTTP, on the sandbox's loopback.
    case proxy
    /// Connections to any address, as programs open them that know no proxy.
    case transparent
    case dns
  }
  package let purpose: Purpose
  package let family: IPFamily
  package let isDatagram: Bool
  package let port: UInt16
  /// On the loopback, for what is redirected there from every address and port.
  package let isRedirected: Bool

  package init(
    _ purpose: Purpose, _ family: IPFamily, isDatagram: Bool = false, port: UInt16, isRedirected: Bool = false
  ) {
    self.purpose = purpose
    self.family = family
    self.isDatagram = isDatagram
    self.port = port
    self.isRedirected = isRedirected
  }

  fileprivate var place: String {
    let isOwn = purpose == .proxy || isRedirected
    return switch family {
    case .v4: "\(isOwn ? "127.0.0.1" : "0.0.0.0"):\(port)"
    case .v6: "[\(isOwn ? "::1" : "::")]:\(port)"
    }
  }
}

package enum Resource: String, Sendable {
  case coreBytes = "core", openFiles = "open files", processes, dataBytes = "data bytes of one process"
}

/// Rights that the filter of system calls gives back on request; docs/sandbox.md says what each opens.
package enum Allowance: String, CaseIterable, Sendable {
  /// The command's processes may trace each other.
  case ptrace
  /// The command's processes may make namespaces of their own, with all capabilities in there.
  case userns
}

/// What is tried in the finished sandbox before the command starts. All of it must fail.
package enum Probe: Hashable, Sendable {
  case target(String)
  case name(String)
  case hostStream(IPFamily, port: UInt16)
  case hostDatagram(port: UInt16)
  case datagram(String, port: UInt16)
  case stream(String, port: UInt16)
  case rawSockets
  case localSocket(String)
  case reading(String)
  case writing(String)
}

package enum Step: Equatable, Sendable {
  /// A cgroup with its limits, which the first process enters before it does anything.
  case cgroup(CgroupSpec)
  case namespaces([Namespace])
  /// One user and one group, the same numbers inside and outside.
  case mapIDs(uid: UInt32, gid: UInt32)
  /// Where root starts it.
  case becomeUser(uid: UInt32, gid: UInt32)
  case dieWithParent
  case hostName(String)
  case loopbackUp
  /// Beside the loopback's own: resolvers do not ask for a family that has no other.
  case address(String)
  /// Every address of the family leads to the sandbox's own loopback.
  case localRoute(IPFamily)
  case setting(String, String)
  /// TCP to every port of every address goes to the listeners on this one, but for the loopback's and for DNS.
  case redirect(port: UInt16, hasIPv6: Bool)
  case listen(ListenerSpec)
  case handOut(count: Int)
  case newRoot(bytes: Int, inodes: Int)
  case folder(String, mode: UInt32)
  case link(String, to: String)
  case file(String, String)
  /// A file of any bytes.
  case data(String, [UInt8])
  /// A link in place of a file, which stays as it is.
  case substitute(String, to: String)
  /// A folder of the host, whose changes are kept in another one.
  case copy(String, changes: String)
  /// Files over those of a folder of the system.
  case layer(String, [LayerFile])
  /// A file of the home, unless there is one.
  case seed(HomeSeed)
  case bind(String, at: String, MountAccess)
  /// The same, with the files of one owner as those of the command's user.
  case bindMapped(String, at: String, MountAccess, OwnerMapping)
  /// A mount of its own, so that it can be neither renamed nor replaced, and has its own access.
  case pin(String, MountAccess)
  case temporary(String, mode: String, bytes: Int, inodes: Int)
  case processes(String)
  case terminals(String)
  case mask(String)
  /// What the sandbox has in its place is its own, and read-only.
  case cover(String, ProtectedPath.Placeholder)
  /// As `mask`, for what is the user's: of a file not even the name can be opened.
  case hide(String)
  case enterRoot
  case limit(Resource, UInt64)
  case dropBoundingCapabilities
  case lockSecureBits
  case noNewPrivileges
  case dropCapabilities
  case notDumpable
  case reaper
  /// Of the sandbox's own; the caller's is joined to it from outside.
  case openTerminal
  case session(isForeground: Bool)
  case workIn(String)
  case landlock(writable: [String], devices: String)
  case seccomp(allows: [Allowance])
  case closeDescriptors
  case probe(Probe)
  case execute([String], environment: [String])
}

extension Step: CustomStringConvertible {
  package var description: String {
    switch self {
    case .listen, .redirect, .localRoute, .address, .loopbackUp, .handOut, .hostName, .setting: network
    case .newRoot, .folder, .link, .file, .data, .bind, .bindMapped, .pin, .temporary, .processes, .terminals, .mask,
      .hide,
      .cover, .enterRoot:
      files
    default: process
    }
  }

  private var network: String {
    switch self {
    case .hostName(let name): "host name \(name)"
    case .loopbackUp: "loopback up"
    case .address(let address): "address \(address)"
    case .localRoute(let family): "every \(family == .v4 ? "IPv4" : "IPv6") address is the gate"
    case .setting(let path, let value): "\(path) = \(value)"
    case .redirect(let port, _): "tcp to every port of every address but the loopback's goes to port \(port)"
    case .listen(let one): "listen \(one.isDatagram ? "udp" : "tcp") \(one.place) (\(one.purpose))"
    case .handOut(let count): "hand \(count) listeners to the gate"
    default: ""
    }
  }

  private var files: String {
    switch self {
    case .newRoot(let bytes, let inodes): "new root, \(bytes) bytes, \(inodes) files"
    case .folder(let path, let mode): "folder \(path), mode \(String(mode, radix: 8))"
    case .link(let path, let to): "link \(path) -> \(to)"
    case .file(let path, let text): "file \(path), \(text.utf8.count) bytes"
    case .data(let path, let bytes): "file \(path), \(bytes.count) bytes"
    case .substitute(let path, let to): "in place of \(path), a link to \(to)"
    case .copy(let path, let changes): "a copy of \(path), its changes in \(changes)"
    case .layer(let path, let files): "layer on \(path): \(files.map(\.name).joined(separator: " "))"
    case .seed(let one): "file \(one.path), \(one.bytes.count) bytes, unless there is one"
    case .bind(let source, let path, let access):
      "bind \(source == path ? path : "\(source) at \(path)"), \(access.rawValue)"
    case .bindMapped(let source, let path, let access, let owners):
      "\(Step.bind(source, at: path, access)), user \(owners.disk.uid) of the disk as user \(owners.inside.uid)"
    case .pin(let path, let access): "pin \(path), \(access.rawValue)"
    case .temporary(let path, let mode, let bytes, let inodes):
      "temporary \(path), mode \(mode), \(bytes) bytes, \(inodes) files"
    case .processes(let path): "proc at \(path), other users' hidden"
    case .terminals(let path): "terminals at \(path)"
    case .mask(let path): "mask \(path)"
    case .cover(let path, .folder): "cover \(path) with an empty folder, read-only"
    case .cover(let path, .file(let text)): "cover \(path) with a file of \(text.utf8.count) bytes, read-only"
    case .hide(let path): "hide \(path)"
    case .enterRoot: "enter the new root, read-only; the old one is gone"
    default: ""
    }
  }

  private var process: String {
    switch self {
    case .cgroup(let spec):
      "cgroup \(spec.path): \(spec.settings.map { "\($0.file) \($0.value)" }.joined(separator: ", "))"
    case .namespaces(let kinds): "namespaces \(kinds.map(\.rawValue).joined(separator: " "))"
    case .mapIDs(let uid, let gid): "map user \(uid) and group \(gid), no other"
    case .becomeUser(let uid, let gid): "become user \(uid), group \(gid)"
    case .dieWithParent: "die with the parent"
    case .limit(let resource, let value): "limit \(resource.rawValue) to \(value)"
    case .dropBoundingCapabilities: "drop bounding and ambient capabilities"
    case .lockSecureBits: "lock securebits"
    case .noNewPrivileges: "no new privileges"
    case .dropCapabilities: "drop all capabilities"
    case .notDumpable: "not dumpable"
    case .reaper: "process 1 stays to reap and to forward signals, in a session of its own"
    case .openTerminal: "a terminal of its own"
    case .session(let isForeground): isForeground ? "a group of its own, in the foreground" : "a group of its own"
    case .workIn(let path): "work in \(path)"
    case .landlock(let writable, _): "Landlock: write under \(writable.joined(separator: " ")) alone"
    case .seccomp(let allows):
      allows.isEmpty ? "seccomp" : "seccomp, but for \(allows.map(\.rawValue).joined(separator: " "))"
    case .closeDescriptors: "close all descriptors but the standard three"
    case .probe(let probe): "probe: \(probe)"
    case .execute(let command, let environment):
      // Values may be secrets.
      "execute \(command.joined(separator: " ")), environment \(environment.map { String($0.prefix { $0 != "=" }) }.joined(separator: " "))"
    default: ""
    }
  }
}

extension Probe: CustomStringConvertible {
  package var description: String {
    switch self {
    case .target(let target): "the gate refuses \(target)"
    case .name(let name): "the name server refuses \(name)"
    case .hostStream(let family, let port):
      "the host's loopback port \(port) is out of reach by tcp\(family == .v6 ? "6" : "")"
    case .hostDatagram(let port): "the host's loopback port \(port) is out of reach by udp"
    case .datagram(let address, let port): "udp to \(address) port \(port) is refused"
    case .stream(let address, let port): "tcp to \(address) port \(port) is refused, or the gate's"
    case .rawSockets: "raw and packet sockets are refused"
    case .localSocket(let path): "the socket \(path) is out of reach"
    case .reading(let path): "\(path) cannot be read"
    case .writing(let path): "\(path) cannot be written"
    }
  }
}

// `sluice run --gate`: what the running gate says of its rules, its hold on the sandbox's listeners, and their end.
// It relies on one connection that stands as long as the sandbox: the gate sees its end, and this process sees the
// gate's.
import Gate
import Kernel
import Policy
import Sandbox
import Wire

/// Link to a running gate, with its rules for a sandbox of this name.
struct GateLink {
  let path: String
  private let name: String
  private let rules: SandboxRules
  /// The gate's own files, with its policy and its log.
  private let files: [String]

  init(_ path: String, sandbox name: String) throws(LaunchFailure) {
    (self.path, self.name) = (path, name)
    do throws(AdminFailure) {
      var client = try AdminClient(path)
      let answer = try client.demand(
        .command(
          "client", [JSONMember("name", .text(name)), JSONMember("probe", .text(SandboxRequest.probeName))]))
      guard answer["taken"]?.asBool != true else {
        throw AdminFailure("\(path): a sandbox named \(name) is there already; give another --name")
      }
      let ports = (answer["ports"]?.asList ?? []).compactMap { $0.asText.flatMap(Self.range) }
      rules = SandboxRules(ports: ports, refusesProbe: answer["refuses_probe"]?.asBool == true)
      files = (answer["files"]?.asList ?? []).compactMap(\.asText)
    } catch {
      throw LaunchFailure("--gate \(error)")
    }
  }

  private static func range(_ text: String) -> ClosedRange<UInt16>? {
    let ends = text == "*" ? [1, UInt16.max] : text.split(separator: "-").compactMap { UInt16($0) }
    guard let first = ends.first, let last = ends.last, first <= last else { return nil }
    return first...last
  }

  /// Rules that come to the same for the making of a sandbox: the ports that they name, and whether a name is refused.
  var network: NetworkPolicy {
    let line = SourceLine(file: path, line: 0)
    var spec = NetworkSpec(line: line)
    spec.defaultAllows = !rules.refusesProbe
    spec.allow = rules.ports.map { AllowSpec(line: line, pattern: .exact(.address(.v4(0))), ports: PortSet([$0])) }
    return NetworkPolicy(spec)
  }

  /// Files of the gate that the command could write, it could change; by the socket it could tell the gate what to do.
  func check(_ plan: SandboxPlan) throws(LaunchFailure) {
    for file in files {
      guard let real = HostFile.realPath(file) else { continue }
      for shown in plan.writable where real.isAtOrBelow(shown) {
        throw LaunchFailure("the gate's own \(real) stands where the command can write it; move it, or the workspace")
      }
    }
  }

  /// The gate takes the listeners over; none is left here.
  func attach(_ sockets: [BoundSocket], isProbing: Bool) throws(LaunchFailure) -> AttachedGate {
    defer { LocalSocket.close(sockets.map(\.raw)) }
    do throws(AdminFailure) {
      let gate = AttachedGate(try AdminClient(path))
      try gate.attach(name, sockets, isProbing: isProbing)
      return gate
    } catch {
      throw LaunchFailure("--gate \(error)")
    }
  }
}

extension SandboxPlan {
  /// A socket by which a gate is told what to do must not stand where the command sees it: it has the same uid.
  func checkHidden(adminSocket path: String?) throws(LaunchFailure) {
    guard let path, let folder = HostFile.realPath(path.folderOfPath) else { return }
    let real = HostFile.realPath(path) ?? "\(folder)/\(path.lastPathPart)"
    for step in steps {
      guard case .bind(let shown, _, _) = step, real.isAtOrBelow(shown) else { continue }
      throw LaunchFailure(
        "the admin socket \(real) stands in \(shown), which the command sees; move it to a folder of its own")
    }
  }
}

/// A gate that serves this process's sandbox.
final class AttachedGate {
  private var client: AdminClient
  private let fd: CInt

  init(_ client: consuming AdminClient) {
    fd = client.socket.raw
    self.client = client
  }

  /// Readable when the gate is gone.
  var lifeline: CInt { fd }

  fileprivate func attach(_ name: String, _ sockets: [BoundSocket], isProbing: Bool) throws(AdminFailure) {
    var rest = sockets[...]
    repeat {
      let part = rest.prefix(LocalSocket.descriptorsMax)
      rest = rest.dropFirst(part.count)
      let words = part.map { JSONValue.text(AttachedListener($0.door, $0.transport).word) }
      _ = try client.demand(
        .command(
          "attach",
          [
            JSONMember("name", .text(name)), JSONMember("listeners", .list(words)),
            JSONMember("more", .bool(!rest.isEmpty)), JSONMember("probing", .bool(isProbing)),
          ]), with: part.map(\.raw))
    } while !rest.isEmpty
  }

  /// The sandbox has checked itself: its traffic is the command's from now on.
  func endProbing() throws(LaunchFailure) {
    do throws(AdminFailure) { _ = try client.demand(.command("probed")) } catch {
      throw LaunchFailure("--gate \(error)")
    }
  }

  /// The command has ended: what it has sent may arrive, and the name is free when this returns.
  func detach() {
    do throws(AdminFailure) { _ = try client.demand(.command("detach")) } catch {
      Messages.warn("the gate did not remove the sandbox: \(error)")
    }
  }
}

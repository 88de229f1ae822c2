// What `sluice redirect` writes, word for word, and what it refuses to write anything for.

import Foundation
import Redirect
import Testing

/// One file a text under `golden`. SLUICE_GOLDEN=write makes them anew, for a reviewer to read the difference.
struct Golden: Sendable, CustomTestStringConvertible {
  static let all = ["interface", "namespace", "uid", "cgroup"].flatMap { selector in
    [false, true].flatMap { tproxy in
      [false, true].flatMap { ipv6 in
        ["nft", "iptables"].map { Golden(selector: selector, usesTProxy: tproxy, servesIPv6: ipv6, syntax: $0) }
      }
    }
  }

  let selector: String
  let usesTProxy: Bool
  let servesIPv6: Bool
  let syntax: String

  var testDescription: String {
    "\(selector)-\(usesTProxy ? "tproxy" : "redirect")-\(servesIPv6 ? "ipv6" : "no-ipv6").\(syntax)"
  }

  var file: URL { URL(filePath: #filePath).deletingLastPathComponent().appending(path: "golden/\(testDescription)") }

  func text() throws -> String {
    var options = try self.options()
    options.usesTProxy = usesTProxy
    options.servesIPv6 = servesIPv6
    let plan = try RedirectPlan(options)
    return syntax == "nft" ? NFTables.text(plan) : IPTables.script(plan)
  }

  /// Between them they have every option once.
  private func options() throws -> RedirectOptions {
    switch selector {
    case "interface":
      var options = try plain(.interface(try InterfaceName("br-agents")))
      options.allowsDHCP = true
      return options
    case "namespace": return try plain(.namespace(try NamespacePath("agent")))
    case "uid":
      var options = try plain(.user(try UserID(1000)))
      options.localPorts = [3128]
      return options
    default:
      var options = try plain(.cgroup(try CgroupPath("agents.slice/one.service")))
      options.gate = try UserID(990)
      return options
    }
  }
}

private func plain(_ selector: Selector, transparent: [String] = ["3129"], dns: [String] = ["3153"]) throws
  -> RedirectOptions
{
  RedirectOptions(
    selector: selector, transparent: try GateAddresses(transparent, option: "--transparent"),
    dns: try GateAddresses(dns, option: "--dns"))
}

private func problem(_ body: () throws -> Void) -> String {
  do {
    try body()
    return "none"
  } catch { return "\(error)" }
}

@Suite struct RedirectTests {
  @Test(arguments: Golden.all) func theTextIs(_ golden: Golden) throws {
    let text = try golden.text()
    if ProcessInfo.processInfo.environment["SLUICE_GOLDEN"] == "write" {
      try text.write(to: golden.file, atomically: true, encoding: .utf8)
    }
    #expect(try String(contentsOf: golden.file, encoding: .utf8) == text)
  }

  @Test func everyGoldenFileIsOneThatIsWritten() throws {
    let folder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "golden")
    let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
    #expect(Set(names) == Set(Golden.all.map(\.testDescription)))
  }

  /// Each chain that is selected ends in the three refusals, also when nothing at all is served.
  @Test func theRestIsAlwaysRefused() throws {
    for golden in Golden.all where golden.syntax == "nft" {
      let lines = try golden.text().split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
      let refusal = try #require(lines.firstIndex(of: "meta l4proto tcp reject with tcp reset"))
      #expect(lines[refusal + 1] == "meta l4proto udp reject with icmpx port-unreachable")
      #expect(lines[refusal + 2] == "reject with icmpx admin-prohibited")
      #expect(lines[refusal + 3] == "}")
    }
  }

  // MARK: names

  @Test func noByteOfANameMeansAnything() throws {
    let safe = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-".utf8)
    for byte in UInt8.min...UInt8.max {
      let scalar = String(Unicode.Scalar(byte))
      let name = "a\(scalar)b"
      #expect((try? InterfaceName(name)) != nil || !safe.contains(byte), "\(byte)")
      #expect((try? InterfaceName(name)) == nil || safe.contains(byte), "\(byte)")
      #expect((try? NamespacePath(name)) == nil || safe.contains(byte), "\(byte)")
      let more = safe.union("@:+=/".utf8)
      #expect((try? NamespacePath("/\(name)")) == nil || more.contains(byte), "\(byte)")
      #expect((try? CgroupPath(name)) == nil || more.contains(byte), "\(byte)")
    }
  }

  @Test(arguments: [
    "", ".", "..", "-j", "eth+", "eth*", "a b", "a\"b", "a\nb", "a;b", "a'b", "$(id)", "br0@if3", "abcdefghijklmnop",
    "bücken",
  ])
  func isNoInterface(_ name: String) { #expect(problem { _ = try InterfaceName(name) }.hasPrefix("--interface ")) }

  @Test(arguments: ["", ".", "..", "-n", "a/b", "../x", "/a b", "/a\"", "/a\nb", "/a;b"])
  func isNoNamespace(_ name: String) { #expect(problem { _ = try NamespacePath(name) }.hasPrefix("--namespace ")) }

  @Test(arguments: ["", "/", "//", "..", "a/../b", "./a", "a b", "a\"b", "a\\x2db", "a\nb", "a*b", "/sys/fs/cgroup/"])
  func isNoCgroup(_ path: String) { #expect(problem { _ = try CgroupPath(path) }.hasPrefix("--cgroup ")) }

  @Test func aCgroupIsItsPathHoweverWritten() throws {
    for text in ["a.slice/b", "/a.slice/b", "a.slice//b/", "/sys/fs/cgroup/a.slice/b"] {
      let path = try CgroupPath(text)
      #expect(path.text == "a.slice/b" && path.depth == 2)
    }
    #expect(problem { _ = try CgroupPath(String(repeating: "a/", count: 17)) } != "none")
    #expect(problem { _ = try CgroupPath(String(repeating: "a", count: 181)) } != "none")
    #expect(problem { _ = try CgroupPath(String(repeating: "@", count: 100)) }.contains("shorter"))
  }

  @Test func aProblemObeysNoTerminal() {
    #expect(problem { _ = try InterfaceName("a\u{1b}[31m") }.contains("a?[31m"))
  }

  @Test func twoSelectorsNeverShareATable() throws {
    let names = ["a", "a_", "a__", "a.b", "a_b", "a-b", "a_2d", "A"]
    let paths = ["a@b", "a_40b", "a__40b", "a:b", "a/b", "a_b"]
    let tables =
      try names.map { Selector.interface(try InterfaceName($0)).table }
      + paths.map { Selector.cgroup(try CgroupPath($0)).table }
      + [Selector.user(try UserID(7)).table, Selector.namespace(try NamespacePath("a")).table]
    #expect(Set(tables).count == tables.count)
    #expect(tables.allSatisfy { $0.hasPrefix("sluice_") && $0.utf8.count < 256 })
    #expect(Selector.namespace(try NamespacePath("a")) == .namespace(try NamespacePath("/run/netns/a")))
  }

  /// Length, type, flags, sequence, port; family, version, resource: as linux/netlink.h and nfnetlink.h have it.
  @Test func messagesAreABatch() throws {
    let plan = try RedirectPlan(
      RedirectOptions(
        selector: .user(try UserID(4242)), transparent: try GateAddresses(["3129"], option: "t"),
        dns: try GateAddresses(["3153"], option: "d")))
    let bytes = NFTables.messages(plan, cgroupID: 0)
    var kinds: [Int] = []
    var index = 0
    while index < bytes.count {
      let length = Int(bytes[index]) | Int(bytes[index + 1]) << 8
      try #require(length >= 20 && length % 4 == 0 && index + length <= bytes.count)
      kinds.append(Int(bytes[index + 4]) | Int(bytes[index + 5]) << 8)
      index += length
    }
    #expect(index == bytes.count)
    #expect(kinds.prefix(4) == [0x10, 0xa00, 0xa02, 0xa00] && kinds.last == 0x11)
    #expect(Set(kinds.dropFirst(4).dropLast()) == [0xa03, 0xa06])
    #expect(NFTables.removalMessages(table: "sluice_uid_1").count == 20 + 20 + 20 + 4 + 16)
  }

  // MARK: addresses

  @Test(arguments: [
    "", "0", "65536", "x", "-1", "+1", "127.0.0.1", "127.0.0.1:", ":3129", "127.1:3129", "0.0.0.0:3129", "[::]:3129",
    "::1:3129",
    "[::1]", "[127.0.0.1]:3129", "[::ffff:127.0.0.1]:3129", "localhost:3129", "[::1%lo]:3129", "3129;", "1 2", "٣",
  ])
  func isNoListener(_ text: String) {
    #expect(problem { _ = try GateAddresses([text], option: "--dns") }.hasPrefix("--dns "))
  }

  @Test(arguments: [["1", "2"], ["127.0.0.1:1", "127.0.0.2:1"], ["[::1]:1", "2"]])
  func isOneListenerTooMany(_ texts: [String]) {
    #expect(problem { _ = try GateAddresses(texts, option: "--dns") }.contains("twice"))
  }

  @Test func aFamilyWithoutAListenerIsUnserved() throws {
    let text = NFTables.text(
      try RedirectPlan(try plain(.user(try UserID(7)), transparent: ["[::1]:1"], dns: ["127.0.0.1:2", "[fd00::1]:3"])))
    #expect(text.contains("meta nfproto ipv6 meta l4proto tcp dnat ip6 to [::1]:1\n"))
    #expect(!text.contains("meta nfproto ipv4 meta l4proto tcp dnat"))
    #expect(
      text.contains("th dport 53 dnat ip to 127.0.0.1:2\n") && text.contains("th dport 53 dnat ip6 to [fd00::1]:3\n"))
    #expect(text.contains("ip6 daddr fd00::1 meta l4proto { tcp, udp } th dport 3 accept\n"))
  }

  // MARK: plans

  @Test func theGateIsNotCutOff() throws {
    var options = try plain(.user(try UserID(7)))
    options.gate = try UserID(7)
    #expect(problem { _ = try RedirectPlan(options) }.contains("the gate's own user"))
    options.gate = try UserID(8)
    _ = try RedirectPlan(options)
    #expect(problem { _ = try UserID(UInt32.max) } != "none")
  }

  @Test func anInterfaceCannotReachLoopback() throws {
    let bridge = Selector.interface(try InterfaceName("br0"))
    let listeners = ["127.0.0.1:1", "[::1]:1"]
    #expect(problem { _ = try RedirectPlan(try plain(bridge, transparent: listeners)) }.contains("loopback"))
    #expect(problem { _ = try RedirectPlan(try plain(bridge, dns: listeners)) }.contains("loopback"))
    var options = try plain(bridge, transparent: listeners)
    options.usesTProxy = true
    #expect(NFTables.text(try RedirectPlan(options)).contains("tproxy ip6 to [::1]:1 meta mark set"))
  }

  @Test func optionsOfOtherSelectorsAreRefused() throws {
    let selectors: [Selector] = [
      .interface(try InterfaceName("br0")), .namespace(try NamespacePath("a")), .user(try UserID(7)),
      .cgroup(try CgroupPath("a")),
    ]
    let allowed = try selectors.map { selector in
      var (gate, local, dhcp) = (try plain(selector), try plain(selector), try plain(selector))
      gate.gate = try UserID(8)
      local.localPorts = [3128]
      dhcp.allowsDHCP = true
      return [gate, local, dhcp].map { options in problem { _ = try RedirectPlan(options) } == "none" }
    }
    #expect(allowed == [[false, false, true], [true, false, false], [true, true, false], [true, true, false]])
  }

  @Test func aRemovalNamesEveryChain() throws {
    for golden in Golden.all where golden.syntax == "iptables" {
      let selector: Selector =
        switch golden.selector {
        case "interface": .interface(try InterfaceName("br-agents"))
        case "namespace": .namespace(try NamespacePath("agent"))
        case "uid": .user(try UserID(1000))
        default: .cgroup(try CgroupPath("agents.slice/one.service"))
        }
      let removal = IPTables.removal(selector)
      for line in try golden.text().split(separator: "\n") where line.hasPrefix("jump ") {
        #expect(removal.contains("drop \(line.dropFirst(5))\n"))
      }
    }
  }
}

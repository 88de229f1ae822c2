// Netlink messages of nf_tables as bytes: one batch, which the kernel takes as a whole or not at all.
// It relies on the numbers of <linux/netfilter/nf_tables.h>, which never change; numbers in attributes are big-endian,
// and what registers hold of marks, users and addresses' kinds is in the machine's own order.

struct NetfilterBatch {
  private(set) var bytes: [UInt8] = []
  private let table: String

  private static let subsystem: UInt16 = 10
  private static let inet: UInt8 = 1
  private static let (request, acknowledge): (UInt16, UInt16) = (0x1, 0x4)
  /// For what is made: make it if it is not there, or put it behind the others.
  private static let (create, append): (UInt16, UInt16) = (0x400, 0x800)

  init(table: String) {
    self.table = table
    message(type: 0x10, flags: Self.request, family: 0, resource: Self.subsystem) { _ in }
  }

  /// Ends the batch; its acknowledgement comes behind whatever went wrong, or alone.
  mutating func finish() -> [UInt8] {
    message(type: 0x11, flags: Self.request | Self.acknowledge, family: 0, resource: Self.subsystem) { _ in }
    return bytes
  }

  mutating func addTable() { command(0, Self.create) { [table] in $0.put(1, text: table) } }
  mutating func deleteTable() { command(2, 0) { [table] in $0.put(1, text: table) } }

  /// nil: a chain that only others jump to.
  mutating func addChain(_ name: String, base: (type: String, hook: UInt32, priority: Int32)?) {
    command(3, Self.create) { [table] attributes in
      attributes.put(1, text: table)
      attributes.put(3, text: name)
      guard let base else { return }
      attributes.nest(4) {
        $0.put(1, number: base.hook)
        $0.put(2, number: UInt32(bitPattern: base.priority))
      }
      attributes.put(5, number: 1)
      attributes.put(7, text: base.type)
    }
  }

  mutating func addRule(_ chain: String, _ body: (inout NetfilterExpressions) -> Void) {
    command(6, Self.create | Self.append) { [table] attributes in
      attributes.put(1, text: table)
      attributes.put(2, text: chain)
      attributes.nest(4) { list in
        var expressions = NetfilterExpressions()
        body(&expressions)
        list.append(expressions)
      }
    }
  }

  private mutating func command(_ number: UInt16, _ flags: UInt16, _ body: (inout NetlinkAttributes) -> Void) {
    message(
      type: Self.subsystem << 8 | number, flags: Self.request | flags, family: Self.inet, resource: 0, body)
  }

  private mutating func message(
    type: UInt16, flags: UInt16, family: UInt8, resource: UInt16, _ body: (inout NetlinkAttributes) -> Void
  ) {
    var attributes = NetlinkAttributes()
    body(&attributes)
    let header = 20
    bytes += UInt32(truncatingIfNeeded: header + attributes.bytes.count).own
    bytes += type.own + flags.own
    // Sequence and port: nobody waits for an answer to one of them.
    bytes += [UInt8](repeating: 0, count: 8)
    bytes += [family, 0, UInt8(truncatingIfNeeded: resource >> 8), UInt8(truncatingIfNeeded: resource)]
    bytes += attributes.bytes
  }
}

/// Attributes (netlink(7)): each has its length and type before it, and zeros behind it up to a word.
struct NetlinkAttributes {
  fileprivate(set) var bytes: [UInt8] = []
  private static let nested: UInt16 = 0x8000

  mutating func put(_ type: UInt16, bytes value: [UInt8]) {
    bytes += UInt16(truncatingIfNeeded: value.count + 4).own + type.own
    bytes += value
    while bytes.count % 4 != 0 { bytes.append(0) }
  }

  mutating func put(_ type: UInt16, text: String) { put(type, bytes: Array(text.utf8) + [0]) }
  mutating func put(_ type: UInt16, number: UInt32) { put(type, bytes: number.big) }

  mutating func nest(_ type: UInt16, _ body: (inout NetlinkAttributes) -> Void) {
    var inner = NetlinkAttributes()
    body(&inner)
    put(Self.nested | type, bytes: inner.bytes)
  }

  mutating func append(_ expressions: NetfilterExpressions) { bytes += expressions.attributes.bytes }
}

/// The steps of a rule: loads into a register, comparisons that must hold, and a verdict.
struct NetfilterExpressions {
  fileprivate var attributes = NetlinkAttributes()

  /// Keys of `meta`.
  enum Meta: UInt32 { case mark = 3, inputName = 6, outputName = 7, owner = 10, family = 15, transport = 16 }
  /// Bases of `payload`.
  enum Header: UInt32 { case network = 1, transport = 2 }
  /// Of 16 bytes each; the verdict's own register is 0.
  enum Register: UInt32 { case verdict = 0, first = 1, second = 2 }
  enum Reject: UInt32 { case reset = 1, unreachable = 2 }

  mutating func meta(_ key: Meta, isNot: Bool = false, _ value: [UInt8]) {
    expression("meta") {
      $0.put(1, number: Register.first.rawValue)
      $0.put(2, number: key.rawValue)
    }
    compare(isNot, value)
  }

  mutating func payload(_ header: Header, at offset: UInt32, _ value: [UInt8]) {
    expression("payload") {
      $0.put(1, number: Register.first.rawValue)
      $0.put(2, number: header.rawValue)
      $0.put(3, number: offset)
      $0.put(4, number: UInt32(truncatingIfNeeded: value.count))
    }
    compare(false, value)
  }

  /// 1: the answering side of a connection.
  mutating func connectionDirection(_ direction: UInt8) { connection(key: 1, [direction]) }
  mutating func connectionMark(_ mark: UInt32) { connection(key: 3, mark.own) }

  private mutating func connection(key: UInt32, _ value: [UInt8]) {
    expression("ct") {
      $0.put(1, number: Register.first.rawValue)
      $0.put(2, number: key)
    }
    compare(false, value)
  }

  /// The cgroup at that depth above the socket's own.
  mutating func cgroup(_ id: UInt64, depth: Int) {
    expression("socket") {
      $0.put(1, number: 3)
      $0.put(2, number: Register.first.rawValue)
      $0.put(3, number: UInt32(truncatingIfNeeded: depth))
    }
    compare(false, id.own)
  }

  /// Kinds of the destination as the routes have it: unicast 1, local 2, broadcast 3, anycast 4, multicast 5.
  mutating func destinationIsNone(of kinds: [UInt32]) {
    expression("fib") {
      $0.put(1, number: Register.first.rawValue)
      $0.put(2, number: 3)
      $0.put(3, number: 2)
    }
    for kind in kinds { compare(true, kind.own) }
  }

  private mutating func compare(_ isNot: Bool, _ value: [UInt8]) {
    expression("cmp") {
      $0.put(1, number: Register.first.rawValue)
      $0.put(2, number: isNot ? 1 : 0)
      $0.nest(3) { $0.put(1, bytes: value) }
    }
  }

  // MARK: - Verdicts

  mutating func load(_ register: Register, _ value: [UInt8]) {
    expression("immediate") {
      $0.put(1, number: register.rawValue)
      $0.nest(2) { $0.put(1, bytes: value) }
    }
  }

  /// 0 drop, 1 accept.
  mutating func verdict(_ code: UInt32) { verdict(code, chain: nil) }
  mutating func jump(to chain: String) { verdict(UInt32(bitPattern: -3), chain: chain) }

  private mutating func verdict(_ code: UInt32, chain: String?) {
    expression("immediate") {
      $0.put(1, number: Register.verdict.rawValue)
      $0.nest(2) {
        $0.nest(2) {
          $0.put(1, number: code)
          if let chain { $0.put(2, text: chain) }
        }
      }
    }
  }

  mutating func setMark(_ mark: UInt32) {
    load(.first, mark.own)
    expression("meta") {
      $0.put(2, number: Meta.mark.rawValue)
      $0.put(3, number: Register.first.rawValue)
    }
  }

  mutating func setConnectionMark(_ mark: UInt32) {
    load(.first, mark.own)
    expression("ct") {
      $0.put(2, number: 3)
      $0.put(4, number: Register.first.rawValue)
    }
  }

  /// 1 is port unreachable, 3 administratively prohibited; a reset has no code.
  mutating func reject(_ kind: Reject, code: UInt8 = 0) {
    expression("reject") {
      $0.put(1, number: kind.rawValue)
      $0.put(2, bytes: [code])
    }
  }

  /// To the address of the interface that it came in by, or loopback.
  mutating func redirect(port: UInt16) {
    load(.first, port.big)
    expression("redir") {
      $0.put(1, number: Register.first.rawValue)
      $0.put(2, number: Register.first.rawValue)
    }
  }

  /// 2 is IPv4, 10 IPv6, as in <sys/socket.h>.
  mutating func translate(to address: [UInt8], port: UInt16, family: UInt32) {
    load(.first, address)
    load(.second, port.big)
    expression("nat") {
      $0.put(1, number: 1)
      $0.put(2, number: family)
      $0.put(3, number: Register.first.rawValue)
      $0.put(4, number: Register.first.rawValue)
      $0.put(5, number: Register.second.rawValue)
      $0.put(6, number: Register.second.rawValue)
    }
  }

  mutating func takeTransparently(to address: [UInt8]?, port: UInt16, family: UInt32) {
    if let address { load(.first, address) }
    load(.second, port.big)
    expression("tproxy") {
      $0.put(1, number: family)
      if address != nil { $0.put(2, number: Register.first.rawValue) }
      $0.put(3, number: Register.second.rawValue)
    }
  }

  private mutating func expression(_ name: String, _ body: (inout NetlinkAttributes) -> Void) {
    attributes.nest(1) {
      $0.put(1, text: name)
      $0.nest(2, body)
    }
  }
}

extension FixedWidthInteger {
  /// In the machine's own order.
  var own: [UInt8] {
    let bytes = big
    return littleEndian == self ? bytes.reversed() : bytes
  }

  var big: [UInt8] { (0..<(Self.bitWidth / 8)).reversed().map { UInt8(truncatingIfNeeded: self >> (8 * $0)) } }
}

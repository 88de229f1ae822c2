// Two bridges behind one another, over memory: whatever a client and an upstream say, what the first lets out is what the
// second lets out too. It relies on the bytes it is given for what is said, how it is cut, and who stands still.
import Flow
import Intercept
import Kernel
package import Policy
package import Wire

package struct BridgeSimulation {
  package struct Violation: Error, CustomStringConvertible {
    package let description: String
  }

  private let client = MemoryStream()
  private let middleOut = MemoryStream()
  private let middleIn = MemoryStream()
  private let upstream = MemoryStream()
  private let first: any Bridge
  private let second: any Bridge
  private var tick: Tick
  private let tools = InterceptTools()
  /// Refusals of the first bridge.
  package private(set) var refused: [Reason] = []
  /// What has reached the upstream, and the client.
  package var toUpstream: [UInt8] { upstream.taken }
  package var toClient: [UInt8] { client.taken }

  package init?(_ spoken: ApplicationProtocol, target: Target, rule: AllowRule) {
    tick = Tick(
      Moment(nowMs: 1, nowNs: 1_000_000, unixSeconds: 0), rule: rule, headBytesMax: 16_384, headMs: 10_000)
    guard
      let first = Bridges.make(
        spoken, client: client, upstream: middleOut, target: target, clientName: "c", tools, tick),
      let second = Bridges.make(
        spoken, client: middleIn, upstream: upstream, target: target, clientName: "c", tools, tick)
    else { return nil }
    (self.first, self.second) = (first, second)
  }

  /// Each step is a byte that says who speaks and how much, and then that much.
  package mutating func run(_ script: [UInt8]) throws(Violation) {
    var rest = script[...]
    while let step = rest.popFirst() {
      let count = Int(step >> 2) * (step & 2 == 0 ? 1 : 16)
      let said = Array(rest.prefix(count))
      rest = rest.dropFirst(count)
      try say(said, asClient: step & 1 == 0)
    }
    try end()
  }

  package mutating func say(_ bytes: [UInt8], asClient: Bool) throws(Violation) {
    (asClient ? client : upstream).hear(bytes)
    try settle()
  }

  package mutating func end() throws(Violation) {
    client.hasEnded = true
    upstream.hasEnded = true
    try settle()
  }

  /// Turns, until nothing moves.
  package mutating func settle() throws(Violation) {
    for _ in 0..<1000 {
      tick.moment.nowMs += 1
      tick.moment.nowNs += 1_000_000
      let before = progress
      if !middleOut.isOver { try advance(first, isFirst: true) }
      middleOut.pass(to: middleIn)
      if !middleIn.isOver { try advance(second, isFirst: false) }
      middleIn.pass(to: middleOut)
      client.take()
      upstream.take()
      if progress == before { return }
    }
    throw Violation(description: "the bridges do not come to rest")
  }

  private var progress: [Int] {
    [client, middleOut, middleIn, upstream].flatMap { [$0.readCount, $0.writtenCount, $0.isOver ? 1 : 0] }
  }

  private mutating func advance(_ bridge: any Bridge, isFirst: Bool) throws(Violation) {
    let end = bridge.advance(tick)
    for outcome in bridge.takeOutcomes() {
      guard let reason = outcome.reason else { continue }
      if isFirst {
        refused.append(reason)
      } else {
        switch reason {
        case .badRequest, .methodRefused, .pathRefused, .authorityMismatch:
          throw Violation(description: "\(reason) of what had been let out")
        default: break
        }
      }
    }
    guard case .event = end else { return }
    for stream in isFirst ? [client, middleOut] : [middleIn, upstream] { stream.isOver = true }
    if isFirst { middleIn.hasEnded = true } else { middleOut.hasEnded = true }
  }
}

/// Bytes in memory that come in the pieces that they were said in.
final class MemoryStream: PlainStream {
  private var incoming: [[UInt8]] = []
  private var written: [UInt8] = []
  private(set) var taken: [UInt8] = []
  private(set) var readCount = 0
  var writtenCount: Int { taken.count + written.count }
  var hasEnded = false
  var isOver = false

  var isReadable: Bool { !incoming.isEmpty || hasEnded }
  var hasPeerEnded: Bool { hasEnded }
  var pendingCount: Int { written.count }

  func hear(_ bytes: [UInt8]) { if !bytes.isEmpty { incoming.append(bytes) } }

  func read(into buffer: UnsafeMutableRawBufferPointer) -> Received {
    guard var piece = incoming.first else { return hasEnded ? .ended : .blocked }
    let count = min(piece.count, buffer.count)
    buffer.copyBytes(from: piece.prefix(count))
    piece.removeFirst(count)
    if piece.isEmpty { incoming.removeFirst() } else { incoming[0] = piece }
    readCount += count
    return .bytes(count)
  }

  func write(_ bytes: UnsafeRawBufferPointer) -> Bool {
    written += bytes
    return true
  }

  func flush() -> Bool { true }
  func end() {}

  func take() {
    taken += written
    written = []
  }

  func pass(to other: MemoryStream) {
    other.hear(written)
    take()
  }
}

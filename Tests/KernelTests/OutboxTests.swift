// What waits for a socket: in order, once, and no more of it kept than has not gone.
import Testing

@testable import Kernel

@Suite struct OutboxTests {
  /// Takes so many bytes a call, and then no more.
  private final class Reader {
    var taken: [UInt8] = []
    var room = 0

    func take(_ bytes: Span<UInt8>) -> Transfer {
      let count = min(room, bytes.count)
      if count == 0 { return .wouldBlock }
      for index in 0..<count { taken.append(bytes[index]) }
      room -= count
      return .bytes(count)
    }
  }

  @Test(arguments: 1...7 as ClosedRange<UInt64>)
  func bytesComeInOrderHoweverTheyAreTaken(seed: UInt64) {
    var random = seed
    func next(_ limit: Int) -> Int {
      random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(random >> 33) % limit
    }
    var outbox = Outbox()
    let reader = Reader()
    var given: [UInt8] = []
    for _ in 0..<500 {
      let piece = (0..<next(200)).map { _ in UInt8(next(256)) }
      outbox.append(contentsOf: piece)
      given += piece
      reader.room = next(220)
      let isAll = outbox.flush(reader.take) == .all
      #expect(isAll == (reader.taken.count == given.count) && outbox.count == given.count - reader.taken.count)
    }
    reader.room = .max
    #expect(outbox.flush(reader.take) == .all && outbox.isEmpty && outbox.bytes.isEmpty)
    #expect(reader.taken == given)
  }

  @Test func oneThatIsNeverEmptyKeepsNoMoreThanItHolds() {
    var outbox = Outbox()
    let reader = Reader()
    outbox.append(contentsOf: [UInt8](repeating: 1, count: 1000))
    for _ in 0..<10_000 {
      outbox.append(contentsOf: [UInt8](repeating: 2, count: 900))
      reader.room = 900
      reader.taken = []
      #expect(outbox.flush(reader.take) == .blocked && outbox.count == 1000)
    }
    #expect(outbox.bytes.count <= 4000)
  }

  @Test func aBrokenSocketIsTold() {
    var outbox = Outbox()
    #expect(outbox.flush { _ in .failed(32) } == .all, "nothing waits")
    outbox.append(contentsOf: [1])
    #expect(outbox.flush { _ in .failed(32) } == .broke)
  }
}

// Notifications: none is lost that may yet be sent, none is sent twice without need, and the limits hold.

import Synchronization
import Testing

@testable import Gate

@Suite struct NotificationTests {
  /// All that happened around one queue, in order. It works on the caller's thread, or not at all.
  private final class Log: Sendable {
    private let state = Mutex<(lines: [String], answers: [Delivery], works: Bool)>(([], [], true))

    var lines: [String] { state.withLock { $0.lines } }
    var works: Bool {
      get { state.withLock { $0.works } }
      set { state.withLock { $0.works = newValue } }
    }

    func add(_ line: String) { state.withLock { $0.lines.append(line) } }
    func answer(_ answers: Delivery...) { state.withLock { $0.answers = answers } }
    func next() -> Delivery { state.withLock { $0.answers.isEmpty ? .done : $0.answers.removeFirst() } }

    func queue() -> NotificationQueue {
      NotificationQueue(
        "hook",
        deliver: { [self] in
          add("send \($0.id)")
          return next()
        },
        start: { [self] body in
          if works { body() }
          return works
        }, pause: { [self] in add("pause \($0)") }, tell: { [self] in add("tell \($0.prefix(40))") })
    }
  }

  private func notification(_ id: String) -> Gate.Notification { Gate.Notification(id: id, body: []) }

  @Test func whatFailsIsTriedAgainWithLongerPauses() {
    let log = Log()
    log.answer(.failed("no"), .failed("no"), .done)
    log.queue().add(nowMs: 0) { _ in notification("a") }
    #expect(log.lines == ["send a", "pause 1000", "send a", "pause 5000", "send a"])
  }

  @Test func whatIsRefusedIsNotTriedAgainAndWhatFailsForLongIsGivenUp() {
    let log = Log()
    log.answer(.refused("401"))
    log.queue().add(nowMs: 0) { _ in notification("a") }
    #expect(log.lines == ["send a", "tell hook: a notification was not taken: 401"])
    let other = Log()
    other.answer(.failed("x"), .failed("x"), .failed("x"), .failed("x"), .failed("x"))
    other.queue().add(nowMs: 0) { _ in notification("b") }
    #expect(other.lines.count { $0 == "send b" } == NotificationQueue.pausesMs.count + 1)
    #expect(other.lines.last?.hasPrefix("tell hook: a notification was given up") == true)
  }

  @Test func anHourHasALimitAndTheNextNotificationSaysHowManyWereLeftOut() {
    let log = Log()
    let queue = log.queue()
    for index in 0..<(NotificationQueue.perHourMax + 5) { queue.add(nowMs: UInt64(index)) { _ in notification("x") } }
    #expect(log.lines.count { $0 == "send x" } == NotificationQueue.perHourMax)
    // One word to the operator, however many there are.
    #expect(log.lines.count { $0.hasPrefix("tell") } == 1)
    queue.add(nowMs: NotificationQueue.hourMs) { leftOut in
      #expect(leftOut == 5)
      return notification("later")
    }
    #expect(log.lines.last == "send later")
  }

  @Test func withoutAThreadItWaitsForTheNextAndNoMoreThanSoMany() {
    let log = Log()
    log.works = false
    let queue = log.queue()
    for _ in 0..<(NotificationQueue.waitingMax + 1) { queue.add(nowMs: 0) { _ in notification("x") } }
    #expect(!log.lines.contains("send x"))
    log.works = true
    queue.add(nowMs: NotificationQueue.hourMs) { _ in notification("y") }
    // There was no room for it, and all that waited goes out.
    #expect(log.lines.count { $0 == "send x" } == NotificationQueue.waitingMax && !log.lines.contains("send y"))
    queue.add(nowMs: NotificationQueue.hourMs) { _ in notification("z") }
    #expect(log.lines.last == "send z")
  }

  @Test func aSignatureCoversTimeAndBody() {
    let body = Gate.Notification(id: "a", body: Array(#"{"v":1}"#.utf8))
    let fields = Webhook.fields(body, secret: Array("key".utf8), unixSeconds: 1_700_000_000)
    #expect(fields.map(\.name) == ["X-Sluice-Timestamp", "X-Sluice-Delivery", "X-Sluice-Signature"])
    // printf '1700000000.{"v":1}' | openssl dgst -sha256 -hmac key
    #expect(fields[2].value == "v1=afc180db7100385a559c0f5c5e3d6a432cd1ec1049002cc3920aac6cc071a1ec")
    #expect(Webhook.fields(body, secret: nil, unixSeconds: 0).count == 2)
    #expect(Webhook.trimmed(Array("s e\r\n".utf8)) == Array("s e".utf8))
  }
}

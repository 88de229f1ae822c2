// The loop with real sockets on loopback: edges arrive, stale events fall out, bytes go through pipe and buffer.

import Foundation
import Testing

@testable import Kernel

private final class Recorder: Source {
  var events: [(Readiness, UInt8)] = []
  var deadlines = 0
  var resumes = 0
  var onEvent: (() -> Void)?

  func ready(_ readiness: Readiness, tag: UInt8) {
    events.append((readiness, tag))
    onEvent?()
  }
  func deadlinePassed() {
    deadlines += 1
    onEvent?()
  }
  func resume() {
    resumes += 1
    onEvent?()
  }
}

private final class Turns: LoopDelegate {
  let loop: Loop
  var mails = 0
  var turns = 0
  var stopsWhen: (() -> Bool) = { true }

  init(_ loop: Loop) { self.loop = loop }
  func mailArrived() { mails += 1 }
  func turnBegan() {}

  func turnEnded() {
    turns += 1
    if stopsWhen() || turns > 10_000 { loop.stop() }
  }
}

struct Pair: ~Copyable {
  let client: Descriptor
  let server: Descriptor

  init() throws {
    let listener = try Socket.listen(on: SocketAddress(.v4(0x7f00_0001), port: 0), reusePort: false, backlog: 4)
    guard let address = Socket.localAddress(listener.raw) else { throw SystemError("getsockname", code: EBADF) }
    let connecting = try Socket.connect(to: address)
    server = try Self.accept(listener)
    client = connecting
  }

  private static func accept(_ listener: borrowing Descriptor) throws -> Descriptor {
    for _ in 0..<1_000_000 {
      if case .connection(let descriptor, _) = Socket.accept(listener.raw) { return descriptor }
    }
    throw SystemError("accept4", code: EAGAIN)
  }
}

@Suite struct LoopTests {
  @Test func aDeadlineIsNotThatOfTheNextHolderOfItsPlace() throws {
    let loop = try Loop()
    let (one, other, next) = (Recorder(), Recorder(), Recorder())
    let slots = [loop.register(one), loop.register(other)]
    for slot in slots { loop.setDeadline(slot, atMs: loop.nowMs) }
    // Whichever comes first takes the other's place away.
    one.onEvent = {
      loop.release(slots[1])
      _ = loop.register(next)
    }
    other.onEvent = {
      loop.release(slots[0])
      _ = loop.register(next)
    }
    let turns = Turns(loop)
    turns.stopsWhen = { one.deadlines + other.deadlines > 0 }
    loop.run(turns)
    #expect(one.deadlines + other.deadlines == 1)
    #expect(next.deadlines == 0)
  }

  @Test func whatALoopWaitsIsToldFromWhatItWorks() throws {
    let loop = try Loop()
    let recorder = Recorder()
    let slot = loop.register(recorder)
    loop.setDeadline(slot, atMs: loop.nowMs + 60)
    // The work of its first deadline; the second one ends it.
    recorder.onEvent = {
      guard recorder.deadlines == 1 else { return }
      Clock.pause(ms: 80)
      loop.setDeadline(slot, atMs: loop.nowMs + 40)
    }
    let turns = Turns(loop)
    turns.stopsWhen = { recorder.deadlines == 2 }
    loop.run(turns)
    let lifeNs = loop.nowNs - loop.startedNs
    #expect(loop.idleNs >= 50_000_000 && lifeNs - loop.idleNs >= 80_000_000, "\(loop.idleNs) of \(lifeNs)")
    #expect(loop.turns == turns.turns - 1)
  }

  @Test func anEdgeReachesItsSourceWithItsTag() throws {
    let loop = try Loop()
    let pair = try Pair()
    let recorder = Recorder()
    let slot = loop.register(recorder)
    try loop.watchEdges(pair.server.raw, slot, tag: 7)
    #expect(Socket.send(pair.client.raw, [1, 2, 3].span) == .bytes(3))
    let turns = Turns(loop)
    turns.stopsWhen = { recorder.events.contains { $0.0.isReadable } }
    loop.run(turns)
    #expect(recorder.events.allSatisfy { $0.1 == 7 })
    #expect(recorder.events.contains { $0.0.isWritable })
  }

  @Test func aRefusalOfTheKernelSaysWhichErrno() throws {
    let loop = try Loop()
    let slot = loop.register(Recorder())
    // A plain file cannot be watched, and a descriptor that is closed is none.
    let file = open("/etc/passwd", O_RDONLY)
    defer { close(file) }
    for (fd, code) in [(file, EPERM), (-1, EBADF)] {
      #expect(throws: SystemError("epoll_ctl", code: code)) { try loop.watchEdges(fd, slot, tag: 0) }
      #expect(throws: SystemError("epoll_ctl", code: code)) { try loop.watchReadingEdges(fd, slot, tag: 0) }
      #expect(throws: SystemError("epoll_ctl", code: code)) { try loop.watchShared(fd, slot, tag: 0, edges: true) }
      #expect(throws: SystemError("epoll_ctl", code: code)) {
        try loop.watchLevels(fd, slot, tag: 0, readable: true, writable: false, isNew: true)
      }
      #expect(throws: SystemError("epoll_ctl", code: code)) { _ = try loop.register(Recorder(), watching: fd) }
    }
    #expect(loop.sources.count == 1, "a source that could not be watched has no place")
    let pair = try Pair()
    #expect(throws: SystemError("epoll_ctl", code: ENOENT)) {
      try loop.watchWritingEdgesToo(pair.server.raw, slot, tag: 0)
    }
  }

  @Test func anAcceptErrorThatNobodyKnowsRestsAndDoesNotSpin() throws {
    let loop = try Loop()
    for code in [EBADF, EINVAL, ENOTSOCK, EMFILE, ENOMEM, 9999] {
      guard case .exhausted(let error) = Socket.refusedAccept(code) else {
        Issue.record("errno \(code) does not rest")
        continue
      }
      #expect(error == SystemError("accept4", code: code))
    }
    // Errors of one connection: also a storm of them leaves the loop to others.
    for code in [ECONNABORTED, EPERM, EPROTO, ENETDOWN, EHOSTUNREACH] {
      let slot = loop.register(Recorder())
      var calls = 0
      var said: [SystemError] = []
      loop.acceptAll(
        at: slot,
        {
          calls += 1
          return Socket.refusedAccept(code)
        }, rests: { said.append($0) }, { _, _ in })
      #expect(calls == Loop.acceptsMax)
      #expect(said == [SystemError("accept4", code: code)], "errno \(code)")
      loop.release(slot)
    }
  }

  @Test func aReleasedSlotHearsNothing() throws {
    let loop = try Loop()
    let pair = try Pair()
    let old = Recorder()
    let slot = loop.register(old)
    try loop.watchEdges(pair.server.raw, slot, tag: 0)
    loop.release(slot)
    let new = Recorder()
    let next = loop.register(new)
    #expect(next.index == slot.index && next != slot, "the place is used again, under another generation")
    #expect(Socket.send(pair.client.raw, [1].span) == .bytes(1))
    let turns = Turns(loop)
    loop.setDeadline(next, atMs: loop.nowMs + 30)
    turns.stopsWhen = { new.deadlines > 0 }
    loop.run(turns)
    #expect(old.events.isEmpty && new.events.isEmpty)
    #expect(loop.source(at: slot) == nil && loop.source(at: next) != nil)
  }

  @Test func writingEdgesComeWhenTheyAreAskedFor() throws {
    let loop = try Loop()
    let pair = try Pair()
    let source = Recorder()
    let slot = loop.register(source)
    try loop.watchReadingEdges(pair.server.raw, slot, tag: 7)
    let turns = Turns(loop)
    loop.setDeadline(slot, atMs: loop.nowMs + 30)
    turns.stopsWhen = { source.deadlines > 0 }
    loop.run(turns)
    #expect(source.events.isEmpty, "it may be written to, and nobody asked")
    try loop.watchWritingEdgesToo(pair.server.raw, slot, tag: 7)
    turns.stopsWhen = { !source.events.isEmpty }
    loop.run(turns)
    #expect(source.events.map(\.1) == [7])
    #expect(source.events.allSatisfy { $0.0.isWritable && !$0.0.isReadable })
  }

  @Test func mailAndAgainWakeTheLoop() throws {
    let loop = try Loop()
    let mailbox = try Mailbox<Int>()
    try loop.watchMailbox(mailbox.fd)
    let recorder = Recorder()
    let slot = loop.register(recorder)
    loop.again(slot)
    loop.again(slot)
    mailbox.post(1)
    mailbox.post(2)
    let turns = Turns(loop)
    turns.stopsWhen = { turns.mails > 0 && recorder.resumes > 0 }
    loop.run(turns)
    #expect(recorder.resumes == 1, "asked twice, resumed once")
    #expect(mailbox.drain() == [1, 2])
    #expect(mailbox.drain().isEmpty)
  }

  @Test func bytesGoThroughAPipeWhole() throws {
    let from = try Pair()
    let to = try Pair()
    let pool = PipePool()
    let pipe = try #require(pool.borrow())
    let sent = [UInt8]((0..<50_000).map { UInt8(truncatingIfNeeded: $0 &* 31) })
    #expect(Socket.send(from.client.raw, sent.span) == .bytes(50_000))
    var received: [UInt8] = []
    let scratch = Scratch()
    for _ in 0..<1_000_000 where received.count < sent.count {
      if pipe.filled == 0 { _ = pipe.fill(from: from.server.raw, upTo: pool.pipeBytes) }
      if pipe.filled > 0 { _ = pipe.drain(to: to.client.raw, more: false) }
      if case .bytes(let count) = scratch.receive(from: to.server.raw, upTo: Scratch.byteCount) {
        received += scratch.bytes(0..<count)
      }
    }
    #expect(received == sent)
    pool.giveBack(pipe)
    #expect(pool.borrow() === pipe, "an empty pipe is lent again")
  }

  @Test func theEndAndTheResetOfAPeerAreTold() throws {
    let pair = try Pair()
    let scratch = Scratch()
    #expect(Socket.shutdownWrite(pair.client.raw))
    var got = Transfer.wouldBlock
    for _ in 0..<1_000_000 where got == .wouldBlock { got = scratch.receive(from: pair.server.raw, upTo: 10) }
    #expect(got == .end)
    #expect(Socket.pendingError(pair.server.raw) == 0)
    #expect(Socket.peerAddress(pair.server.raw) == Socket.localAddress(pair.client.raw))
  }

  @Test func aPortInUseIsAnErrorWithItsStage() throws {
    let listener = try Socket.listen(on: SocketAddress(.v4(0x7f00_0001), port: 0), reusePort: false, backlog: 4)
    let address = try #require(Socket.localAddress(listener.raw))
    #expect(throws: SystemError.self) {
      _ = try Socket.listen(on: address, reusePort: false, backlog: 4).raw
    }
    do throws(SystemError) {
      _ = try Socket.listen(on: address, reusePort: false, backlog: 4).raw
    } catch {
      #expect(error.stage == "bind" && error.description.contains("in use"))
    }
  }
}

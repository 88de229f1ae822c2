// What passes between the sandbox's first process and its parent: the last word is heard, whatever was still unread.
import CSandbox
import Glibc
import Kernel
import Testing

@Suite struct MessageTests {
  @Test func theLastWordOfAnEndThatLeftMessagesUnreadIsHeard() throws {
    var ends: [CInt] = [-1, -1]
    // SAFETY: an array of two for the time of the call.
    try #require(unsafe socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0, &ends) == 0)
    let outside = Descriptor(owning: ends[0])
    #expect(csandbox_send(outside.raw, CSANDBOX_PROBE_NOW.rawValue, 0) == 0)
    #expect(csandbox_send(ends[1], CSANDBOX_FAILED.rawValue, ELOOP) == 0)
    close(ends[1])
    var message = csandbox_message()
    var fds = [CInt](repeating: -1, count: Int(CSANDBOX_FDS_MAX))
    var count: CInt = 0
    // SAFETY: locals for the time of the call, with room for what it writes.
    let first = unsafe csandbox_receive(outside.raw, &message, &fds, &count, 1000)
    #expect(first == 1 && message.kind == CSANDBOX_FAILED.rawValue && message.code == ELOOP)
    // SAFETY: as above.
    let second = unsafe csandbox_receive(outside.raw, &message, &fds, &count, 1000)
    #expect(second == -EPIPE)
  }
}

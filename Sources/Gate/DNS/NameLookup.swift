// One look-up under way: its name, what is known of it so far, and all who wait for it.
// It relies on the Resolver, which alone changes it; an asker holds it to say that it waits no more.
import Flow
import Kernel
import Policy
import Wire

/// The goal of a lookup: the addresses of a name, or its records of one type.
enum LookupSubject: Hashable {
  case addresses(HostName)
  case records(HostName, DNSType)

  var name: HostName {
    switch self {
    case .addresses(let name), .records(let name, _): name
    }
  }
}

final class NameLookup {
  /// The token tells an asker's questions apart.
  struct Asker: Hashable {
    let slot: Slot
    let token: UInt64
  }

  let subject: LookupSubject
  /// In whose share it is: the first who asked.
  let owner: ShareOwner
  var askers: Set<Asker>
  var v4: NameAnswer?
  var v6: NameAnswer?
  /// nil once it is over.
  var channel: AresChannel?

  init(_ subject: LookupSubject, for asker: Asker, owner: ShareOwner, channel: AresChannel) {
    self.subject = subject
    self.owner = owner
    self.channel = channel
    askers = [asker]
  }

  /// The questions that have no answer yet.
  var unanswered: [DNSType] {
    switch subject {
    case .addresses: (v6 == nil ? [.aaaa] : []) + (v4 == nil ? [.a] : [])
    case .records(_, let type): [type]
    }
  }
}

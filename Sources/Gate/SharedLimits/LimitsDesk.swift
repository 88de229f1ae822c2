// Shared limits as the main thread has them: made with the first policy, told of later ones, ended with the gate.
// It relies on LimitsKeeper's thread for all the work.
import Intercept
import Kernel
import Policy

struct LimitsProblem: Error, CustomStringConvertible {
  let description: String
}

final class LimitsDesk: Sendable {
  private static let endMsMax: UInt64 = 600

  let settings: Settings.SharedLimits
  private let tls: OutgoingTLSBox
  private let mail: Mailbox<LimitsMessage>
  private let board = LimitsBoard()

  /// nil where each gate counts for itself.
  init?(_ policy: Policy) throws(LimitsProblem) {
    guard let settings = policy.settings.shared, policy.leaseBell != nil else { return nil }
    self.settings = settings
    do throws(TLSProblem) {
      var value: OutgoingTLS?
      if settings.place.servers.contains(where: \.isTLS) { value = try OutgoingTLS(ca: settings.ca) }
      tls = OutgoingTLSBox(value: value)
    } catch {
      throw LimitsProblem(description: "\(error)")
    }
    do throws(SystemError) { mail = try Mailbox() } catch {
      throw LimitsProblem(description: "\(error)")
    }
  }

  func start(_ around: LimitsSurroundings, _ policy: Policy, _ hosts: HostsTable) throws(SystemError) {
    let (settings, tls, mail, board) = (settings, tls, mail, board)
    policy.leaseBell?.answer { mail.post(.called) }
    try Threads.start(name: "limits") {
      do throws(SystemError) {
        let keeper = try LimitsKeeper(
          settings, tls: tls, mail: mail, board: board, around, policy: policy, hosts: hosts)
        keeper.run()
      } catch {
        Messages.warn("the thread of shared limits cannot start: \(error)")
        Machine.exit(status: 2)
      }
    }
  }

  func replace(_ policy: Policy, _ hosts: HostsTable) { mail.post(.policy(policy, hosts)) }
  func replace(_ hosts: HostsTable) { mail.post(.hosts(hosts)) }

  var status: LimitsStatus { board.status }

  /// When no loop takes anything any more.
  func leave() {
    mail.post(.leave)
    let dueMs = Clock.monotonicMs() + Self.endMsMax
    Clock.wait(until: dueMs) { status.hasEnded }
  }
}

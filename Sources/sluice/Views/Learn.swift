// `sluice learn`: the smallest policy that lets out what a log shows, with what is doubtful in it marked.
// It relies on LogView for all but the options; nothing but the log, and a policy to compare with, is read.
import ArgumentParser
import Gate
import Kernel
import LogView
import Policy

struct Learn: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "learn",
    abstract: "Propose a policy from a log.",
    discussion: """
      Reads what was allowed, what was refused, and what `mode: report` let through.
      Prints a policy with a rule and a rate for each target, and comments with what
      was seen. Targets that look like others, raw addresses, resolvers over HTTPS,
      tunnelling services, port scans and names that may carry data are commented
      out, with a WARNING.

      Exit status: 0 a rule is proposed, 1 none is, 2 an error.

        sluice learn --log run.jsonl > agent.yaml
        sluice learn --diff agent.yaml
        sluice learn --apply agent.yaml
      """)

  @OptionGroup var choice: LogChoice
  @Option(
    help: ArgumentHelp("Only what this policy does not allow yet.", valueName: "policy"), completion: .policy)
  var diff: String?
  @Option(
    help: ArgumentHelp(
      "As --diff, and write the changes into this policy: adds entries, raises reached limits, keeps comments.",
      valueName: "policy"), completion: .policy)
  var apply: String?
  @Option(help: ArgumentHelp("Only traffic of this client. May repeat.", valueName: "name")) var client: [String] = []
  @Option(
    help: ArgumentHelp("Only lines since this time: 90s, 30m, 1h, 2d ago, or an RFC 3339 time.", valueName: "time"))
  var since: String?
  @Flag(help: "One wildcard for three or more names below one parent.") var wildcards = false
  @Flag(name: .customLong("with-warned"), help: "Do not comment out rules with a WARNING.")
  var withWarned = false
  @Option(
    help: ArgumentHelp(
      "A rate is this many times the busiest minute, and its burst as many times the densest second: 2 to 100.",
      valueName: "times"))
  var headroom = 5

  func run() throws {
    guard (2...100).contains(headroom) else { try fail("--headroom takes a number from 2 to 100") }
    var options = ProposalOptions()
    options.usesWildcards = wildcards
    options.includesSuspect = withWarned
    options.headroom = headroom
    if diff != nil && apply != nil { try fail("--diff shows what --apply writes; give one of them") }
    if let path = diff ?? apply {
      guard let base = PolicyOnDisk.load(path) else { throw ExitCode(2) }
      options.base = base
    }
    var filter = LogFilter()
    filter.clients = Set(client)
    if let since { filter.sinceMs = try LogCommand.sinceMs(since) }
    let traffic = try read(filter, try choice.open(try choice.paths(options.base)))
    let proposal = Proposal(traffic, options, nowUnix: Clock.wallMs() / 1000)
    var text = Array(proposal.text.utf8)
    do { try StandardOutput.write(&text) } catch { try fail("\(error)") }
    if proposal.suspectCount > 0 {
      Messages.warn("\(proposal.suspectCount) of \(proposal.rules.count) rules carry a WARNING: look at each of them")
    }
    if traffic.clients.count > 1, client.isEmpty {
      Messages.say("\(traffic.clients.count) clients are taken together; --client NAME learns from one")
    }
    if let apply { return try PolicyUpdate(path: apply).write(proposal) }
    if proposal.rules.isEmpty && proposal.raises.isEmpty { throw ExitCode(1) }
  }

  private func read(_ filter: LogFilter, _ opened: consuming LogFiles) throws -> Traffic {
    var tail = opened
    var traffic = Traffic()
    var line = LogLine()
    var broken = BrokenLines()
    do {
      while try tail.read({ bytes in
        if !line.read(bytes) {
          broken.count += 1
        } else if filter.matches(line) {
          traffic.add(line)
        }
        return true
      }) {}
    } catch { try fail("\(error)") }
    tail.finish()
    broken.say(tail)
    return traffic
  }
}

// Errors that a Redis answers with, in words that say what to do. Pure.
// It relies on the codes that Redis puts first in an error; an older one puts them behind the name of the script.
import Policy

/// Why the store of shared limits is out of reach.
struct StoreProblem: Equatable {
  let text: String
  /// Somebody has to change something: to ask again and again at once would be of no use.
  var isLasting = false
}

enum RedisRefusal {
  private static let textMax = 120

  /// `text`: as the server wrote it. Of an answer to AUTH nothing is quoted: it may hold the password. `place`: where
  /// the server was asked where others are.
  static func problem(
    _ text: String, maySay: Bool = true, place: Settings.SharedLimits.Place? = nil
  ) -> StoreProblem {
    if case .sentinels? = place, text.hasPrefix("ERR unknown command") {
      return StoreProblem(text: "it is no sentinel: name the sentinels by their own port, often 26379", isLasting: true)
    }
    for refusal in known where refusal.isMeant(text) {
      return StoreProblem(text: refusal.advice, isLasting: refusal.isLasting)
    }
    let said = maySay ? "\(text.prefix(textMax))" : "\(text.prefix { $0 != " " })"
    return StoreProblem(text: maySay ? "it answered: \(said)" : "it refuses the user or the password: \(said)")
  }

  private struct Refusal {
    /// A code at the beginning, or a part of the sentence behind ERR.
    let sign: String
    let advice: String
    var isLasting = true

    func isMeant(_ text: String) -> Bool {
      if sign.contains(" ") { return text.hasPrefix("ERR") && text.contains(sign) }
      return text == sign || text.hasPrefix("\(sign) ") || (text.hasPrefix("ERR") && text.contains("-\(sign) "))
    }
  }

  private static let rights =
    "its ACL does not let this user do what a gate does: docs/at-scale.md has the rights"

  private static let known = [
    Refusal(sign: "NOAUTH", advice: "it wants a password: write `password_file`, and `user` for an ACL user"),
    Refusal(
      sign: "WRONGPASS", advice: "it refuses the user or the password: correct `user` or the file of `password_file`"),
    Refusal(
      sign: "without any password configured",
      advice: "it has no password set: remove `password_file`, or set requirepass or an ACL user there"),
    Refusal(sign: "NOPERM", advice: rights),
    Refusal(sign: "ACL failure in script", advice: rights),
    Refusal(sign: "can't run this command", advice: rights),
    Refusal(
      sign: "READONLY", advice: "it is a replica, which takes no writes: name the master in `redis`, or its sentinels",
      isLasting: false),
    Refusal(
      sign: "MASTERDOWN", advice: "it is a replica without its master: name the master in `redis`, or its sentinels",
      isLasting: false),
    Refusal(sign: "LOADING", advice: "it is loading its data, and answers when that is done", isLasting: false),
    Refusal(
      sign: "BUSY", advice: "a script of somebody else runs there for too long: SCRIPT KILL ends it", isLasting: false),
    Refusal(
      sign: "CLUSTERDOWN",
      advice: "the cluster does not serve all slots: see `redis-cli --cluster check`", isLasting: false),
    Refusal(
      sign: "MOVED", advice: "it is a node of a cluster: write redis: {cluster: [redis://…]}"),
    Refusal(
      sign: "cluster support disabled", advice: "it is no node of a cluster: write redis: redis://HOST:PORT"),
    Refusal(sign: "OOM", advice: "its memory is full: raise its maxmemory", isLasting: false),
    Refusal(
      sign: "MISCONF", advice: "it takes no writes, since it cannot save to its disk: free the disk, or set save \"\"",
      isLasting: false),
    Refusal(
      sign: "NOREPLICAS", advice: "it takes no writes, having too few replicas: see its min-replicas-to-write",
      isLasting: false),
    Refusal(
      sign: "DENIED",
      advice: "it is in protected mode: set a password there and write `password_file`, or bind it to an address"),
    Refusal(
      sign: "max number of clients", advice: "it has no room for another connection: raise its maxclients",
      isLasting: false),
    Refusal(
      sign: "unknown command",
      advice: "it knows no scripts, or they are renamed: name a Redis 5 or later, not a sentinel or a proxy"),
    Refusal(sign: "after non deterministic commands", advice: "it is too old: Redis 5 or later is needed"),
  ]
}

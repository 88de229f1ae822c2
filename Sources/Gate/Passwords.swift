// Proxy passwords: verified by crypt(3) on a separate thread, since a good hash is slow by design.
// It relies on libcrypt; a loop remembers a right password as a keyed digest, never the password itself.
import CCrypt
import Kernel
import Policy
import Synchronization

package struct PasswordQuestion: Sendable {
  var user: [UInt8]
  var password: [UInt8]
  var hash: [UInt8]
  var worker: Int
  var asker: Slot
}

package struct VerifiedPassword: Sendable {
  var question: PasswordQuestion
  var isRight: Bool
  var asker: Slot { question.asker }
}

/// The hashing thread and its bounded queue.
package final class PasswordVerifier: Sendable {
  /// Limit of queued questions, against an attacker's flood of guesses. Further questions get "no" at once.
  private static let waitingMax = 256

  private let queue = Mutex(FairQueue<PasswordQuestion>())
  private let bell: Bell

  init() throws(SystemError) { bell = try Bell() }

  /// Queues a question; owners take turns, so a client that guesses delays only its own questions. False if the queue
  /// is full.
  func ask(_ question: PasswordQuestion, for owner: ShareOwner, _ sharing: Sharing) -> Bool {
    let isTaken = queue.withLock { $0.append(question, of: Self.waitingMax, for: owner, sharing) }
    if isTaken { bell.ring() }
    return isTaken
  }

  /// The main function of the hashing thread, which ends with the process.
  func run(answer: @Sendable (VerifiedPassword) -> Void) {
    while bell.wait() {
      while let question = queue.withLock({ $0.popFirst() }) {
        answer(VerifiedPassword(question: question, isRight: Self.matches(question.password, question.hash)))
      }
    }
  }

  static func matches(_ password: [UInt8], _ hash: [UInt8]) -> Bool {
    // A NUL would end the C string early, so that a shorter password would match.
    if password.contains(0) || hash.contains(0) { return false }
    var data = crypt_data()
    let phrase = password.map { CChar(bitPattern: $0) } + [0]
    let setting = hash.map { CChar(bitPattern: $0) } + [0]
    // SAFETY: both texts end with NUL and live through the call, and the result lies in `data`, which does too.
    let result = unsafe crypt_rn(phrase, setting, &data, CInt(MemoryLayout<crypt_data>.size))
    guard let result = unsafe result else { return false }
    return isEqual(unsafe [UInt8](String(cString: result).utf8), hash)
  }

  /// Compares in constant time: the duration does not reveal where two hashes differ.
  private static func isEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    guard left.count == right.count else { return false }
    var difference: UInt8 = 0
    for (one, other) in zip(left, right) { difference |= one ^ other }
    return difference == 0
  }
}

/// The verified passwords of one loop.
final class PasswordCache {
  enum Check {
    case known(Bool)
    /// The answer comes through the mailbox.
    case asked
  }

  private static let rememberedMax = 1024
  private let verifier: PasswordVerifier
  private let worker: Int
  private var remembered: [[UInt8]: Int] = [:]

  init(verifier: PasswordVerifier, worker: Int) {
    self.verifier = verifier
    self.worker = worker
  }

  func check(
    user: [UInt8], password: [UInt8], hash: [UInt8], asker: Slot, for owner: ShareOwner, _ sharing: Sharing
  ) -> Check {
    if remembered[user + hash] == digest(password) { return .known(true) }
    let question = PasswordQuestion(user: user, password: password, hash: hash, worker: worker, asker: asker)
    return verifier.ask(question, for: owner, sharing) ? .asked : .known(false)
  }

  func remember(_ verified: VerifiedPassword) {
    guard verified.isRight else { return }
    if remembered.count >= Self.rememberedMax { remembered.removeAll() }
    remembered[verified.question.user + verified.question.hash] = digest(verified.question.password)
  }

  /// SipHash under a random key of this process.
  private func digest(_ password: [UInt8]) -> Int { password.hashValue }
}

// Any answer in any pieces: no length changes, no split changes what comes out, and no secret of the set is left.

import Content
import FuzzDriver
import Intercept

private let secrets = ["aabaabaab", "sk-live/Zk3+Qq\"9&<aB\\xY12", "0123456789abcdef"].map { text in
  var bytes = Array(text.utf8)
  return (Array(text.utf8), CredentialValue(secret: Secret(taking: &bytes)))
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  var bytes = Array(UnsafeBufferPointer(start: data, count: size))
  guard let choice = bytes.first else { return 0 }
  bytes.removeFirst()
  let (secret, value) = secrets[Int(choice) % secrets.count]
  // The fuzzer cannot guess a secret: a byte stands for the whole of it.
  let text = bytes.flatMap { $0 == 0xff ? secret : [$0] }
  var whole = text
  var scrubber = EchoSearch(value)
  scrubber.scrub(&whole, isLast: true)
  precondition(whole.count == text.count, "a length changed")
  precondition(zip(whole, text).allSatisfy { $0 == $1 || $0 == UInt8(ascii: "*") }, "a byte became another one")
  precondition(!contains(whole, secret), "the secret is left")
  var (pieces, start, step): ([UInt8], Int, Int) = ([], 0, Int(choice) / 8 + 1)
  var again = EchoSearch(value)
  repeat {
    let end = min(start + step, text.count)
    var piece = Array(text[start..<end])
    again.scrub(&piece, isLast: end == text.count)
    pieces += piece
    start = end
    step = step * 5 % 17 + 1
  } while start < text.count
  precondition(pieces == whole, "a split changes the result")
  return 0
}

private func contains(_ text: [UInt8], _ part: [UInt8]) -> Bool {
  guard text.count >= part.count else { return false }
  return (0...(text.count - part.count)).contains { text[$0..<($0 + part.count)].elementsEqual(part) }
}

@_cdecl("FuzzEchoScrubber_main")
public func main(_ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> CInt {
  runFuzzer(count, arguments)
}

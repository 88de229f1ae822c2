// Any bytes as a line of the log: what is read shows as printable ASCII, and no value is longer than the line.

import FuzzDriver
import LogView
import Wire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = Array(UnsafeBufferPointer(start: data, count: size))
  var line = LogLine()
  guard line.read(bytes.span) else { return 0 }
  var shown: [UInt8] = []
  LineText(isColoured: false).append(line, to: &shown)
  precondition(shown.last == 0x0a && shown.dropLast().allSatisfy { (0x20..<0x7f).contains($0) }, "not printable")
  for field in LogField.allCases {
    precondition((line.bytes(field)?.count ?? 0) <= bytes.count, "longer than the line")
  }
  var json: [UInt8] = []
  TerminalText.appendJSON(bytes.span, to: &json)
  precondition(json.allSatisfy { (0x20..<0x7f).contains($0) }, "not printable")
  var again = LogLine()
  precondition(again.read(json.span), "not read again")
  for field in LogField.allCases { precondition(again.text(field) == line.text(field), "another text") }
  var tally = Tally()
  tally.add(line)
  let screen = TopScreen(tally, TopState(), nowMs: tally.lastMs)
  precondition(screen.text(source: "").utf8.allSatisfy { $0 == 0x0a || (0x20..<0x7f).contains($0) }, "not printable")
  var figures = Figures()
  figures.add(line)
  for span in TimeSpan.allCases {
    let snapshot = Snapshot(figures, client: nil, span: span, nowMs: figures.lastMs)
    precondition(
      JSONValue.object(snapshot.members).line.dropLast().allSatisfy { (0x20..<0x7f).contains($0) }, "not printable")
  }
  var traffic = Traffic()
  traffic.add(line)
  let proposal = Proposal(traffic, ProposalOptions(), nowUnix: 0)
  precondition(proposal.text.utf8.allSatisfy { $0 == 0x0a || (0x20..<0x7f).contains($0) }, "not printable")
  return 0
}

@_cdecl("FuzzLogLine_main")
public func main(_ count: CInt, _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> CInt {
  runFuzzer(count, arguments)
}

// `sluice metrics`: what a running gate counts and measures, as Prometheus reads it.
// It relies on the gate for the text; docs/metrics.md says what each figure means.
import ArgumentParser
import Gate
import Kernel
import LogView
import Wire

struct MetricsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "metrics",
    abstract: "Print the metrics of a running gate, in the text format of Prometheus.",
    discussion: """
      The metrics that `listen: {metrics: ADDRESS:PORT}` serves at /metrics, and that
      the admin socket serves over HTTP.
      Exit status: 0, or 2 when the gate could not be asked.
      """)

  @OptionGroup var options: AdminOptions

  func run() throws {
    let answer = try options.demand(.command("metrics"))
    guard !options.json else { return }
    let text = Array((answer["metrics"]?.asText ?? "").utf8)
    // A file's name may hold anything, and stands in a label.
    let lines = text.split(separator: UInt8(ascii: "\n")).map { TerminalText.safe($0) + "\n" }
    let shown = StandardOutput.isTerminal ? Array(lines.joined().utf8) : text
    do throws(SystemError) { try StandardPipes.write(shown) } catch {
      Messages.say("\(error)")
      throw ExitCode(2)
    }
  }
}

// Which version this is: `sluice --version`, and what a running gate says of itself.

package enum Version {
  package static let text = "0.1.0"
}

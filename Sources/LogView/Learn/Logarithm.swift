// The one function of a mathematics library that these views need.
// It relies on Glibc, which has it.
import Glibc

enum Logarithm {
  static func base2(_ value: Double) -> Double { log2(value) }
}

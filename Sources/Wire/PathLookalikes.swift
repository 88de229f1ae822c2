// Characters that some servers turn into a dot, a slash or a backslash after a path has been judged.
// Relies on two published tables; a test derives the first one anew and compares.

enum PathLookalikes {
  static let all = Set(compatibility.joined() + bestFit)

  /// Characters whose NFKC form holds `.`, `/` or `\` (UnicodeData.txt, Unicode 15): Python, Go and Java services
  /// normalise names so. Digits with a full stop (U+2488), `a/c` (U+2100) and the ellipsis are among them.
  private static let compatibility: [ClosedRange<UInt32>] = [
    0x2024...0x2026, 0x2100...0x2101, 0x2105...0x2106, 0x2488...0x249b, 0x33c2...0x33c2, 0x33c7...0x33c7,
    0x33d8...0x33d8, 0xfe19...0xfe19, 0xfe30...0xfe30, 0xfe52...0xfe52, 0xfe68...0xfe68, 0xff0e...0xff0f,
    0xff3c...0xff3c, 0x1f100...0x1f100,
  ]

  /// Characters that WideCharToMultiByte maps to `.`, `/` or `\` on some code page (Unicode's
  /// MAPPINGS/VENDORS/MICSFT/WindowsBestFit, all fifteen files): yen sign, acute accent (1253), fraction slash, won
  /// sign, division slash, set minus; the fullwidth forms stand above.
  private static let bestFit: [UInt32] = [0xa5, 0xb4, 0x2044, 0x20a9, 0x2215, 0x2216]
}

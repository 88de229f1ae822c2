// Marks of the YAML reader as places that a policy, its log and its messages name.
// It relies on Findings for the files: one policy may be read from several.
import Policy
import YAML

extension Findings {
  func line(_ mark: Mark) -> SourceLine { SourceLine(file: files[mark.file], line: mark.line, column: mark.column) }

  func mark(_ line: SourceLine) -> Mark {
    Mark(line: line.line, column: line.column, file: files.firstIndex(of: line.file) ?? 0)
  }

  /// As `place` of a mark.
  func place(_ line: SourceLine, from mark: Mark) -> String { place(self.mark(line), from: mark) }
}

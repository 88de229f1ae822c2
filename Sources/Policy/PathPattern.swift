// A glob of a rule's `paths`, compared with every reading of a path.
// It relies on Wire.RequestPath for the readings: a pattern is a path too, so `%7e` and `~` are equal in it.
package import Wire

/// `*` matches any part of one segment, and alone a whole segment that is not empty. A segment `**` matches any
/// number of segments, also none. Every other character matches itself with its case: `%2F` in a pattern is `%2F` in
/// a path.
package struct PathPattern: Hashable, Sendable, CustomStringConvertible {
  private enum Segment: Hashable {
    case any
    case glob([UInt8])
  }

  package enum Problem: Error, Hashable, CustomStringConvertible {
    case query, deepWildcard, path(PathProblem)

    package var description: String {
      switch self {
      case .query: "a path pattern has no query; leave out what begins with ?"
      case .deepWildcard: "** is a whole segment, as in /repos/**; within a segment write *"
      case .path(let problem): "\(problem); write a path such as /repos/acme/**"
      }
    }
  }

  package let description: String
  /// The segments per reading of the pattern. The first reading takes every byte literally.
  private let readings: [[Segment]]

  package init(_ text: String) throws(Problem) {
    let bytes = Array(text.utf8)
    if bytes.contains(UInt8(ascii: "?")) { throw .query }
    do throws(PathProblem) {
      let path = try RequestPath(target: bytes.span)
      description = String(decoding: path.readings[0], as: UTF8.self)
      readings = path.readings.map(Self.segments)
    } catch {
      throw .path(error)
    }
    for case .glob(let bytes) in readings.joined() {
      for (one, next) in zip(bytes, bytes.dropFirst()) where one == Self.star && next == Self.star {
        throw .deepWildcard
      }
    }
  }

  /// True if every reading of the path is allowed. The path `/@scope%2Fx` has the spelling of the pattern
  /// `/@scope%2Fx`, so its other readings may match those of the pattern; the plain path `/@scope/x` may not.
  package static func allow(_ path: RequestPath, _ patterns: [PathPattern]) -> Bool {
    let names = path.readings.map(Self.names)
    guard patterns.contains(where: { $0.matches(names[0]) }) else { return false }
    return names.dropFirst().allSatisfy { reading in
      patterns.contains { pattern in
        if pattern.matches(reading) { return true }
        guard pattern.readings.count > 1, pattern.matches(names[0]) else { return false }
        return pattern.readings.dropFirst().contains { Self.matches(reading, $0) }
      }
    }
  }

  package func matches(_ path: RequestPath) -> Bool { Self.allow(path, [self]) }

  private static var star: UInt8 { UInt8(ascii: "*") }

  private static func names(_ path: [UInt8]) -> [ArraySlice<UInt8>] {
    path.dropFirst().split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
  }

  private static func segments(_ path: [UInt8]) -> [Segment] {
    names(path).map { $0.elementsEqual([star, star]) ? .any : .glob(Array($0)) }
  }

  private func matches(_ names: [ArraySlice<UInt8>]) -> Bool { Self.matches(names, readings[0]) }

  private static func matches(_ names: [ArraySlice<UInt8>], _ segments: [Segment]) -> Bool {
    matches(segments.count, names.count) {
      segments[$0] == .any
    } same: { segment, name in
      guard case .glob(let glob) = segments[segment] else { return false }
      return matches(Array(names[name]), glob)
    }
  }

  private static func matches(_ name: [UInt8], _ glob: [UInt8]) -> Bool {
    if glob == [star] { return !name.isEmpty }
    return matches(glob.count, name.count) {
      glob[$0] == star
    } same: {
      glob[$0] == name[$1]
    }
  }

  /// Matches parts, some of which match any number of parts of the text. Backtracking returns only to the last such
  /// part, so the time is at most the product of both lengths.
  private static func matches(
    _ parts: Int, _ count: Int, isAny: (Int) -> Bool, same: (_ part: Int, _ place: Int) -> Bool
  ) -> Bool {
    var (part, place) = (0, 0)
    var retry: (part: Int, place: Int)?
    while place < count {
      if part < parts, isAny(part) {
        retry = (part + 1, place)
        part += 1
      } else if part < parts, same(part, place) {
        part += 1
        place += 1
      } else if let last = retry {
        retry = (last.part, last.place + 1)
        (part, place) = (last.part, last.place + 1)
      } else {
        return false
      }
    }
    return (part..<parts).allSatisfy(isAny)
  }
}

// A glob of a rule's `paths`, compared with a path in its one spelling.
// It relies on Wire.RequestPath for that spelling: a pattern is brought into it too, so `%7e` and `~` are the same.
package import Wire

/// `*` stands for any part of one segment, and alone for a whole segment that is not empty; a segment `**` stands for any
/// number of segments, also none. All else is itself, case and all.
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
  private let segments: [Segment]

  package init(_ text: String) throws(Problem) {
    let bytes = Array(text.utf8)
    if bytes.contains(UInt8(ascii: "?")) { throw .query }
    do throws(PathProblem) {
      let path = try RequestPath(target: bytes.span).bytes
      description = String(decoding: path, as: UTF8.self)
      segments = try Self.split(path)
    } catch {
      throw .path(error)
    }
    for segment in segments {
      guard case .glob(let bytes) = segment else { continue }
      for (one, next) in zip(bytes, bytes.dropFirst()) where one == Self.star && next == Self.star {
        throw .deepWildcard
      }
    }
  }

  private static var star: UInt8 { UInt8(ascii: "*") }

  private static func split(_ path: [UInt8]) throws(PathProblem) -> [Segment] {
    path.dropFirst().split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).map {
      $0.elementsEqual([star, star]) ? .any : .glob(Array($0))
    }
  }

  package func matches(_ path: RequestPath) -> Bool {
    let names = path.bytes.dropFirst().split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    return Self.matches(segments.count, names.count) {
      segments[$0] == .any
    } same: { segment, name in
      guard case .glob(let glob) = segments[segment] else { return false }
      return Self.matches(Array(names[name]), glob)
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

  /// Whether a pattern of so many parts, of which some stand for any number, covers so many parts of a text. The usual
  /// backtracking: only the last such part is ever gone back to, so the time is the product of both lengths.
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

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
    // The usual backtracking: only the last `**` is ever gone back to, so the time is the product of both lengths.
    var (segment, name) = (0, 0)
    var retry: (segment: Int, name: Int)?
    while name < names.count {
      if segment < segments.count, case .any = segments[segment] {
        retry = (segment + 1, name)
        segment += 1
      } else if segment < segments.count, case .glob(let glob) = segments[segment],
        Self.matches(names[name], glob)
      {
        segment += 1
        name += 1
      } else if let last = retry {
        retry = (last.segment, last.name + 1)
        (segment, name) = (last.segment, last.name + 1)
      } else {
        return false
      }
    }
    return segments[segment...].allSatisfy { $0 == .any }
  }

  private static func matches(_ name: ArraySlice<UInt8>, _ glob: [UInt8]) -> Bool {
    if glob == [star] { return !name.isEmpty }
    let name = Array(name)
    var (at, index) = (0, 0)
    var retry: (at: Int, index: Int)?
    while index < name.count {
      if at < glob.count, glob[at] == star {
        retry = (at + 1, index)
        at += 1
      } else if at < glob.count, glob[at] == name[index] {
        at += 1
        index += 1
      } else if let last = retry {
        retry = (last.at, last.index + 1)
        (at, index) = (last.at, last.index + 1)
      } else {
        return false
      }
    }
    return glob[at...].allSatisfy { $0 == star }
  }
}

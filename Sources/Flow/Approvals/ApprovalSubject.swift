// The subject of a refusal that a person may lift: what exactly an approval would allow.
// It relies on Wire and Policy for what a path may be; what cannot be approved exactly is not asked about.
import Policy
import Wire

extension ApprovalSubject {
  /// Nil where no approval helps, or where it could not be exactly for this request.
  init?(of finding: Finding, _ request: JudgedRequest, _ line: RequestLine) {
    switch finding.reason {
    case .notAllowed where request.kind != .inspected: self.init(request.target)
    case .methodRefused, .pathRefused:
      guard request.kind != .tunnel, line.overrides.methods.isEmpty, let asked = line.read(Self.request) else {
        return nil
      }
      self.init(request.target, request: asked)
    default: return nil
    }
  }

  /// Nil for a method that the query asks for in place of the first, for a path that servers read in several ways, and
  /// for one that a pattern could take for more than itself.
  private static func request(_ method: Span<UInt8>, _ target: Span<UInt8>) -> Request? {
    guard (1...Request.methodBytesMax).contains(method.count), MethodOverrides(query: target).methods.isEmpty else {
      return nil
    }
    do throws(PathProblem) {
      let path = try RequestPath(target: target)
      guard path.bytes.count <= Request.pathBytesMax, !path.bytes.contains(UInt8(ascii: "*")), path.readings.count == 1,
        isPattern(path)
      else { return nil }
      return Request(method: String(decoding: method.array(from: 0), as: UTF8.self), path: text(path))
    } catch {
      return nil
    }
  }

  private static func text(_ path: RequestPath) -> String { String(decoding: path.bytes, as: UTF8.self) }

  private static func isPattern(_ path: RequestPath) -> Bool {
    do throws(PathPattern.Problem) { return try PathPattern(text(path)).matches(path) } catch { return false }
  }
}

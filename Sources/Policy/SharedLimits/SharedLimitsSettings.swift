// `shared_limits` as a policy file says it: which Redis, who asks it, and what holds while it does not answer.
// It relies on the file reader for the bounds; the password is compared and never shown.
package import Wire

extension Settings {
  package struct SharedLimits: Equatable, Sendable {
    package enum OnLoss: String, CaseIterable, Sendable {
      /// Each gate has the limit divided by the number of gates that were last seen.
      case share
      case refuse
    }

    /// One Redis server, as it is dialled.
    package enum RedisServer: Hashable, Sendable, CustomStringConvertible {
      case tcp(Target)
      case tls(Target)
      case unix(path: String)

      package static let defaultPort: UInt16 = 6379
      package static let sentinelPort: UInt16 = 26379

      package var isTLS: Bool { if case .tls = self { true } else { false } }

      package var description: String {
        switch self {
        case .tcp(let target): "redis://\(target)"
        case .tls(let target): "rediss://\(target)"
        case .unix(let path): "unix:\(path)"
        }
      }

      /// Another server of the same kind.
      package func at(_ target: Target) -> RedisServer { isTLS ? .tls(target) : .tcp(target) }
    }

    package enum Place: Equatable, Sendable {
      case single(RedisServer)
      /// Sentinels say where the master of that name is.
      case sentinels([RedisServer], master: String)
      case cluster([RedisServer])

      package var servers: [RedisServer] {
        switch self {
        case .single(let server): [server]
        case .sentinels(let servers, _), .cluster(let servers): servers
        }
      }
    }

    package var place: Place
    package var user: String?
    package var password: [UInt8]?
    /// In place of the system's roots.
    package var ca: UpstreamTLS.PEM?
    /// Gates of one group share; others in the same Redis do not.
    package var group = "default"
    package var onLoss = OnLoss.share

    package init(place: Place) { self.place = place }
  }
}

// Names that say something about a target: well-known ones that others imitate, and ways around a gate.
// It relies on being short: each name was found in the public source that stands over its list; none of them is
// complete.

import Policy

enum KnownHosts {
  enum Kind {
    case dnsOverHTTPS
    case tunnel
    case requestCollector
    case fileDrop

    var text: String {
      switch self {
      case .dnsOverHTTPS: "a resolver over HTTPS (RFC 8484): names and data go past the gate's own DNS"
      case .tunnel: "a tunnelling service: it can bring anybody in, or anything out"
      case .requestCollector: "a service that collects requests for whoever asks: a usual end of stolen data"
      case .fileDrop: "a service that takes files or texts from anybody: a usual end of stolen data"
      }
    }
  }

  /// Of the name itself, or of one that it is below.
  static func evasiveKind(of name: String) -> Kind? {
    var rest = name[...]
    while true {
      if let kind = kinds[String(rest)] { return kind }
      guard let dot = rest.firstIndex(of: ".") else { return nil }
      rest = rest[rest.index(after: dot)...]
    }
  }

  private static let kinds: [String: Kind] = {
    let groups: [(Kind, [String])] = [
      (.dnsOverHTTPS, resolvers), (.tunnel, tunnels), (.requestCollector, requestCollectors), (.fileDrop, fileDrops),
    ]
    let pairs = groups.flatMap { kind, names in names.map { ($0, kind) } }
    return Dictionary(pairs, uniquingKeysWith: { first, _ in first })
  }()
  static let popularNames = Set(popular)

  /// Of the public resolvers those that many programs know. Each stands in the list of `dibdot/DoH-IP-blocklists`
  /// (GitHub), which has some thousand more.
  private static let resolvers = [
    "dns.google", "dns.google.com", "dns64.dns.google", "8888.google", "cloudflare-dns.com",
    "dns.cloudflare.com", "one.one.one.one", "cloudflare-gateway.com", "dns.quad9.net", "dns9.quad9.net",
    "dns10.quad9.net", "dns11.quad9.net", "dns-nosec.quad9.net", "doh.opendns.com",
    "doh.familyshield.opendns.com", "doh.umbrella.com", "dns.umbrella.com", "dns.nextdns.io",
    "doh.cleanbrowsing.org", "dns.adguard.com",
    "adguard-dns.com",
    "dns.mullvad.net", "doh.mullvad.net", "dns.controld.com", "freedns.controld.com", "doh.dns.sb", "doh.sb",
    "dns0.eu", "doh.dns.apple.com", "doh.xfinity.com", "dnsforge.de", "doh.libredns.gr",
    "doh.applied-privacy.net", "dns.alidns.com", "doh.360.cn", "doh.pub",
  ]

  /// Hosted services in the list of `anderspitman/awesome-tunneling` (GitHub), by the names of their ends: the rules of
  /// `SigmaHQ/sigma` for ngrok, cloudflared and dev tunnels have theirs, public code has the others. The relays of
  /// Apple are in the list above.
  private static let tunnels = [
    "ngrok.com", "ngrok.io", "ngrok.app", "ngrok.dev", "ngrok-free.app", "ngrok-free.dev", "trycloudflare.com",
    "argotunnel.com", "localhost.run", "lhr.life", "serveo.net", "serveousercontent.com", "localtunnel.me",
    "loca.lt", "pinggy.io", "pinggy.link", "bore.pub", "devtunnels.ms", "tunnels.api.visualstudio.com",
    "tailscale.com", "ts.net", "zrok.io", "playit.gg", "ply.gg", "localxpose.io", "loclx.io", "localtonet.com",
    "packetriot.com", "pagekite.net", "tunnelto.dev", "openport.io", "remote.it", "zerotier.com", "netbird.io",
    "mask.icloud.com", "mask-h2.icloud.com",
  ]

  /// `oast.*` and `interact.sh` are the servers that `projectdiscovery/interactsh` (GitHub) uses by default;
  /// `oastify.com` and
  /// `burpcollaborator.net` those of Burp Suite.
  private static let requestCollectors = [
    "webhook.site", "requestbin.com", "requestbin.net", "requestcatcher.com", "beeceptor.com", "pipedream.net",
    "interact.sh", "oast.fun", "oast.live", "oast.me", "oast.online", "oast.pro", "oast.site",
    "burpcollaborator.net", "oastify.com", "canarytokens.com",
  ]

  /// Many are in the rule of `SigmaHQ/sigma` for dead drops; the others take files and texts from command lines without
  /// an account, as public code does it.
  private static let fileDrops = [
    "pastebin.com", "hastebin.com", "paste.ee", "transfer.sh", "0x0.st", "file.io", "gofile.io", "catbox.moe",
    "termbin.com", "temp.sh", "ufile.io", "sendspace.com", "wetransfer.com", "mega.nz", "mega.co.nz",
  ]

  /// Names that are worth imitating, as registrable names.
  static let popular = [
    "amazon.com", "amazonaws.com", "anthropic.com", "apple.com", "atlassian.com", "azure.com", "bitbucket.org",
    "cloudflare.com", "cohere.com", "dropbox.com", "facebook.com", "github.com", "githubusercontent.com", "gitlab.com",
    "google.com", "googleapis.com", "kernel.org", "linkedin.com", "microsoft.com", "microsoftonline.com", "mistral.ai",
    "mozilla.org", "openai.com", "openrouter.ai", "paypal.com", "slack.com", "stripe.com", "telegram.org",
    "twitter.com",
    "wikipedia.org", "windows.net", "youtube.com",
  ]

  /// Names below which strangers have names of their own: no wildcard is proposed for them. The second-level labels
  /// under country codes are told by their form.
  static let shared = PublicSuffixes.hosting.union(["githubusercontent.com", "googleapis.com"])
}

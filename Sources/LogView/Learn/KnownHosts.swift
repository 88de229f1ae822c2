// Names that say something about a target: well-known ones that others imitate, and ways around a gate.
// It relies on being short: written by hand from what is generally known of these services, and checked against no list.

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

  private static let kinds = Dictionary(evasive.map { ($0.name, $0.kind) }, uniquingKeysWith: { first, _ in first })
  static let popularNames = Set(popular)

  private static let evasive: [(name: String, kind: Kind)] = [
    ("dns.google", .dnsOverHTTPS),
    ("dns64.dns.google", .dnsOverHTTPS),
    ("cloudflare-dns.com", .dnsOverHTTPS),
    ("one.one.one.one", .dnsOverHTTPS),
    ("cloudflare-gateway.com", .dnsOverHTTPS),
    ("dns.quad9.net", .dnsOverHTTPS),
    ("doh.opendns.com", .dnsOverHTTPS),
    ("dns.nextdns.io", .dnsOverHTTPS),
    ("doh.cleanbrowsing.org", .dnsOverHTTPS),
    ("dns.adguard-dns.com", .dnsOverHTTPS),
    ("dns.mullvad.net", .dnsOverHTTPS),
    ("freedns.controld.com", .dnsOverHTTPS),
    ("doh.dns.sb", .dnsOverHTTPS),
    ("dns.alidns.com", .dnsOverHTTPS),
    ("doh.pub", .dnsOverHTTPS),
    ("ngrok.com", .tunnel),
    ("ngrok.io", .tunnel),
    ("ngrok.app", .tunnel),
    ("ngrok-free.app", .tunnel),
    ("ngrok-free.dev", .tunnel),
    ("trycloudflare.com", .tunnel),
    ("argotunnel.com", .tunnel),
    ("localhost.run", .tunnel),
    ("lhr.life", .tunnel),
    ("serveo.net", .tunnel),
    ("localtunnel.me", .tunnel),
    ("loca.lt", .tunnel),
    ("pinggy.io", .tunnel),
    ("pinggy.link", .tunnel),
    ("bore.pub", .tunnel),
    ("devtunnels.ms", .tunnel),
    ("tunnels.api.visualstudio.com", .tunnel),
    ("tailscale.com", .tunnel),
    ("ts.net", .tunnel),
    ("zrok.io", .tunnel),
    ("playit.gg", .tunnel),
    ("webhook.site", .requestCollector),
    ("requestbin.net", .requestCollector),
    ("pipedream.net", .requestCollector),
    ("interact.sh", .requestCollector),
    ("oast.fun", .requestCollector),
    ("oast.live", .requestCollector),
    ("oast.me", .requestCollector),
    ("oast.online", .requestCollector),
    ("oast.pro", .requestCollector),
    ("oast.site", .requestCollector),
    ("burpcollaborator.net", .requestCollector),
    ("oastify.com", .requestCollector),
    ("pastebin.com", .fileDrop),
    ("transfer.sh", .fileDrop),
    ("0x0.st", .fileDrop),
    ("file.io", .fileDrop),
    ("gofile.io", .fileDrop),
    ("catbox.moe", .fileDrop),
    ("termbin.com", .fileDrop),
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
  static let shared: Set<String> = [
    "amazonaws.com", "appspot.com", "azureedge.net", "azurewebsites.net", "blogspot.com", "cloudapp.net",
    "cloudfront.net", "cloudfunctions.net", "firebaseapp.com", "fly.dev", "github.io", "githubusercontent.com",
    "gitlab.io", "googleapis.com", "googleusercontent.com", "herokuapp.com", "netlify.app", "onrender.com", "pages.dev",
    "run.app", "vercel.app", "web.app", "windows.net", "workers.dev",
  ]
}

// Names below which anyone may register a name: a wildcard right below one of them allows strangers' hosts.
// It relies on an excerpt of publicsuffix.org (its private section), with large hosts and tunnels; it is not
// complete.

package enum PublicSuffixes {
  /// True if the names right below this one belong to different owners.
  package static func contains(_ name: String) -> Bool {
    let labels = name.split(separator: ".")
    if labels.count == 2, labels[1].utf8.count == 2, secondLevel.contains(String(labels[0])) { return true }
    // `*.core.windows.net` is as wide as `*.windows.net`.
    return labels.count < 2 || hosting.contains { name == $0 || $0.hasSuffix(".\(name)") }
  }

  /// Second-level labels under country codes: `co.uk`.
  package static let secondLevel: Set<String> = [
    "ac", "co", "com", "edu", "go", "gob", "gov", "mil", "ne", "net", "or", "org",
  ]

  /// Hosting, storage and tunnel services that give each user a name.
  package static let hosting: Set<String> = [
    "amazonaws.com", "appspot.com", "azureedge.net", "azurewebsites.net", "blob.core.windows.net", "blogspot.com",
    "cloudapp.net", "cloudfront.net", "cloudfunctions.net", "deno.dev", "duckdns.org", "firebaseapp.com", "fly.dev",
    "github.io", "gitlab.io", "glitch.me", "googleusercontent.com", "herokuapp.com", "hf.space", "netlify.app",
    "ngrok.app",
    "ngrok.io", "ngrok-free.app", "nip.io", "onrender.com", "pages.dev", "r2.dev", "replit.app", "repl.co", "run.app",
    "s3.amazonaws.com", "sslip.io", "supabase.co", "surge.sh", "trycloudflare.com", "vercel.app", "web.app",
    "windows.net",
    "wordpress.com", "workers.dev",
  ]
}

// Known shapes of keys and tokens, looked for in long runs. It relies on each shape beginning with letters of its own;
// a value
// without such a beginning counts only next to a word that says what it is (SecretContext), and only when it looks
// random.

struct SecretShape {
  /// The letters of the body behind the prefix.
  enum Letters {
    case alphanumeric
    /// Also `-` and `_`.
    case dashed
    case hexadecimal
    case upper
    /// Also `/`: parts of a URL.
    case path
  }

  var kind: String
  var prefix: [UInt8]
  /// How long the body behind the prefix is.
  var length: ClosedRange<Int>
  var letters: Letters
  /// Where the prefix is short or a word, the rest must look random to count.
  var isRandom: Bool

  init(
    _ kind: String, _ prefix: String, _ length: ClosedRange<Int>, _ letters: Letters = .alphanumeric,
    random: Bool = false
  ) {
    (self.kind, self.prefix, self.length) = (kind, Array(prefix.utf8), length)
    (self.letters, isRandom) = (letters, random)
  }

  private static func each(
    _ kind: String, _ prefixes: [String], _ length: ClosedRange<Int>, _ letters: Letters = .alphanumeric,
    random: Bool = false
  ) -> [SecretShape] {
    prefixes.map { SecretShape(kind, $0, length, letters, random: random) }
  }

  /// The more special stands before the more general.
  static let all: [SecretShape] = models + clouds + code + packages + payment + messages + operations

  private static let models: [SecretShape] =
    each("anthropic-key", ["sk-ant-"], 17...249, .dashed)
    + each("openrouter-key", ["sk-or-v1-"], 32...128, .hexadecimal)
    + each("openai-key", ["sk-proj-", "sk-svcacct-", "sk-admin-"], 20...248, .dashed)
    + each("langfuse-key", ["sk-lf-", "pk-lf-"], 32...40, .dashed, random: true)
    + each("openai-key", ["sk-"], 32...253, .dashed, random: true)
    + each("huggingface-token", ["hf_", "api_org_"], 31...61)
    + each("groq-key", ["gsk_"], 40...64) + each("xai-key", ["xai-"], 60...100)
    + each("replicate-token", ["r8_"], 36...40) + each("perplexity-key", ["pplx-"], 40...64)
    + each("nvidia-key", ["nvapi-"], 50...80, .dashed) + each("tavily-key", ["tvly-"], 20...60, .dashed, random: true)
    + each("pinecone-key", ["pcsk_"], 40...80, .dashed)
    + each("langsmith-key", ["lsv2_pt_", "lsv2_sk_"], 32...50, .dashed)

  private static let clouds: [SecretShape] =
    each("aws-access-key", ["AKIA", "ASIA", "ABIA", "ACCA"], 16...16, .upper)
    + each("aws-bedrock-key", ["ABSK"], 60...300, random: true)
    + each("google-key", ["AIza"], 35...35, .dashed) + each("google-client-secret", ["GOCSPX-"], 24...32, .dashed)
    + each("google-access-token", ["ya29."], 30...400, .dashed)
    + each("alibaba-key", ["LTAI"], 12...24, random: true) + each("tencent-key", ["AKID"], 32...32, random: true)
    + each("yandex-key", ["AQVN", "YCAJ"], 21...50, .dashed, random: true)
    + each("digitalocean-token", ["dop_v1_", "doo_v1_", "dor_v1_"], 64...64, .hexadecimal)
    + each("cloudflare-key", ["v1.0-"], 140...200, .dashed, random: true)
    + each("fly-token", ["fo1_", "fm1_", "fm1a_", "fm1r_", "fm2_"], 40...500, .dashed)
    + each("heroku-token", ["HRKU-"], 36...70, .dashed) + each("netlify-token", ["nfp_"], 36...40)
    + each("render-key", ["rnd_"], 28...40, random: true) + each("supabase-key", ["sbp_"], 40...40, .hexadecimal)
    + each("supabase-key", ["sb_secret_"], 20...60, .dashed) + each("scalingo-token", ["tk-us-"], 48...48, .dashed)
    + each("openshift-token", ["sha256~"], 43...43, .dashed) + each("tailscale-key", ["tskey-"], 20...80, .dashed)
    + each("planetscale-token", ["pscale_tkn_", "pscale_pw_", "pscale_oauth_"], 20...64, .dashed, random: true)
    + each("databricks-token", ["dapi"], 32...36, .dashed, random: true)
    + each("clickhouse-key", ["4b1d"], 38...38, random: true)

  private static let code: [SecretShape] =
    each("github-token", ["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], 36...251)
    + each("github-token", ["github_pat_"], 29...244, .dashed)
    + each(
      "gitlab-token",
      [
        "glpat-", "gldt-", "glrt-", "glrtr-", "glcbt-", "glptt-", "glft-", "glimt-", "glagent-", "gloas-", "glsoat-",
        "glffct-",
      ], 20...300, .dashed)
    + each("gitlab-token", ["GR1348941"], 20...20, .dashed)
    + each("bitbucket-token", ["ATBB", "ATCTT3xFfGN0"], 28...250, .dashed, random: true)
    + each("atlassian-token", ["ATATT3"], 150...250, .dashed)
    + each("sourcegraph-token", ["sgp_"], 40...80, .dashed) + each("figma-token", ["figd_"], 40...48, .dashed)
    + each("postman-key", ["PMAK-"], 59...59, .dashed) + each("linear-key", ["lin_api_", "lin_oauth_"], 32...64)
    + each("notion-token", ["ntn_"], 46...50) + each("notion-token", ["secret_"], 43...43, random: true)
    + each("typeform-token", ["tfp_"], 40...64, .dashed) + each("frameio-token", ["fio-u-"], 64...64, .dashed)
    + each("readme-key", ["rdme_"], 70...70) + each("contentful-token", ["CFPAT-"], 43...43, .dashed)
    + each("sonar-token", ["squ_", "sqp_", "sqa_"], 40...40) + each("infracost-key", ["ico-"], 32...32)
    + each("intra42-secret", ["s-s4t2ud-", "s-s4t2af-"], 64...64, .hexadecimal)
    + each("octopus-key", ["API-"], 26...26, .upper, random: true)
    + each("harness-token", ["pat.", "sat."], 20...24, .dashed, random: true)
    + each("jfrog-token", ["AKCp"], 65...73) + each("jfrog-token", ["cmVmd"], 59...69, random: true)
    + each("hubspot-token", ["pat-na1-", "pat-eu1-"], 36...36, .dashed)

  private static let packages: [SecretShape] =
    each("npm-token", ["npm_"], 36...36) + each("pypi-token", ["pypi-AgE"], 52...504, .dashed)
    + each("rubygems-key", ["rubygems_"], 48...48, .hexadecimal) + each("clojars-token", ["CLOJARS_"], 60...60)
    + each("nuget-key", ["oy2"], 43...43, random: true)
    + each("docker-token", ["dckr_pat_", "dckr_oat_"], 27...60, .dashed)
    + each("prefect-key", ["pnu_"], 36...36) + each("pulumi-token", ["pul-"], 40...40, .hexadecimal)
    + each("terraform-token", [".atlasv1."], 60...70, .dashed)

  private static let payment: [SecretShape] =
    each(
      "stripe-key", ["sk_live_", "rk_live_", "sk_test_", "rk_test_", "sk_prod_", "rk_prod_"], 10...247)
    + each("stripe-key", ["whsec_"], 24...249, .dashed)
    + each("square-key", ["sq0atp-", "sq0csp-", "EAAAE"], 22...60, .dashed, random: true)
    + each("shopify-token", ["shpat_", "shpca_", "shppa_", "shpss_"], 32...32, .hexadecimal)
    + each("shippo-token", ["shippo_live_", "shippo_test_"], 40...40, .hexadecimal)
    + each("flutterwave-key", ["FLWSECK_TEST-", "FLWPUBK_TEST-", "FLWSECK-", "FLWPUBK-"], 12...40, .dashed)
    + each("flutterwave-key", ["FLWSECK_TEST"], 12...12) + each("razorpay-key", ["rzp_live_", "rzp_test_"], 14...14)
    + each("gocardless-token", ["live_"], 40...40, .dashed, random: true)
    + each("easypost-token", ["EZAK", "EZTK"], 54...54)
    + each("duffel-token", ["duffel_test_", "duffel_live_"], 43...43, .dashed)
    + each("plaid-token", ["access-sandbox-", "access-development-", "access-production-"], 36...36, .dashed)
    + each("braintree-token", ["access_token$production$", "access_token$sandbox$"], 40...60, .alphanumeric)

  private static let messages: [SecretShape] =
    each("slack-token", ["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xoxo-", "xoxe-", "xapp-"], 15...250, .dashed)
    + each("slack-webhook", ["services/T"], 35...60, .path)
    + each("sendgrid-key", ["SG."], 20...24, .dashed) + each("mailgun-key", ["key-", "pubkey-"], 32...32, .hexadecimal)
    + each("brevo-key", ["xkeysib-", "xsmtpsib-"], 80...84, .dashed)
    + each("twilio-key", ["SK"], 32...32, .hexadecimal, random: true)
    + each("facebook-token", ["EAACEdEose0cBA", "EAAM", "EAAC"], 50...300, random: true)
    + each("mapbox-token", ["sk.eyJ", "pk.eyJ"], 50...120, .dashed)
    + each("beamer-token", ["b_"], 44...44, .dashed, random: true)

  private static let operations: [SecretShape] =
    each("vault-token", ["hvs.", "hvb.", "hvr."], 24...300, .dashed)
    + each("vault-token", ["s."], 24...24, random: true)
    + each("doppler-token", ["dp.pt.", "dp.st.", "dp.ct.", "dp.sa."], 40...60)
    + each("1password-token", ["ops_eyJ"], 200...2000) + each("age-key", ["AGE-SECRET-KEY-1"], 58...58, .upper)
    + each("dynatrace-token", ["dt0c01."], 24...24) + each("grafana-token", ["glc_", "glsa_"], 32...400, .dashed)
    + each("grafana-token", ["eyJrIjoi"], 60...400, random: true)
    + each("new-relic-key", ["NRAK-"], 27...27) + each("new-relic-key", ["NRJS-"], 19...19)
    + each("new-relic-key", ["NRII-"], 32...32, .dashed)
    + each("sentry-token", ["sntryu_"], 64...64, .hexadecimal) + each("sentry-token", ["sntrys_"], 80...400, .dashed)
    + each("posthog-key", ["phx_"], 40...56) + each("sumologic-id", ["su"], 12...12, random: true)
    + each("defined-token", ["dnkey-"], 70...90, .dashed)
    + each("settlemint-token", ["sm_aat_", "sm_pat_", "sm_sat_"], 16...16)
    + each("dropbox-token", ["sl."], 100...200, .dashed, random: true)
    + each("authress-token", ["scauth_", "authress_"], 20...200, .dashed, random: true)
    + each("adobe-secret", ["p8e-"], 32...32)

  /// The shapes by the first letter of their prefix.
  private static let byFirst: [[SecretShape]] = (0..<256).map { code in
    all.filter { $0.prefix[0] == UInt8(code) }
  }
  private static let begins = ByteTable { byte in all.contains { $0.prefix[0] == byte } ? 1 : 0 }
  /// A shorter prefix is a syllable of words, and counts at their beginning only.
  private static let prefixBytesMin = 4

  private static let prefixBytesMax = all.map(\.prefix.count).max() ?? 0

  /// What in the run `range` of `bytes` has a known shape, wherever in the run it begins; signs that end a run may
  /// stand in the prefix, which then begins before it.
  /// True where something has a shape, though it is an example or the name of a key.
  static func find(_ bytes: Span<UInt8>, _ range: Range<Int>, _ found: (String, Range<Int>) -> Void) -> Bool {
    var isKnown = false
    let begins = begins
    var place = max(range.lowerBound - prefixBytesMax, 0)
    while place < range.upperBound {
      defer { place += 1 }
      guard begins[bytes[place]] != 0 else { continue }
      let isInside = place > 0 && bytes[place - 1].isAlphanumeric
      for shape in byFirst[Int(bytes[place])] {
        if isInside && shape.prefix.count < prefixBytesMin || place + shape.prefix.count < range.lowerBound { continue }
        guard let end = shape.match(bytes, place, before: range.upperBound, isInside: isInside) else { continue }
        let body = (place + shape.prefix.count)..<end
        if !Example.isLikely(bytes, body), !isSigner(bytes, end, before: range.upperBound) {
          found(shape.kind, place..<end)
        }
        (place, isKnown) = (end - 1, true)
        break
      }
    }
    return isKnown
  }

  /// `AKIA…/20260101/`: the name of a key in a signature, which says who signed and opens nothing.
  private static func isSigner(_ bytes: Span<UInt8>, _ end: Int, before last: Int) -> Bool {
    guard end + 10 <= last, bytes[end] == UInt8(ascii: "/"), bytes[end + 9] == UInt8(ascii: "/") else { return false }
    return (1...8).allSatisfy { (0x30...0x39).contains(bytes[end + $0]) }
  }

  /// The end of a key of this shape that begins at `start`.
  private func match(_ bytes: Span<UInt8>, _ start: Int, before last: Int, isInside: Bool) -> Int? {
    let first = start + prefix.count
    guard first + length.lowerBound <= last else { return nil }
    for (offset, byte) in prefix.enumerated() where bytes[start + offset] != byte { return nil }
    var end = first
    let most = min(last, first + length.upperBound)
    while end < most, isLetter(bytes[end]) { end += 1 }
    guard end - first >= length.lowerBound else { return nil }
    // A run of letters that goes on is another thing, where the prefix does not say enough.
    let goesOn = end < last && bytes[end].isAlphanumeric
    if goesOn && prefix.count < Self.prefixBytesMin { return nil }
    return !(isRandom || isInside || goesOn) || Randomness.isRandom(bytes, first..<end) ? end : nil
  }

  private func isLetter(_ byte: UInt8) -> Bool {
    switch letters {
    case .alphanumeric: byte.isAlphanumeric
    case .dashed: byte.isAlphanumeric || byte.isDashed
    case .hexadecimal: byte.hexValue != nil
    case .upper: (0x41...0x5a).contains(byte) || (0x30...0x39).contains(byte)
    case .path: byte.isAlphanumeric || byte == UInt8(ascii: "/")
    }
  }
}

/// Values that documentation prints in the place of a key.
enum Example {
  private static let words = [
    "example", "sample", "dummy", "placeholder", "changeme", "change_me", "change-me", "redacted", "your_", "your-",
    "yourkey",
    "yourtoken", "insert", "xxxx", "foobar", "fake", "notreal", "deadbeef", "replace",
  ].map { Array($0.utf8) }
  /// Keys that their makers publish for trials.
  private static let published = ["4eC39HqLyjWDarjtT1zdp7dc", "16C7e42F292c6912E7710c838347Ae178B4a"].map {
    Array($0.utf8)
  }

  static func isLikely(_ bytes: Span<UInt8>, _ range: Range<Int>) -> Bool {
    let value = range.map { (0x41...0x5a).contains(bytes[$0]) ? bytes[$0] | 0x20 : bytes[$0] }
    if words.contains(where: value.contains) { return true }
    var counts = [Int](repeating: 0, count: 256)
    for byte in value { counts[Int(byte)] += 1 }
    // Filled up with one letter, or typed as a pattern.
    if let most = counts.max(), value.count >= 12, most * 5 > value.count * 2 { return true }
    if value.count >= 16, counts.filter({ $0 > 0 }).count < 5 { return true }
    return published.contains { text in
      text.count == range.count && text.indices.allSatisfy { bytes[range.lowerBound + $0] == text[$0] }
    }
  }
}

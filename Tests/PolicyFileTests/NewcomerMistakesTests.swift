// Mistakes that newcomers make in a policy file: each message names the cause, its place, and what to write.

import Policy
import PolicyFile
import Testing
import YAML

private func load(_ bytes: [UInt8]) -> LoadedPolicy {
  PolicyFile.parse(bytes: bytes, name: "p.yaml", nowUnix: 1_800_000_000)
}

private func load(_ text: String) -> LoadedPolicy { load(Array(text.utf8)) }

private func allow(_ rule: String) -> String { "network_policy:\n  allow:\n    - \(rule)\n" }

private let syntax: [Mistake] = [
  Mistake(
    "network_policy:\n  default: deny\n    allow:\n      - a.test:443\n", "3:10",
    "indented by 4 spaces, and the one above it"),
  Mistake(
    "network_policy:\n  allow:\n    - host: a.test:443\n       methods: [GET]\n", "4:15",
    "indented by 7 spaces, and the one above it"),
  Mistake(
    "network_policy\n  allow:\n    - a.test:443\n", "2:8", "the key in line 1 lacks its colon; write `network_policy:`"),
  Mistake("network_policy:\n  allow\n    - a.test:443\n  deny: []\n", "4:7", "lacks its colon"),
  Mistake("network_policy: default: deny\n", "1:24", "a second ': ' in one line"),
  Mistake(
    "network_policy:\n  allow:\n    - a.test:443\n   - b.test:443\n", "4:4",
    "indented by 3 spaces, and the one in line 3 by 4"),
  Mistake(
    "network_policy:\n  allow:\n    - \"a.test:443\n    - b.test:443\n", "3:7",
    "the quote that begins here is not closed"),
  Mistake(
    "network_policy:\n  allow:\n    - 'a.test:443\n    - b.test:443\n", "3:7",
    "the quote that begins here is not closed"),
  Mistake(
    "network_policy:\n  allow: [\"a.test:443, \"b.test:443\"]\n", "2:24", "a quote is missing before this one"),
  Mistake("network_policy:\n\tallow: []\n", "2:1", "a tab indents this line; indent with spaces, not tabs"),
  Mistake("network_policy:\n  allow: [a.test:443\n", "2:10", "the bracket that opens here is not closed"),
  Mistake(allow("\"a\\.test:443\""), "3:9", "a rule is not a regular expression"),
  Mistake("- a.test:443\n", "1:1", "a list of rules alone is no policy; write `network_policy:`"),
  Mistake(
    "allow:\n  - a.test:443\n", "1:1", "`allow` has no place in the policy file: it is a key of `network_policy`"),
  Mistake("deny: []\n", "1:1", "it is a key of `network_policy`"),
  Mistake("a.test:443\n", "1:1", "the policy file takes keys below it (network_policy, "),
  Mistake("network_policy:\n  allow\n    - a.test:443\n", "2:3", "the key `allow` lacks its colon; write `allow:`"),
  Mistake("network_policy:\n  default:deny\n", "2:3", "a space is missing behind `default:`; write `default: deny`"),
  Mistake("network_policy:\n  default = deny\n", "2:3", "joined by a colon; write `default: deny`"),
  Mistake(
    "network_policy:\n  default:deny\n  allow: [a.test:443]\n", "3:8",
    "a space is missing behind the colon in line 2; write `default: deny`"),
  Mistake("network_policy: |\n  allow:\n    - a.test:443\n", "1:17", "into one text; remove the sign"),
  Mistake("network_policy:\n  allow: >\n    - a.test:443\n", "2:10", "into one text; remove the sign"),
  Mistake(
    "network_policy:\n  allow:\n    -a.test:443\n", "3:5", "a space is missing behind the dash; write `- a.test:443`"),
  Mistake(
    "network_policy:\n    default: deny\n  allow: []\n", "3:3",
    "by 2 spaces, and the lines above by 0 or 4"),
  Mistake(
    "network_policy:\n  allow:\n    - host: a.test:443\n    methods: [GET]\n", "4:5",
    "the list from line 3 goes on here without a dash; begin this line with `- `"),
  Mistake(
    "network_policy:\n  allow:\n    - a.test:443\n    b.test:443\n", "4:5",
    "this list entry lacks its dash; write `- b.test:443`"),
  Mistake(
    "network_policy:\n  allow:\n    - a.test:443\n      methods: [GET]\n", "4:14",
    "a rule with keys begins with `host`; write `- host: a.test:443` in line 3"),
  Mistake(
    "{\"network_policy\": {\"allow\": [\"a.test:443\"] \"default\": \"deny\"}}\n", "1:45",
    "a comma or the closing bracket is missing in front of this place"),
  Mistake("// mine\nnetwork_policy: {}\n", "2:15", "a comment begins with #; write # in place of // in line 1"),
  Mistake("[network_policy]\nallow = [\"a.test:443\"]\n", "2:1", "this looks like TOML or INI"),
  Mistake("network_policy:\n  allow:\n", "2:9", "takes a list such as [api.example.com:443]"),
]

private let characters: [Mistake] = [
  Mistake(
    allow("a.test\u{200b}:443"), "3:13", "an invisible character (U+200B, zero width space) stands here; delete it"),
  Mistake(allow("\"a.test:443\u{2060}\""), "3:18", "an invisible character (U+2060"),
  Mistake(allow("a\u{ad}b.test:443"), "3:8", "an invisible character (U+00AD, soft hyphen)"),
  Mistake(
    "network_policy:\n\u{a0} allow: [a.test:443]\n", "2:1",
    "a special space (U+00A0, no-break space) stands here; write a plain space"),
  Mistake(
    allow("\u{201c}a.test:443\u{201d}"), "3:7",
    "a typographic quote (U+201C, left double quotation mark) stands here; write \" or '"),
  Mistake(
    "network_policy:\n  allow:\n    \u{2013} a.test:443\n", "3:5",
    "a typographic dash (U+2013, en dash) stands here; write -"),
  Mistake(allow("a\u{2011}b.test:443"), "3:7", "a typographic dash (U+2011, non-breaking hyphen)"),
  Mistake(allow("a.test\u{ff1a}443"), "3:7", "a fullwidth colon (U+FF1A) stands here; write :"),
  Mistake("network_policy:\n  allow: [a.test:443]\u{7}\n", "2:22", "a control character (0x07)"),
]

private let rules: [Mistake] = [
  Mistake(
    allow(#"'.*\.test:443'"#), "3:7",
    "a rule is not a regular expression (`.*` means nothing here); write *.example.com:443"),
  Mistake(allow("^api.test$:443"), "3:7", "a rule is not a regular expression (`^`"),
  Mistake(allow("(a|b).test:443"), "3:7", "a rule is not a regular expression"),
  Mistake(allow("api[0-9].test:443"), "3:7", "a rule is not a regular expression (`[`"),
  Mistake(allow("a.*.test:443"), "3:7", "a wildcard is one * in place of the first labels"),
  Mistake(allow("${HOST}:443"), "3:7", "a policy has no variables; write the host itself"),
  Mistake(allow("a.test:443 b.test:443"), "3:7", "a rule names one host; write an entry for each, such as a.test:443"),
  Mistake(allow("a.test:443\n      - b.test:443"), "3:7", "the next entry is indented deeper"),
  Mistake(allow("host:a.test:443"), "3:7", "a space is missing behind `host:`; write `host: a.test:443`"),
  Mistake(allow("a.test:"), "3:7", "the port is missing behind the colon; write a.test:443"),
  Mistake(allow("a.test:ssh"), "3:7", "a port is a number; write 22"),
  Mistake(allow("a.test:443-80"), "3:7", "the range is reversed; write 80-443"),
  Mistake(allow("ssh://git@a.test"), "3:7", "without a scheme; write a.test:22"),
  Mistake(allow("{host: a.test:443, expires: 2027-05-01}"), "3:35", "not `2027-05-01`; write 2027-05-01T00:00:00Z"),
  Mistake(allow("{host: a.test:443, expires: 2027-05-01 10:00}"), "3:35", "write 2027-05-01T10:00:00Z"),
  Mistake(allow("{host: a.test:443, inspect: yes}"), "3:35", "`inspect` is true or false, not `yes`; write true"),
  Mistake(allow("{host: a.test:443, inspect: \"true\"}"), "3:35", "write true without quotes"),
  Mistake(allow("{host: a.test:443, requests_per_minute: 60}"), "3:26", "limits stand in `rate_limits`; write"),
  Mistake("network_policy: {concurrent: 3}\n", "1:18", "limits stand in `rate_limits`"),
  Mistake(
    "network_policy:\n  listen: {connect: 127.0.0.1:1}\n", "2:3", "it is a key of the file itself; write it without"),
  Mistake(
    "network_policy: {}\nlimits: {connections: \"60\"}\n", "2:23",
    "without quotes, from 1 to 1000000, not `60`; write 60"),
  Mistake("network_policy: {}\nlimits: {connections: 1_000}\n", "2:23", "not `1_000`; write 1000"),
  Mistake("network_policy: {}\nlimits: {head_bytes: 65_536}\n", "2:22", "not `65_536`; write 65536"),
  Mistake("network_policy: {}\nlimits: {head_bytes: 1}\n", "2:22", "is from 1KiB to 256KiB, not `1`"),
  Mistake("network_policy: {}\ntimeouts: {idle: 1h}\n", "2:18", "not `1h`; write 3600"),
  Mistake("network_policy: {}\ntimeouts: {connect: 2 minutes}\n", "2:21", "write 120"),
  Mistake("network_policy: {}\nprocess_limits: {memory: 1}\n", "2:18", "did you mean `memory.max`?"),
  Mistake("network_policy: {}\napprovals: {wait: 1}\n", "2:13", "did you mean `wait_seconds`?"),
  Mistake("network_policy: {}\nstate: {dir: /a}\n", "2:9", "unknown key `dir` in `state`"),
  Mistake("network_policy: {}\nclients: {a: 1}\n", "2:10", "a list such as [{name: builder, source: [10.1.0.0/16]}]"),
  Mistake("network_policy: {}\nlisten: 127.0.0.1:1\n", "2:9", "`listen` takes keys below it (connect, transparent, "),
  Mistake(
    "network_policy: {}\nnetwork_policy: {}\n", "2:1",
    "`network_policy` stands twice in the policy file, first in line 1"),
  Mistake(allow("udp://a.test:53"), "3:7", "no rule lets UDP out"),
  Mistake(allow("a.test:53/udp"), "3:7", "no rule lets UDP out"),
  Mistake(allow("a.test:443/tcp"), "3:7", "every rule is about TCP"),
  Mistake(allow("a.test 443"), "3:7", "a space between host and port; write a.test:443"),
  Mistake(allow("a.test:443, b.test:443"), "3:7", "a rule names one host; write an entry for each, such as a.test:443"),
  Mistake(allow("a.test:80,443"), "3:7", "write them in a list: HOST:[80, 443]"),
  Mistake(allow("https://a.test"), "3:7", "a rule is HOST:PORT without a scheme; write a.test:443"),
  Mistake(allow("a.test"), "3:7", "the port is missing; write a.test:443"),
  Mistake("network_policy:\n  allow_list: [a.test:443]\n", "2:3", "did you mean `allow`?"),
  Mistake("network_policy:\n  whitelist: [a.test:443]\n", "2:3", "did you mean `allow`?"),
  Mistake("network_policy:\n  blocked_hosts: [a.test:443]\n", "2:3", "did you mean `deny`?"),
  Mistake("network_policy:\n  rate-limits: []\n", "2:3", "did you mean `rate_limits`?"),
  Mistake(allow("{domain: a.test:443}"), "3:8", "did you mean `host`?"),
  Mistake("network_policy: {}\nlimits: {head_bytes: 5MB}\n", "2:22", "not `5MB`; write 5MiB"),
  Mistake("network_policy: {}\nlimits: {head_bytes: 64 kb}\n", "2:22", "write 64KiB"),
  Mistake(
    allow("{host: a.test:443, methods: [GET]}\n    - {host: a.test:443, methods: [POST]}"), "4:7",
    "keep one, with `requests: [{methods: […], paths: […]}, …]`"),
  Mistake(
    allow("{host: a.test:443, methods: [GET], requests: [{paths: [/a]}]}"), "3:26",
    "write it in the entries of `requests`"),
  Mistake(allow("{host: a.test:443, requests: []}"), "3:26", "no request could match"),
  Mistake(allow("{host: a.test:443, requests: [{}]}"), "3:37", "names neither `methods` nor `paths`"),
  Mistake(allow("{host: a.test:443, requests: [{method: [GET]}]}"), "3:38", "did you mean `methods`?"),
]

/// One wrong key in each section of the schema.
private let sections: [(name: String, text: String)] = [
  ("the policy file", "network_policy: {}\nzzz: 1\n"), ("network_policy", "network_policy: {zzz: 1}\n"),
  ("a deny rule", "network_policy: {deny: [{host: a.test:443, zzz: 1}]}\n"),
  ("an allow rule", "network_policy: {allow: [{host: a.test:443, zzz: 1}]}\n"),
  ("a request", "network_policy: {allow: [{host: a.test:443, requests: [{paths: [/a], zzz: 1}]}]}\n"),
  ("dns of a rule", "network_policy: {allow: [{host: a.test:443, dns: {zzz: 1}}]}\n"),
  ("a rate limit", "network_policy: {allow: [a.test:443], rate_limits: [{host: \"*\", concurrent: 1, zzz: 1}]}\n"),
  ("content", "network_policy: {allow: [{host: a.test:443, content: {secrets: log, zzz: 1}}]}\n"),
  ("tls", "network_policy: {}\ntls: {ca: /a, zzz: 1}\n"),
  ("client_certificate", "network_policy: {allow: [{host: a.test:443, tls: {client_certificate: {zzz: 1}}}]}\n"),
  ("a client", "network_policy: {}\nclients: [{name: c, source: [10.0.0.0/8], zzz: 1}]\n"),
  ("listen", "network_policy: {}\nlisten: {connect: 127.0.0.1:1, zzz: 1}\n"),
  ("connect", "network_policy: {}\nlisten: {connect: {address: 127.0.0.1:1, zzz: 1}}\n"),
  ("resolver", "network_policy: {}\nresolver: {zzz: 1}\n"), ("dns", "network_policy: {}\ndns: {zzz: 1}\n"),
  ("log", "network_policy: {}\nlog: {zzz: 1}\n"), ("limits", "network_policy: {}\nlimits: {zzz: 1}\n"),
  ("timeouts", "network_policy: {}\ntimeouts: {zzz: 1}\n"),
  ("process_limits", "network_policy: {}\nprocess_limits: {zzz: 1}\n"),
  ("filesystem_policy", "network_policy: {}\nfilesystem_policy: {zzz: 1}\n"),
  ("home", "network_policy: {}\nfilesystem_policy: {home: {zzz: 1}}\n"),
  ("environment", "network_policy: {}\nenvironment: {zzz: 1}\n"),
  ("content_policy", "network_policy: {}\ncontent_policy: {secrets: log, zzz: 1}\n"),
  ("a credential", "network_policy: {}\ncredentials: {x: {env: A, query: a, zzz: 1}}\n"),
  ("basic", "network_policy: {}\ncredentials: {x: {env: A, basic: {user: a, zzz: 1}}}\n"),
  ("sigv4", "network_policy: {}\ncredentials: {x: {env: A, sigv4: {zzz: 1}}}\n"),
  ("oauth2", "network_policy: {}\ncredentials: {x: {query: a, oauth2: {zzz: 1}}}\n"),
  ("client_secret", "network_policy: {}\ncredentials: {x: {query: a, oauth2: {client_secret: {env: A, zzz: 1}}}}\n"),
  ("refresh_token", "network_policy: {}\ncredentials: {x: {query: a, oauth2: {refresh_token: {env: A, zzz: 1}}}}\n"),
]

@Suite struct NewcomerMistakesTests {
  @Test(arguments: syntax + characters + rules)
  func theMessageNamesTheCauseAndWhatToWrite(mistake: Mistake) {
    let loaded = load(mistake.text)
    let texts = loaded.problems.map { "\($0)" }
    #expect(loaded.policy == nil)
    #expect(texts.contains { $0.hasPrefix("p.yaml:\(mistake.place): ") && $0.contains(mistake.says) }, "\(texts)")
    #expect(texts.count == 1, "one mistake is one problem: \(texts)")
  }

  @Test func thereAreEightyAtLeast() { #expect((syntax + characters + rules).count >= 80) }

  @Test func bytesThatAreNoUTF8AreFound() {
    for (bytes, says) in [
      (Array("network_policy:\n  allow: [caf".utf8) + [0xe9, 0x0a], "p.yaml:2:14: not UTF-8: the byte 0xE9"),
      ([0xff, 0xfe, 0x6e, 0], "p.yaml:1:1: the file is UTF-16; save it as UTF-8"),
    ] {
      let texts = load(bytes).problems.map { "\($0)" }
      #expect(texts.count == 1 && texts[0].hasPrefix(says), "\(texts)")
    }
    #expect(
      load([0xef, 0xbb, 0xbf] + Array("network_policy: {}\n".utf8)).policy != nil, "a byte order mark is no mistake")
  }

  @Test func aWrongKeyIsToldInEachSection() {
    var told: Set<String> = []
    for (name, text) in sections {
      let problem = load(text).problems.first {
        $0.text.contains("unknown key `zzz` in \(name.contains(" ") ? name : "`\(name)`");")
      }
      #expect(problem?.text.contains("; known here: ") == true, "\(name): \(load(text).problems)")
      if problem != nil { told.insert(name) }
    }
    let schema = sections.reduce(into: Set<String>()) { $0.formUnion(load($1.text).schema.map(\.name)) }
    #expect(schema.subtracting(told).sorted() == [])
  }

  @Test func textsInQuotesMayHoldAnyTypography() {
    let text =
      "network_policy: {}\nenvironment: {set: {A: \"\u{201c}x\u{201d} \u{2013} y\", B: it\u{2019}s}}\n# \u{200b}\n"
    #expect(load(text).problems == [])
  }

  @Test(arguments: [
    ("localhost:8080", "localhost is the gate's own machine"), ("127.0.0.1:8080", "is the gate's own machine"),
    ("169.254.169.254:80", "a cloud's metadata service"), ("metadata.google.internal:80", "a cloud's metadata service"),
    ("\"[fd00:ec2::254]:80\"", "a cloud's metadata service"), ("100.100.100.200:80", "a cloud's metadata service"),
    ("{host: a.test:80, addresses: [169.254.169.254]}", "169.254.169.254 is a cloud's metadata service"),
    ("\"*.com:443\"", "*.com is every name that anybody registers under .com"),
    ("\"*.github.io:443\"", "strangers have under github.io"),
    ("\"*.co.uk:443\"", "strangers have under co.uk"),
    ("\"*.core.windows.net:443\"", "strangers have under core.windows.net"),
    ("\"*:443\"", "allows every host on port 443"),
  ])
  func aDoubtfulRuleIsWarnedOf(rule: String, says: String) {
    let loaded = load(allow(rule))
    #expect(loaded.policy != nil, "\(loaded.problems)")
    #expect(loaded.warnings.contains { $0.mark.line == 3 && $0.text.contains(says) }, "\(loaded.warnings)")
  }

  @Test(arguments: [
    "\"*.githubusercontent.com:443\"", "\"*.example.com:443\"", "\"*.corp.internal:443\"", "\"*.internal:443\"",
    "api.test:443",
    "{host: db.test:5432, addresses: [10.0.0.0/8]}", "\"*.example.co.uk:443\"", "me.github.io:443",
    "\"*.s3.eu.test:443\"",
  ])
  func anOrdinaryRuleIsNot(rule: String) {
    #expect(load(allow(rule)).warnings == [], "\(rule)")
  }
}

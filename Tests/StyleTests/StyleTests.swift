// The rules of how the code reads, held by a test: what may import what, how long things are, where unsafe code stands.
// It relies on the sources lying beside it; a rule is broken by changing the tables below, where a reviewer sees it.
import Foundation
import Testing

@Suite struct StyleTests {
  /// Which modules the files of a part may import (DESIGN section 3). The standard library's parts are free.
  private static let imports: [String: Set<String>] = [
    "Wire": [],
    "Policy": ["Wire"],
    "Flow": ["Wire", "Policy"],
    "Kernel": ["CLinux"],
    "HTTPService": ["Kernel", "Wire"],
    "Intercept": ["Kernel", "Wire", "Policy", "Flow", "Content", "COpenSSL", "CNGHTTP2"],
    "Gate": [
      "HTTPService", "Kernel", "Wire", "Policy", "Flow", "Content", "Intercept", "CAres", "CCrypt", "CHiredis",
      "CVersion",
    ],
    "YAML": ["Wire", "CYAML"],
    "PolicyFile": ["Policy", "Wire", "YAML", "CProfiles"],
    "LogView": ["Kernel", "Wire", "Policy"],
    "Dashboard": ["HTTPService", "Kernel", "Wire", "Policy", "LogView", "CDashboard"],
    "Redirect": ["Wire"],
    "Content": ["Wire", "YAML", "CContent", "CZlib", "CBrotli", "CZstd"],
    "Sandbox": ["Kernel", "CLinux", "CSandbox"],
    "sluice": [
      "Gate", "Intercept", "LogView", "Dashboard", "PolicyFile", "Policy", "Redirect", "Sandbox", "Wire", "Kernel",
      "Flow",
      "Content", "YAML",
      "ArgumentParser",
    ],
  ]
  private static let freeImports: Set<String> = ["Glibc", "Synchronization"]

  /// Files that may hold unsafe code, each with the rule that makes it sound.
  private static let unsafeFiles: [String: String] = [
    "Wire/Bytes.swift": "pointers are used inside the expression that obtains them",
    "Wire/ChunkedScanner.swift": "a literal's own bytes, for the time of a closure",
    "Flow/FlowState.swift": "as RequestBuffers, whose flow it belongs to",
    "Flow/RequestBuffers.swift": "one flow has it, and the access to that is checked; nothing in it calls out",
    "Gate/Audit/AuditLog.swift": "counters are changed by one loop, in functions that call nothing of others",
    "Sandbox/MappedTree.swift": "a local for the time of a call, and a literal",
    "Gate/Version.swift": "constants of the program and of c-ares",
    "Gate/Session.swift": "one call at a time is let in, and a second stops the process",
    "Gate/Worker.swift": "the conditions change between events alone",
    "Gate/SharedLimits/RedisValue.swift": "hiredis' reader is owned by its class; replies are read before it goes on",
    "Intercept/TLS/OutgoingStream.swift": "a buffer lent for the time of a call",
    "Kernel/Descriptor.swift": "one buffer for strerror_r, for the time of a closure",
    "Kernel/LocalSocket.swift": "C strings, arrays and locals for the time of a call",
    "Kernel/Socket.swift": "the scratch buffer is owned by its class; addresses are locals",
    "Kernel/Datagrams.swift": "two buffers owned by their class, and arrays for the time of a call",
    "Kernel/PipePool.swift": "two descriptors in a tuple",
    "Kernel/Loop.swift": "the event array is owned by its class; calls of the slot table do not nest",
    "Kernel/Mailbox.swift": "eight bytes of a local",
    "Kernel/AppendTarget.swift": "an array's bytes and a local for the time of a call",
    "Kernel/Threads.swift": "a retained box handed to a thread",
    "Kernel/Machine.swift": "locals for the time of a call",
    "Kernel/Environment.swift": "C strings for the time of a call",
    "Kernel/InterfaceAddresses.swift": "an array for the time of a call",
    "Kernel/FileStamp.swift": "a local for the time of a call",
    "Kernel/Netfilter.swift": "an array's bytes and a C string for the time of a call",
    "Kernel/FolderNames.swift": "a folder's stream and its entry's name, until the next entry",
    "Kernel/FileBytes.swift": "an array's own room for the time of a call",
    "Kernel/StandardError.swift": "a slice's bytes for the time of a call",
    "Kernel/StandardPipes.swift": "an array's bytes for the time of a call",
    "Kernel/ServiceManager.swift": "a C string for the time of a call",
    "Kernel/NewFile.swift": "paths and a slice's bytes for the time of a call",
    "Intercept/TLS/OpenSSL.swift": "constants of the libraries",
    "Intercept/TLS/Certificate.swift": "each object is owned by one class, and never changed once made",
    "Intercept/TLS/CertificateAuthority.swift": "objects that live through the call",
    "Intercept/TLS/TLSContext.swift": "owned by its class, set up in init alone",
    "Intercept/TLS/TLSStream.swift": "OpenSSL's object is owned by its class; bytes for the time of a call",
    "Intercept/TLS/UpstreamSessions.swift": "one reference to OpenSSL's object is owned by its class",
    "Intercept/TLS/TrustBundle.swift": "memory of the library, copied and freed",
    "Intercept/TLS/ReadBuffer.swift": "owned by its class; ranges are checked",
    "Intercept/HTTP/SocketStream.swift": "bytes lent for the time of a call",
    "Intercept/HTTP/PlainStream.swift": "a span's own bytes for the time of a call",
    "Intercept/Listener/StreamSocket.swift": "bytes lent for the time of a call",
    "Intercept/Listener/InnerAnswer.swift": "a buffer lent for the time of a call; ranges within what was read",
    "Intercept/Listener/HTTP2ListenerSession.swift": "bytes lent for the time of a call",
    "Intercept/Credentials/Secret.swift": "pages owned by its class, written in init alone",
    "Intercept/Credentials/BlockingTLS.swift": "OpenSSL's object is owned by its class; arrays for the time of a call",
    "Intercept/Credentials/Digest.swift": "arrays for the time of a call, a digest of 32 bytes",
    "Intercept/Credentials/BlockingSocket.swift": "one entry for poll, for the time of the call",
    "Intercept/HTTP/FieldBlock.swift": "bytes that nghttp2 lends for a call, and an array lent to it for one",
    "Intercept/HTTP/HTTP2Session.swift": "nghttp2 calls back only inside calls of the session's owner",
    "Intercept/HTTP/HTTP2Stream.swift": "bytes lent for the time of a call, and counts within them",
    "Intercept/HTTP/HTTP2Bridge+Streams.swift": "bytes lent for the time of a call",
    "Kernel/GrowingFile.swift": "arrays' bytes and a local for the time of a call",
    "Kernel/Terminal.swift": "arrays' bytes and C strings for the time of a call",
    "Kernel/ChildProcess.swift": "arrays' bytes for the time of a call",
    "Gate/Passwords.swift": "C strings that end with NUL, for the time of crypt_rn",
    "Gate/DNS/AresChannel.swift": "c-ares calls back only inside calls made by the channel's owner",
    "Gate/DNS/SystemServers.swift": "a list of c-ares, read before it is freed",
    "Sandbox/GuardedFile.swift": "locals and a C string for the time of a call",
    "Sandbox/JoinedCommand.swift": "an array and a local for the time of a call",
    "Sandbox/StandardFiles.swift": "a buffer for the time of a call",
    "Sandbox/Changes/WorkspaceCopy.swift": "C strings for the time of a call",
    "Sandbox/HostFile.swift": "buffers and locals for the time of a call",
    "Sandbox/Placeholders.swift": "C strings for the time of a call",
    "Sandbox/Aftermath.swift": "a local for the time of a call",
    "Sandbox/Cgroup.swift": "C strings for the time of a call",
    "Sandbox/BlockDevice.swift": "locals for the time of a call",
    "Sandbox/Launch.swift": "arrays and locals for the time of a call; the child works on its own copy",
    "Sandbox/SandboxUsers.swift": "a C string for the time of a call",
    "Sandbox/HostProbeListeners.swift": "a local for the time of a call",
    "Sandbox/Supervisor.swift": "a local for the time of a call",
    "Sandbox/SelfConfinement.swift": "arrays and locals for the time of a call",
    "Sandbox/MachineFeatures.swift": "a local for the time of a call",
    "Content/Text/ByteTable.swift": "256 bytes a table, never freed; each range is checked once, and walked within",
    "Content/Decompress.swift": "one C decoder an object; buffers for the time of a call",
    "Content/HTML/Page.swift":
      "the tree and the text it points into are owned by one class; nodes do not leave its closure",
    "Content/Instructions/PatternSet.swift": "a constant array of C, as long as the function beside it says",
    "Dashboard/PageFile.swift": "constant arrays of C, as long as the functions beside them say",
    "PolicyFile/Profiles/Profiles.swift": "constant arrays of C, as long as the table beside them says",
    "YAML/YAMLDocument.swift": "libyaml's parser is owned by one class",
  ]

  @Test func partsImportWhatTheTableAllows() throws {
    for file in try Repository.swiftFiles(under: "Sources") {
      let part = file.part
      let allowed = try #require(Self.imports[part], "Sources/\(part) is not in the imports table")
      for line in file.lines {
        let words = line.split(separator: " ").drop {
          $0 == "package" || $0 == "public" || $0 == "private" || $0 == "internal"
        }
        guard words.first == "import", let module = words.dropFirst().last else { continue }
        let name = String(module)
        #expect(
          allowed.contains(name) || Self.freeImports.contains(name),
          "\(file.path) imports \(name), which \(part) may not")
      }
    }
  }

  @Test func filesAreShort() throws {
    let files = try ["Sources", "Tests", "Fuzz"].flatMap { try Repository.swiftFiles(under: $0) }
    #expect(files.count > 50)
    for file in files {
      #expect(file.lines.count <= 500, "\(file.path) has \(file.lines.count) lines, the limit is 500")
    }
  }

  @Test func functionsAreShort() throws {
    for file in try Repository.swiftFiles(under: "Sources") {
      for function in Functions.of(file.lines) {
        #expect(function.length <= 70, "\(file.path):\(function.line): \(function.length) lines, the limit is 70")
      }
    }
  }

  /// A comment names the thing: no reader has to look for what "it" is. Only the second sentence of a file's head,
  /// "It relies on", is about the file.
  private static let pronouns = ["Whose", "Who", "One that", "It", "Its", "They", "Their", "Whether", "Those", "These"]
  /// Comments that begin with "What" or "Which"; the figure only goes down.
  private static let questions = 320

  @Test func commentsNameTheThing() throws {
    var questions = 0
    for file in try Repository.files(under: "Sources", withSuffixes: [".swift", ".c", ".h"]) {
      let isReworked = !file.path.hasPrefix("Sources/Flow/") && !file.path.contains("Gate/Connection")
      var isOpen = false
      for (index, line) in file.lines.enumerated() {
        let text = line.drop { $0 == " " }
        defer { isOpen = text.hasPrefix("//") }
        // A line that goes on with a sentence of the line above begins with any word.
        guard text.hasPrefix("//"), !isOpen else { continue }
        let words = text.drop { $0 == "/" || $0 == " " }
        if words.hasPrefix("What ") || words.hasPrefix("Which ") { questions += 1 }
        guard isReworked else { continue }
        for pronoun in Self.pronouns where words.hasPrefix("\(pronoun) ") {
          Issue.record("\(file.path):\(index + 1): a comment begins with \"\(pronoun)\"; name the thing")
        }
      }
    }
    #expect(questions <= Self.questions, "\(questions) comments begin with What or Which")
  }

  @Test func filesSayWhatTheyAre() throws {
    for file in try Repository.swiftFiles(under: "Sources") where !file.path.hasSuffix("Package.swift") {
      #expect(file.lines.first?.hasPrefix("// ") == true, "\(file.path) does not open with what it is")
    }
  }

  @Test func unsafeCodeStandsInTheListedFilesOnly() throws {
    var seen: Set<String> = []
    for file in try Repository.swiftFiles(under: "Sources") {
      let name = String(file.path.dropFirst("Sources/".count))
      let isUnsafe = file.code.contains { line in
        line.contains(word: "unsafe") || line.contains("@unchecked") || line.contains("nonisolated(unsafe)")
          || line.contains("@safe ")
      }
      guard isUnsafe else { continue }
      seen.insert(name)
      #expect(Self.unsafeFiles[name] != nil, "\(file.path) holds unsafe code and is not in the list")
    }
    for name in Self.unsafeFiles.keys { #expect(seen.contains(name), "\(name) is listed without holding unsafe code") }
  }

  @Test func nothingIsForced() throws {
    let forced = try Regex(#"try!|as!|[\w\)\]]!([^=]|$)"#)
    for file in try Repository.swiftFiles(under: "Sources") {
      for (number, line) in file.code.enumerated() {
        let bare = line.withoutStrings
        #expect(bare.firstMatch(of: forced) == nil, "\(file.path):\(number + 1) forces a value: \(line)")
      }
    }
  }

  @Test func aDroppedErrorSaysWhy() throws {
    let dropped = try Regex(#"\btry\?"#)
    for file in try Repository.swiftFiles(under: "Sources") {
      for (index, line) in file.lines.enumerated() where line.firstMatch(of: dropped) != nil && !line.isComment {
        let above = index > 0 ? file.lines[index - 1] : ""
        #expect(line.contains("//") || above.isComment, "\(file.path):\(index + 1) drops an error without a comment")
      }
      for (index, line) in file.lines.enumerated() {
        #expect(!line.contains("catch {}"), "\(file.path):\(index + 1) has an empty catch")
      }
    }
  }

  /// What a request may do is decided by Flow/Judge.swift, and what a refusal comes to by the table of reasons: nothing
  /// else takes a token, asks a rule about a request, or sorts reasons into kinds.
  @Test func requestsAreJudgedInOnePlace() throws {
    let owners = [
      ".take(nowNs:": "Flow/Judge.swift", "inspection.judge(": "Flow/Judge.swift",
      "concurrent.enter(": "Flow/Judge.swift",
      "paceMsMax": "Flow/Judge.swift", "case .notAllowed:": "Flow/ReasonTable.swift",
      "uploadBytes?.reserve": "", "downloadBytes?.reserve": "",
    ]
    for file in try ["Sources/Flow", "Sources/Intercept", "Sources/Gate"].flatMap(Repository.swiftFiles) {
      let name = String(file.path.dropFirst("Sources/".count))
      for (text, owner) in owners where owner != name {
        for (number, line) in file.code.enumerated() where line.contains(text) {
          Issue.record("\(file.path):\(number + 1) has `\(text)`, which is for \(owner.isEmpty ? "no file" : owner)")
        }
      }
    }
  }

  @Test func theProductDoesWithoutFoundation() throws {
    for file in try Repository.swiftFiles(under: "Sources") {
      #expect(
        !file.lines.contains { $0.hasSuffix("import Foundation") || $0.contains("import Dispatch") }, "\(file.path)")
    }
  }
}

// `sluice ca`: the CA that signs for inspected targets, made, shown and handed out.
// It relies on Intercept for the certificates; the key never leaves its file.
import ArgumentParser
import Gate
import Intercept
import Kernel
import Wire

struct CACommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ca",
    abstract: "The CA that signs for inspected targets: make it, look at it, hand its certificate out.",
    subcommands: [Make.self, Show.self, Export.self])

  struct Place: ParsableArguments {
    @Option(
      help: ArgumentHelp(
        "The folder of the CA, as `tls: {ca: …}` of the policy names it. Default: ~/.config/sluice/ca.",
        valueName: "dir"), completion: .directory)
    var folder: String?

    func open() throws -> AuthorityFolder {
      if let folder { return AuthorityFolder(folder) }
      guard let own = AuthorityFolder.own() else {
        throw ValidationError("HOME is not set; name a folder with --folder DIR.")
      }
      return own
    }
  }

  struct Make: ParsableCommand {
    static let configuration = CommandConfiguration(
      commandName: "init", abstract: "Make the CA; the gate does so itself at its first use.",
      discussion: """
        With --permit, the CA can vouch for these names and those below them only,
        for no address and for no e-mail (name constraints, RFC 5280): a stolen key
        can pose as nobody else. Such a CA cannot explain refusals of other names
        inside TLS.
        """)

    @OptionGroup var place: Place
    @Option(help: ArgumentHelp("A name that the CA may vouch for. May repeat.", valueName: "name"))
    var permit: [String] = []
    @Flag(help: "Make a new one in place of the one that is there.") var force = false

    func run() throws {
      var names: [HostName] = []
      for text in permit {
        do throws(HostNameProblem) { names.append(try HostName(text)) } catch {
          throw ValidationError("--permit \(text): \(error).")
        }
      }
      let folder = try place.open()
      try CACommand.saying {
        guard try folder.make(permitted: names, replacing: force) else {
          throw TLSProblem(
            "there is a CA in \(folder.path) already; --force makes a new one, which clients must be told of")
        }
        let authority = try folder.load()
        Messages.say(
          "made \(folder.keyFile), for its owner alone, and \(folder.certificateFile), for whoever shall trust it")
        print(authority.fingerprint)
      }
    }
  }

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Print the CA's certificate in words, and its SHA-256.")

    @OptionGroup var place: Place

    func run() throws {
      let folder = try place.open()
      try CACommand.saying {
        let authority = try folder.load()
        print("\(authority.certificateText)SHA-256: \(authority.fingerprint)")
      }
    }
  }

  struct Export: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Print the CA's certificate in PEM form, for the clients that shall trust it.")

    @OptionGroup var place: Place

    func run() throws {
      let folder = try place.open()
      try CACommand.saying {
        print(String(decoding: try folder.load().certificatePEM, as: UTF8.self), terminator: "")
      }
    }
  }

  private static func saying(_ work: () throws -> Void) throws {
    do { try work() } catch let problem as TLSProblem {
      Messages.say("\(problem)")
      throw ExitCode(2)
    }
  }
}

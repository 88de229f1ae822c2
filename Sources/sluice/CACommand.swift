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
    abstract: "The CA that signs certificates for inspected targets: make, show, export.",
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
      commandName: "init", abstract: "Make the CA. The gate makes it at first use if it is missing.",
      discussion: """
        With --permit, the CA can sign only for these names and the names below them,
        and not for addresses or e-mail (name constraints, RFC 5280): a stolen key
        cannot impersonate other names. Such a CA cannot explain refusals of other
        names inside TLS.
        """)

    @OptionGroup var place: Place
    @Option(help: ArgumentHelp("A name that the CA may sign for. May repeat.", valueName: "name"))
    var permit: [String] = []
    @Flag(help: "Replace an existing CA.") var force = false

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
            "there is a CA in \(folder.path) already; --force replaces it; clients must trust the new one"
          )
        }
        let authority = try folder.load()
        Messages.say(
          "made \(folder.keyFile), for its owner only, and \(folder.certificateFile), for clients to trust"
        )
        print(authority.fingerprint)
      }
    }
  }

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Print the CA's certificate as text, and its SHA-256.")

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
      abstract: "Print the CA's certificate in PEM form, for clients to trust.")

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

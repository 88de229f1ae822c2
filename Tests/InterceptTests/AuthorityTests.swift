// The CA and what it signs: read back with OpenSSL's own eyes, and kept in a folder as the documents say.

import Foundation
import Testing
import Wire

@testable import Intercept

@Suite struct AuthorityTests {
  private static func folder() throws -> String {
    let path = FileManager.default.temporaryDirectory.appending(path: "sluice-ca-\(UUID().uuidString)").path
    return path
  }

  @Test func aLeafIsForOneNameAndNoCA() throws {
    let authority = try CertificateAuthority(label: "test")
    let leaf = try authority.issue(.name(HostName("api.example")), key: PrivateKey())
    #expect(leaf.text.contains("DNS:api.example"))
    #expect(leaf.text.contains("CA:FALSE"))
    #expect(leaf.text.contains("TLS Web Server Authentication"))
    #expect(leaf.text.contains("ecdsa-with-SHA256"))
  }

  @Test func aLeafForAnAddressNamesIt() throws {
    let authority = try CertificateAuthority(label: "test")
    let leaf = try authority.issue(.address(.v4(0x7f00_0001)), key: PrivateKey())
    #expect(leaf.text.contains("IP Address:127.0.0.1"))
  }

  @Test func aNameOf253OctetsIsSignedForToo() throws {
    let long = (0..<4).map { _ in String(repeating: "a", count: 62) }.joined(separator: ".")
    let leaf = try CertificateAuthority(label: "test").issue(.name(HostName(long)), key: PrivateKey())
    #expect(leaf.text.contains("DNS:\(long)"))
  }

  @Test func permittedNamesAreConstraints() throws {
    let authority = try CertificateAuthority(label: "test", permitted: [HostName("corp.example")])
    #expect(authority.certificateText.contains("Name Constraints: critical"))
    #expect(authority.certificateText.contains("DNS:corp.example"))
    // All addresses are excluded, and all e-mail that can exist.
    for line in ["IP:0.0.0.0/0.0.0.0", "IP:0:0:0:0:0:0:0:0/0:0:0:0:0:0:0:0", "email:nobody.invalid"] {
      #expect(authority.certificateText.contains(line))
    }
  }

  @Test func itIsReadBackFromItsFile() throws {
    let authority = try CertificateAuthority(label: "test")
    let again = try CertificateAuthority(pem: authority.pem)
    #expect(again.fingerprint == authority.fingerprint)
    #expect(again.fingerprint.split(separator: ":").count == 32)
  }

  @Test func aKeyThatIsNotTheCertificatesIsRefused() throws {
    let (one, other) = (try CertificateAuthority(label: "one"), try CertificateAuthority(label: "other"))
    #expect(throws: TLSProblem.self) { try CertificateAuthority(pem: PrivateKey().pem + one.certificatePEM) }
    #expect(throws: TLSProblem.self) { try CertificateAuthority(pem: other.certificatePEM) }
    #expect(throws: TLSProblem.self) { try CertificateAuthority(pem: []) }
  }

  @Test func twoThatMakeOneAtOnceEndWithTheSame() async throws {
    let path = try Self.folder()
    defer { try? FileManager.default.removeItem(atPath: path) }
    let prints = await withTaskGroup(of: String.self) { group in
      for _ in 0..<4 { group.addTask { (try? AuthorityFolder(path).loadOrMake().fingerprint) ?? "failed" } }
      return await group.reduce(into: Set<String>()) { $0.insert($1) }
    }
    #expect(prints.count == 1 && !prints.contains("failed"))
  }

  @Test func aKeyThatOthersMayReadIsRefused() throws {
    let path = try Self.folder()
    defer { try? FileManager.default.removeItem(atPath: path) }
    let folder = AuthorityFolder(path)
    _ = try folder.loadOrMake()
    #expect(try FileManager.default.attributesOfItem(atPath: folder.keyFile)[.posixPermissions] as? Int == 0o600)
    try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: folder.keyFile)
    #expect(throws: TLSProblem.self) { try folder.load() }
  }

  @Test func anotherIsMadeOnlyWhenAsked() throws {
    let path = try Self.folder()
    defer { try? FileManager.default.removeItem(atPath: path) }
    let folder = AuthorityFolder(path)
    #expect(try folder.make())
    let first = try folder.load().fingerprint
    #expect(try !folder.make())
    #expect(try folder.load().fingerprint == first)
    #expect(try folder.make(replacing: true))
    #expect(try folder.load().fingerprint != first)
  }

  @Test func leavesAreSignedOnceAndAnewForANewAuthority() throws {
    var cache = LeafCache()
    let (one, other, key) = (
      try CertificateAuthority(label: "1"), try CertificateAuthority(label: "2"), try PrivateKey()
    )
    let host = Host.name(try HostName("api.example"))
    let first = try cache.leaf(for: host, one, key: key, nowMs: 0)
    let again = try cache.leaf(for: host, one, key: key, nowMs: 1000)
    let replaced = try cache.leaf(for: host, other, key: key, nowMs: 1000)
    let renewed = try cache.leaf(for: host, one, key: key, nowMs: 1000)
    let late = try cache.leaf(for: host, one, key: key, nowMs: 4 * 86_400_000)
    #expect(again === first && replaced !== first && late !== renewed)
  }

  @Test func manyNamesFillNoMemory() throws {
    var cache = LeafCache()
    let (authority, key) = (try CertificateAuthority(label: "1"), try PrivateKey())
    let first = try cache.leaf(for: .name(HostName("n0.example")), authority, key: key, nowMs: 0)
    for index in 1...1024 {
      _ = try cache.leaf(for: .name(HostName("n\(index).example")), authority, key: key, nowMs: 0)
    }
    let again = try cache.leaf(for: .name(HostName("n0.example")), authority, key: key, nowMs: 0)
    #expect(again !== first)
  }

  @Test func theJavaStoreBeginsAndEndsAsOne() throws {
    let trust = TrustBundle(try CertificateAuthority(label: "test"))
    #expect(Array(trust.javaStore.prefix(8)) == [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2])
    #expect(trust.bundle.count >= trust.certificate.count)
    #expect(Array(trust.bundle.suffix(trust.certificate.count)) == trust.certificate)
  }
}

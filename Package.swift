// swift-tools-version: 6.2
import PackageDescription

// `package` access does not reach a nested package, so benchmarks and fuzz targets live here. Fuzz targets have no
// `main` (libFuzzer brings it), so they exist only while SLUICE_FUZZ is set: see `make fuzz`.
let fuzzing = Context.environment["SLUICE_FUZZ"] != nil

let strict: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .treatAllWarnings(as: .error),
]
/// The product says `unsafe` where it is; its tests need not.
let product: [SwiftSetting] = strict + [.strictMemorySafety()]

/// Facts that only the build knows: `make release` sets them, and a debug build has none.
let buildFacts: [CSetting] = ["SLUICE_COMMIT", "SLUICE_BUILT_WITH"].compactMap { name in
  Context.environment[name].map { .define(name, to: "\"\($0)\"") }
}

let fuzzed: [SwiftSetting] = [.unsafeFlags(["-sanitize=fuzzer,address", "-parse-as-library"])]

func module(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
  .target(
    name: name, dependencies: dependencies,
    swiftSettings: product + (fuzzing ? [.unsafeFlags(["-sanitize=fuzzer,address"])] : []))
}

func tests(_ name: String, _ dependencies: [Target.Dependency], exclude: [String] = []) -> Target {
  .testTarget(name: "\(name)Tests", dependencies: dependencies, exclude: exclude, swiftSettings: strict)
}

func fuzzTarget(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .executableTarget(
    name: "Fuzz\(name)", dependencies: dependencies + ["FuzzDriver"], path: "Fuzz/\(name)",
    exclude: ["corpus"], swiftSettings: strict + fuzzed,
    linkerSettings: [.unsafeFlags(["-sanitize=fuzzer,address"])])
}

let package = Package(
  name: "sluice",
  products: [
    .executable(name: "sluice", targets: ["sluice"]),
    .library(name: "SluiceContent", targets: ["Content"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0")
  ],
  targets: [
    .target(name: "CLinux"),
    .target(name: "CSandbox"),
    .target(name: "CVersion", cSettings: buildFacts),
    .systemLibrary(name: "CAres", pkgConfig: "libcares", providers: [.apt(["libc-ares-dev"])]),
    .systemLibrary(name: "CYAML", pkgConfig: "yaml-0.1", providers: [.apt(["libyaml-dev"])]),
    .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CNGHTTP2", pkgConfig: "libnghttp2", providers: [.apt(["libnghttp2-dev"])]),
    .systemLibrary(name: "CCrypt", pkgConfig: "libcrypt", providers: [.apt(["libcrypt-dev"])]),
    .systemLibrary(name: "CHiredis", pkgConfig: "hiredis", providers: [.apt(["libhiredis-dev"])]),
    module("Wire"),
    module("Policy", ["Wire"]),
    module("Flow", ["Wire", "Policy"]),
    module("Kernel", ["CLinux"]),
    module("HTTPService", ["Kernel", "Wire"]),
    module("Intercept", ["Kernel", "Wire", "Policy", "Flow", "Content", "COpenSSL", "CNGHTTP2"]),
    module(
      "Gate",
      [
        "HTTPService", "Kernel", "Wire", "Policy", "Flow", "Content", "Intercept", "CAres", "CCrypt", "CHiredis",
        "CVersion",
      ]),
    module("YAML", ["Wire", "CYAML"]),
    .target(name: "CProfiles"),
    module("PolicyFile", ["Policy", "Wire", "YAML", "CProfiles"]),
    module("Redirect", ["Wire"]),
    .systemLibrary(name: "CGumbo", pkgConfig: "gumbo", providers: [.apt(["libgumbo-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "CBrotli", pkgConfig: "libbrotlidec", providers: [.apt(["libbrotli-dev"])]),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
    .target(name: "CContent", dependencies: ["CGumbo"], exclude: ["patterns.yaml"]),
    module("Content", ["Wire", "YAML", "CContent", "CZlib", "CBrotli", "CZstd"]),
    module("LogView", ["Kernel", "Wire", "Policy"]),
    .target(
      name: "CDashboard",
      exclude: [
        "page.html", "page.css", "page.js", "icon.svg", "approvals.html", "approvals.css", "approvals.js",
      ]),
    module("Dashboard", ["HTTPService", "Kernel", "Wire", "Policy", "LogView", "CDashboard"]),
    module("Sandbox", ["Kernel", "CLinux", "CSandbox"]),
    .executableTarget(
      name: "sluice",
      dependencies: [
        "Flow", "Gate", "Intercept", "LogView", "Dashboard", "PolicyFile", "Policy", "Redirect", "Sandbox", "Wire",
        "Kernel",
        "Content", "YAML",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: product),
    tests("Wire", ["Wire"]),
    tests("Policy", ["Policy", "Wire"]),
    tests("PolicyFile", ["PolicyFile", "Policy", "Wire", "YAML"]),
    .target(
      name: "FlowSimulation", dependencies: ["Flow", "Policy", "Wire"], path: "Tests/FlowSimulation",
      swiftSettings: strict + (fuzzing ? [.unsafeFlags(["-sanitize=fuzzer,address"])] : [])),
    tests("Flow", ["Flow", "FlowSimulation", "PolicyFile", "Policy", "Wire"]),
    tests("Kernel", ["Kernel", "CLinux"]),
    .target(
      name: "BridgeSimulation", dependencies: ["Intercept", "Flow", "Kernel", "Policy", "Wire"],
      path: "Tests/BridgeSimulation",
      swiftSettings: strict + (fuzzing ? [.unsafeFlags(["-sanitize=fuzzer,address"])] : [])),
    tests(
      "Intercept", ["Content", "Intercept", "BridgeSimulation", "PolicyFile", "Flow", "Policy", "Wire", "CNGHTTP2"]),
    tests("Gate", ["Gate", "HTTPService", "Kernel", "Flow", "Policy", "Wire"]),
    tests("Content", ["Content"]),
    tests("LogView", ["LogView", "PolicyFile", "Policy", "Kernel", "Wire"]),
    tests("Dashboard", ["Dashboard", "HTTPService", "LogView", "Policy", "Kernel", "Wire"]),
    tests("Redirect", ["Redirect"], exclude: ["golden"]),
    .target(name: "ConfinedTrials", dependencies: ["CSandbox"], path: "Tests/ConfinedTrials"),
    tests("Sandbox", ["Sandbox", "CSandbox", "ConfinedTrials", "Kernel"]),
    tests("Style", ["Policy"]),
  ]
    + (fuzzing
      ? [
        .target(name: "FuzzDriver", path: "Fuzz/Driver", swiftSettings: strict),
        fuzzTarget("HTTPHead", ["Wire"]),
        fuzzTarget("Authority", ["Wire"]),
        fuzzTarget("ClientHello", ["Wire"]),
        fuzzTarget("DNSQuery", ["Wire"]),
        fuzzTarget("SOCKS5", ["Wire"]),
        fuzzTarget("JSONValue", ["Wire"]),
        fuzzTarget("ProxyHeader", ["Wire"]),
        fuzzTarget("RequestPath", ["Wire", "Policy"]),
        fuzzTarget("EchoScrubber", ["Content", "Intercept"]),
        fuzzTarget("LogLine", ["LogView", "Wire"]),
        fuzzTarget("InnerRequest", ["Intercept", "Wire"]),
        fuzzTarget("PolicyFile", ["PolicyFile", "Policy", "Wire"]),
        fuzzTarget("Bridge", ["Intercept", "BridgeSimulation", "PolicyFile", "Policy", "Wire"]),
        fuzzTarget("Content", ["Content"]),
        fuzzTarget("ContentFilter", ["Content", "Intercept", "PolicyFile", "Policy", "Wire"]),
        fuzzTarget("Flow", ["Flow", "FlowSimulation", "PolicyFile", "Policy", "Wire"]),
      ] : []),
  swiftLanguageModes: [.v6]
)

// swift-tools-version: 6.2
import PackageDescription

// A package of its own that uses the content checks as a library: `swift run --package-path Examples/content-library`.
let package = Package(
  name: "content-library",
  dependencies: [.package(name: "sluice", path: "../..")],
  targets: [
    .executableTarget(name: "check", dependencies: [.product(name: "SluiceContent", package: "sluice")])
  ]
)

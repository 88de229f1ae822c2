// The disk that a folder is on, by number, as io.max wants it: the whole one, for the kernel limits no partition.
// It relies on /sys/dev/block, and for file systems with numbers of their own (btrfs) on the mount table.
import CSandbox
import Kernel

package struct BlockDevice: Equatable, Sendable, CustomStringConvertible {
  let major: UInt32
  let minor: UInt32

  package var description: String { "\(major):\(minor)" }

  /// nil where no disk holds it: tmpfs, overlayfs, the network.
  package static func holding(_ folder: String) -> BlockDevice? {
    guard let device = BlockDevice(folder, itself: false) else { return nil }
    if device.major != 0 { return device.whole }
    return device.source(in: TextFile.read("/proc/self/mountinfo")).flatMap { BlockDevice($0, itself: true)?.whole }
  }

  private init?(_ path: String, itself: Bool) {
    var numbers: (UInt32, UInt32) = (0, 0)
    // SAFETY: two locals for the time of the call.
    guard unsafe csandbox_device(path, itself ? 1 : 0, &numbers.0, &numbers.1) == 0 else { return nil }
    (major, minor) = numbers
  }

  init(major: UInt32, minor: UInt32) { (self.major, self.minor) = (major, minor) }

  private var whole: BlockDevice? {
    guard let place = HostFile.realPath("/sys/dev/block/\(self)") else { return nil }
    guard HostFile.kind("\(place)/partition") != .missing else { return self }
    let numbers = TextFile.read("\(place)/../dev").split { $0 == ":" || $0 == "\n" }.compactMap { UInt32($0) }
    return numbers.count == 2 ? BlockDevice(major: numbers[0], minor: numbers[1]) : nil
  }

  /// `36 35 0:31 ROOT PLACE OPTIONS … - btrfs /dev/vda1 …`
  func source(in mounts: String) -> String? {
    for line in mounts.split(separator: "\n") {
      let fields = line.split(separator: " ")
      guard fields.count > 6, fields[2] == "\(self)", let dash = fields.lastIndex(of: "-"), fields.count > dash + 2
      else { continue }
      if fields[dash + 2].hasPrefix("/dev/") { return String(fields[dash + 2]) }
    }
    return nil
  }
}

/// A small file of /proc or /sys.
enum TextFile {
  private static let bytesMax = 1 << 20

  /// Empty where there is none.
  static func read(_ path: String) -> String {
    FileBytes.read(path, bytesMax: bytesMax).map { String(decoding: $0, as: UTF8.self) } ?? ""
  }
}

// Small files are read whole, also those that the kernel makes up as they are read.
import Kernel
import Testing

@Suite struct FileBytesTests {
  @Test func aFileOfProcSysIsReadWhateverTheBound() throws {
    for bytesMax in [4096, 4 << 20, 16 << 20] {
      let bytes = try #require(FileBytes.read("/proc/sys/kernel/osrelease", bytesMax: bytesMax))
      #expect(bytes.count > 1 && bytes.last == UInt8(ascii: "\n"))
    }
  }

  @Test func aFileThatIsLongerThanTheBoundIsNotRead() {
    #expect(FileBytes.read("/proc/sys/kernel/osrelease", bytesMax: 1) == nil)
  }
}

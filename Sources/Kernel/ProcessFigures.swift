// Use of the machine by this process: memory, descriptors, CPU time.
// It relies on files of /proc that are opened at the start, before the process gives up opening any.
import CLinux

package final class ProcessFigures {
  private let memory: Descriptor
  private let descriptors: Descriptor
  package let openFilesMax: UInt64

  package init() throws(SystemError) {
    memory = try Self.descriptor(clinux_open_memory_figures(), "open /proc/self/statm")
    descriptors = try Self.descriptor(clinux_open_descriptor_folder(), "open /proc/self/fd")
    openFilesMax = clinux_open_files_max()
  }

  private static func descriptor(_ fd: CInt, _ stage: String) throws(SystemError) -> Descriptor {
    guard fd >= 0 else { throw SystemError(stage, code: -fd) }
    return Descriptor(owning: fd)
  }

  /// Each figure is 0 if the kernel does not tell.
  package var residentBytes: UInt64 { clinux_resident_bytes(memory.raw) }
  package var openFiles: UInt64 { clinux_descriptor_count(descriptors.raw) }
  package var cpuNs: UInt64 { clinux_cpu_ns() }
}

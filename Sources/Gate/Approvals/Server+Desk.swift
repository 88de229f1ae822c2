// A gate that is a part of another process, and can be asked all the same: its admin socket is served in turns, which
// that process gives it. It relies on the process to wait for `deskFD`, and to be the one that calls the rest too.
import Kernel

extension Server {
  /// Before `start`. Without a path nobody can ask, but what happens is written down.
  package func openDesk(at path: String?) throws(ServerError) {
    let main: MainLoop
    do throws(SystemError) { main = try MainLoop(shared, takesSignals: false) } catch { throw .cannotStart(error) }
    main.onApproval = { [unowned self] in noteApproval($0) }
    try serveDesk(main, at: path)
  }

  /// Readable when `turnDesk` has something to do; -1 without a desk.
  package var deskFD: CInt { main?.loop.fd ?? -1 }

  private static let turnsMax = 64

  /// Does what has come, and waits for nothing. A connection writes its answer in a turn of its own, of which `deskFD`
  /// does not tell.
  package func turnDesk() {
    guard let main else { return }
    for _ in 0..<Self.turnsMax {
      _ = main.wait(msMax: 0)
      if !main.loop.hasQueued { return }
    }
  }
}

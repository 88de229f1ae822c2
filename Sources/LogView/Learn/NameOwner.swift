// The part of a host name that its owner has registered: what a reader should look at first.
// It relies on NameParts, which has no list of all public suffixes.
package import Wire

package enum NameOwner {
  /// The end of the name; the whole name where it is no longer than that.
  package static func text(of name: HostName) -> String { NameParts.registrable("\(name)") }
}

// A page as gumbo parsed it: its nodes, read only, each alive as long as the page.
// It relies on the page keeping its own copy of the text, which the tree points into, and on freeing all of it at once.
import CContent

@safe final class Page {
  private let text: UnsafeMutableBufferPointer<CChar>
  private let page: OpaquePointer

  /// Nil when the tree would take more than `memoryMax` bytes.
  init?(_ bytes: [UInt8], memoryMax: Int) {
    // SAFETY: the copy is owned by this object and freed after the tree that points into it.
    unsafe text = .allocate(capacity: max(bytes.count, 1))
    for (place, byte) in bytes.enumerated() { unsafe text[place] = CChar(bitPattern: byte) }
    guard let parsed = unsafe ccontent_parse(text.baseAddress, bytes.count, memoryMax) else {
      unsafe text.deallocate()
      return nil
    }
    unsafe page = parsed
  }

  deinit {
    unsafe ccontent_free(page)
    unsafe text.deallocate()
  }

  /// Calls `body` with the document; no node may leave it.
  func withDocument<Result>(_ body: (PageNode) -> Result) -> Result {
    // SAFETY: self, and so the tree, lives through the call.
    guard let document = unsafe ccontent_document(page) else { preconditionFailure("gumbo always makes a document") }
    return withExtendedLifetime(self) { body(unsafe PageNode(document)) }
  }
}

/// One node. Only valid inside of `withDocument`.
@safe struct PageNode {
  private let node: UnsafePointer<GumboNode>

  fileprivate init(_ node: UnsafePointer<GumboNode>) { unsafe self.node = unsafe node }

  func child(_ index: Int) -> PageNode? { unsafe ccontent_child(node, index).map { unsafe PageNode($0) } }

  /// The text of a text node.
  var text: [UInt8]? { isComment ? nil : content }
  var comment: [UInt8]? { isComment ? content : nil }

  private var isComment: Bool { unsafe node.pointee.type == GUMBO_NODE_COMMENT }

  private var content: [UInt8]? {
    // SAFETY: gumbo ends each text with NUL, and a NUL of the page never stands in one.
    guard let text = unsafe ccontent_text(node) else { return nil }
    return unsafe Array(UnsafeRawBufferPointer(start: text, count: Self.length(text)))
  }

  var hasAttributes: Bool { unsafe ccontent_has_attributes(node) != 0 }

  func attribute(_ name: String) -> String? {
    // SAFETY: as above, for values.
    guard let value = unsafe ccontent_attribute(node, name) else { return nil }
    return unsafe String(cString: value)
  }

  /// The tag in lower case; empty for a node that is no element.
  var tag: String {
    let tag = unsafe ccontent_tag(node)
    if tag != GUMBO_TAG_UNKNOWN { return unsafe String(cString: gumbo_normalized_tagname(tag)) }
    var length = 0
    // SAFETY: the name stands in the page's own text, with the length that C gives.
    guard let name = unsafe ccontent_tag_name(node, &length), length > 0, length < 64 else { return "" }
    return unsafe String(decoding: UnsafeRawBufferPointer(start: name, count: length), as: UTF8.self).lowercased()
  }

  /// True if it is of HTML rather than of svg or math.
  var isHTML: Bool { unsafe ccontent_is_html(node) != 0 }

  private static func length(_ text: UnsafePointer<CChar>) -> Int {
    var length = 0
    while unsafe text[length] != 0 { length += 1 }
    return length
  }
}

// Reads YAML text into a tree with libyaml, and turns its errors into problems that say what to write.
// It relies on the parser being owned by this file's one class, and on each event being deleted where it was made.
import CYAML

package enum YAMLDocument {
  /// Deeper nesting means nothing in any file of ours, and only costs stack.
  static let depthMax = 12
  static let bytesMax = 16 << 20

  /// The version of libyaml.
  package static var libraryVersion: String {
    // SAFETY: a string literal of the library.
    unsafe String(cString: yaml_get_version_string())
  }

  /// The root of the only document; nil when there is none or it is broken, which is then in `findings`.
  /// `file`: its number in `findings`.
  package static func parse(_ bytes: [UInt8], _ findings: Findings, file: Int = 0) -> YAMLNode? {
    let start = Mark(line: 1, column: 1, file: file)
    guard bytes.count <= bytesMax else {
      findings.problem(start, "the file is larger than 16 MiB; split it by client or use wildcards")
      return nil
    }
    if let (mark, text) = TextEncoding.problem(bytes, file: file) {
      findings.problem(mark, text)
      return nil
    }
    guard let parser = YAMLParser(bytes, file: file) else {
      findings.problem(start, "out of memory")
      return nil
    }
    var builder = TreeBuilder(findings: findings)
    while true {
      switch parser.next() {
      case .failure(let error):
        let (mark, text) = error.advice(in: bytes)
        findings.problem(mark, text)
        return nil
      case .success(.end): return builder.root
      case .success(let event): guard builder.add(event) else { return nil }
      }
    }
  }
}

/// One step of the parser, with the text copied out of libyaml's memory.
enum YAMLEvent {
  case other
  case documentStart(Mark)
  case scalar(String, isPlain: Bool, Mark)
  case sequenceStart(Mark)
  case mappingStart(Mark)
  case containerEnd
  case unwanted(String, Mark)
  case end
}

/// libyaml's parser over bytes that it keeps alive.
@safe private final class YAMLParser {
  private let parser: UnsafeMutablePointer<yaml_parser_t>
  private let input: UnsafeMutableBufferPointer<UInt8>
  private let file: Int

  init?(_ bytes: [UInt8], file: Int) {
    self.file = file
    // SAFETY: both allocations are owned by this object and freed once, in deinit; libyaml reads only `input`.
    unsafe input = .allocate(capacity: max(bytes.count, 1))
    _ = unsafe input.initialize(from: bytes)
    unsafe parser = .allocate(capacity: 1)
    guard unsafe yaml_parser_initialize(parser) == 1 else {
      unsafe input.deallocate()
      unsafe parser.deallocate()
      return nil
    }
    unsafe yaml_parser_set_input_string(parser, input.baseAddress, bytes.count)
    unsafe yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
  }

  deinit {
    unsafe yaml_parser_delete(parser)
    unsafe parser.deallocate()
    unsafe input.deallocate()
  }

  func next() -> Result<YAMLEvent, YAMLSyntaxError> {
    var event = unsafe yaml_event_t()
    guard unsafe yaml_parser_parse(parser, &event) == 1 else { return .failure(syntaxError()) }
    defer { unsafe yaml_event_delete(&event) }
    return .success(unsafe value(of: event))
  }

  /// SAFETY: the event is alive; every text is copied before it is deleted.
  private func value(of event: yaml_event_t) -> YAMLEvent {
    let mark = unsafe mark(event.start_mark)
    switch unsafe event.type {
    case YAML_STREAM_END_EVENT: return .end
    case YAML_DOCUMENT_START_EVENT: return .documentStart(mark)
    case YAML_SEQUENCE_END_EVENT, YAML_MAPPING_END_EVENT: return .containerEnd
    case YAML_ALIAS_EVENT:
      return .unwanted("a text that begins with * stands in quotes: \"*\" (YAML aliases are not supported)", mark)
    case YAML_SEQUENCE_START_EVENT:
      let start = unsafe event.data.sequence_start
      if unsafe start.anchor != nil || start.tag != nil { return tagged(mark) }
      return .sequenceStart(mark)
    case YAML_MAPPING_START_EVENT:
      let start = unsafe event.data.mapping_start
      if unsafe start.anchor != nil || start.tag != nil { return tagged(mark) }
      return .mappingStart(mark)
    case YAML_SCALAR_EVENT:
      let scalar = unsafe event.data.scalar
      if unsafe scalar.anchor != nil || scalar.tag != nil { return tagged(mark) }
      let bytes = unsafe UnsafeBufferPointer(start: scalar.value, count: scalar.length)
      let text = unsafe String(decoding: bytes, as: UTF8.self)
      return .scalar(text, isPlain: unsafe scalar.style == YAML_PLAIN_SCALAR_STYLE, mark)
    default: return .other
    }
  }

  private func tagged(_ mark: Mark) -> YAMLEvent {
    .unwanted("YAML anchors and tags (& and !) are not supported; write the value in each place", mark)
  }

  private func mark(_ mark: yaml_mark_t) -> Mark {
    Mark(line: Int(mark.line) + 1, column: Int(mark.column) + 1, file: file)
  }

  private func syntaxError() -> YAMLSyntaxError {
    // SAFETY: libyaml's messages are C literals.
    let problem = unsafe parser.pointee.problem.map { unsafe String(cString: $0) } ?? "cannot be read"
    let context = unsafe parser.pointee.context.map { unsafe String(cString: $0) } ?? ""
    return YAMLSyntaxError(
      mark: unsafe mark(parser.pointee.problem_mark), contextMark: unsafe mark(parser.pointee.context_mark),
      context: context, problem: problem)
  }
}

/// Puts events together; its stack is bounded by `depthMax`.
private struct TreeBuilder {
  private struct Open {
    var mark: Mark
    var isMapping: Bool
    var items: [YAMLNode] = []

    var node: YAMLNode {
      guard isMapping else { return YAMLNode(content: .sequence(items), mark: mark) }
      let pairs = stride(from: 0, to: items.count - 1, by: 2).map { (key: items[$0], value: items[$0 + 1]) }
      return YAMLNode(content: .mapping(pairs), mark: mark)
    }
  }

  let findings: Findings
  private var stack: [Open] = []
  private var documents = 0
  private(set) var root: YAMLNode?

  init(findings: Findings) { self.findings = findings }

  /// False when reading on makes no sense; why is in `findings`.
  mutating func add(_ event: YAMLEvent) -> Bool {
    switch event {
    case .other, .end: return true
    case .documentStart(let mark):
      documents += 1
      if documents > 1 { findings.problem(mark, "a second YAML document; this file has one: remove the `---`") }
      return documents == 1
    case .scalar(let text, let isPlain, let mark):
      place(YAMLNode(content: .scalar(text, isPlain: isPlain), mark: mark))
      return true
    case .unwanted(let text, let mark):
      findings.problem(mark, text)
      return false
    case .sequenceStart(let mark): return open(Open(mark: mark, isMapping: false))
    case .mappingStart(let mark): return open(Open(mark: mark, isMapping: true))
    case .containerEnd:
      if let done = stack.popLast() { place(done.node) }
      return true
    }
  }

  private mutating func open(_ container: Open) -> Bool {
    guard stack.count < YAMLDocument.depthMax else {
      findings.problem(
        container.mark,
        "mappings and lists are nested more than \(YAMLDocument.depthMax) deep; remove brackets or indentation")
      return false
    }
    stack.append(container)
    return true
  }

  private mutating func place(_ node: YAMLNode) {
    if stack.isEmpty { root = node } else { stack[stack.count - 1].items.append(node) }
  }
}

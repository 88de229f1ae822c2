// Writing of request and response heads: forwarded field lines, framing, Via.
// It relies on `HeadLines` having read the very bytes that are passed again.

extension HeadLines {
  /// Appends the field lines that `keeps` wants and that Connection does not nominate, neighbours in one copy. One that
  /// was read leniently is written in its one reading.
  @inline(__always)
  func appendEndToEnd(_ bytes: Span<UInt8>, to out: inout [UInt8], keeps: (FieldKind) -> Bool) {
    var run = 0..<0
    for index in 0..<count {
      let field = self[index]
      guard !field.isNominated, keeps(field.kind) else { continue }
      if field.isLenient {
        out.append(bytes.extracting(run))
        run = 0..<0
        HeadLines.appendAnew(field, bytes, to: &out)
        continue
      }
      if field.line.lowerBound == run.upperBound, !run.isEmpty {
        run = run.lowerBound..<field.line.upperBound
        continue
      }
      out.append(bytes.extracting(run))
      run = field.line
    }
    out.append(bytes.extracting(run))
  }

  private static func appendAnew(_ field: FieldLine, _ bytes: Span<UInt8>, to out: inout [UInt8]) {
    out.append(bytes.extracting(field.name))
    out.append(": ")
    appendUnfolded(bytes, field.value, to: &out)
    out.append("\r\n")
  }

  /// RFC 9112 section 5.2: each fold, with the blanks around it, becomes one space.
  static func appendUnfolded(_ bytes: Span<UInt8>, _ value: Range<Int>, to out: inout [UInt8]) {
    let start = out.count
    var isBehindFold = false
    for index in value {
      let byte = bytes[index]
      if byte == .carriageReturn || byte == .lineFeed {
        while out.count > start, out[out.count - 1].isBlank { out.removeLast() }
        isBehindFold = true
      } else if !isBehindFold || !byte.isBlank {
        if isBehindFold { out.append(UInt8.space) }
        isBehindFold = false
        out.append(byte)
      }
    }
  }
}

func appendFraming(_ body: BodyLength, to out: inout [UInt8]) {
  switch body {
  case .none, .untilClose: return
  case .chunked: out.append("Transfer-Encoding: chunked\r\n")
  case .length(let length):
    out.append("Content-Length: ")
    appendDecimal(length, to: &out)
    out.append("\r\n")
  }
}

/// RFC 9110 section 7.6.3: the version is the one in which the message was received.
func appendVia(minorVersion: UInt8, to out: inout [UInt8]) {
  if minorVersion == 0 { out.append("Via: 1.0 sluice\r\n") } else { out.append("Via: 1.1 sluice\r\n") }
}

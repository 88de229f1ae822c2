// The files that the page is made of: their bytes, and what they are sent as.
// It relies on CDashboard, which has them out of Sources/CDashboard when it is compiled.
import CDashboard

enum PageFile: CaseIterable {
  case html, css, js, icon
  case approvalsHTML, approvalsCSS, approvalsJS

  /// Of the page of approvals, which is there with a gate alone.
  var isOfApprovals: Bool {
    switch self {
    case .html, .css, .js, .icon: false
    case .approvalsHTML, .approvalsCSS, .approvalsJS: true
    }
  }

  var isPage: Bool { self == .html || self == .approvalsHTML }

  var path: String {
    switch self {
    case .html: "/"
    case .css: "/page.css"
    case .js: "/page.js"
    case .icon: "/icon.svg"
    case .approvalsHTML: ApprovalRequest.path
    case .approvalsCSS: "/approvals.css"
    case .approvalsJS: "/approvals.js"
    }
  }

  var type: String {
    switch self {
    case .html, .approvalsHTML: "text/html; charset=utf-8"
    case .css, .approvalsCSS: "text/css; charset=utf-8"
    case .js, .approvalsJS: "text/javascript; charset=utf-8"
    case .icon: "image/svg+xml"
    }
  }

  var bytes: [UInt8] {
    var length = 0
    // SAFETY: a constant array of that many bytes, which lives as long as the program.
    let start = unsafe start(&length)
    return unsafe Array(UnsafeBufferPointer(start: start, count: length))
  }

  private func start(_ length: inout Int) -> UnsafePointer<UInt8>? {
    switch self {
    case .html: unsafe cdashboard_html(&length)
    case .css: unsafe cdashboard_css(&length)
    case .js: unsafe cdashboard_js(&length)
    case .icon: unsafe cdashboard_icon(&length)
    case .approvalsHTML: unsafe cdashboard_approvals_html(&length)
    case .approvalsCSS: unsafe cdashboard_approvals_css(&length)
    case .approvalsJS: unsafe cdashboard_approvals_js(&length)
    }
  }
}

// What a path says of the folder that it stands in.

import Kernel
import Testing

@Suite struct FilePathTests {
  @Test(arguments: [
    ("/a/b", "/a", "b"), ("/a", "/", "a"), ("a", ".", "a"), ("a/b", "a", "b"), ("/", "/", ""), ("", ".", ""),
    ("./a", ".", "a"), ("/a/e\u{301}", "/a", "e\u{301}"), ("/a/\u{301}b", "/a", "\u{301}b"),
  ])
  func aPathHasAFolderAndALastPart(path: String, folder: String, last: String) {
    #expect(path.folderOfPath.utf8.elementsEqual(folder.utf8) && path.lastPathPart.utf8.elementsEqual(last.utf8))
  }

  @Test func aFolderHoldsWhatStandsBelowIt() {
    for (path, folder) in [("/a/b", "/a"), ("/a", "/"), ("/a/b/c", "/a"), ("/a/\u{301}", "/a")] {
      #expect(path.isBelow(folder) && path.isAtOrBelow(folder) && !folder.isBelow(path))
    }
    for (path, folder) in [("/ab", "/a"), ("/", "/"), ("/a", "/a"), ("/\u{e9}/b", "/e\u{301}")] {
      #expect(!path.isBelow(folder))
    }
    #expect("/a".isAtOrBelow("/a") && "/".isAtOrBelow("/"))
  }
}

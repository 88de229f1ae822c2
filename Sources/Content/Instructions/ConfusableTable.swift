// Letters that stand for an ASCII letter or digit: accented, styled, or only alike. Printed by Tools/confusables, which
// names the sources. It relies on nothing; a dot means that the letter stands for itself.

enum ConfusableTable {
  /// Each range by its first code point; one character a code point.
  static let ranges: [(first: UInt32, bases: StaticString)] = [
    (0x80, "..........................................a.......23.m...1o.....aaaaaa.ceeeeiiiidnooooo.ouuuuyps"),
    (0xe0, "aaaaaa.ceeeeiiiidnooooo.ouuuuypyaaaaaaccccccccddddeeeeeeeeeegggggggghhhhiiiiiiiiii..jjkkklllllll"),
    (0x140, "liinnnnnn.nnoooooo..rrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzf....bb....d....eeff...i.kk..w..."),
    (0x1a0, "oo....r........uu.u..zz.........i............aaiioouuuuuuuuuu.aaaa....ggkkoooo..j...gg..nnaa..oo"),
    (0x200, "aaaaeeeeiiiioooorrrruuuusstt..hh......aaeeooooooooyy.................a...........a.....d.e.e...."),
    (0x260, ".gg......ii..i.w.m..n.........r.r.s........u...yz........b..hj.i................h.jr...wy......."),
    (0x2c0, ".................................lsx............................................................"),
    (0x320, "............................................................................................c..j"),
    (0x380, "......a.eni.o.uwiaby.e.n.ik.mv.o.p.otu.x.wiuaeniuaby.e.n.ik.mv.o.p.otu.x.wiuouw.b.uuu..........."),
    (0x3e0, "................kpcj.e...c....c.ee.resiij...k.y.a.br.e....k.mhonpcty.xu.ww..b...a.br.e....k.mhon"),
    (0x440, "pcty.xu.ww..b...ee.resiij...k.y.....................vvvv........................rrff............"),
    (0x4a0, "..............yy..xx......hhee..i..............iaaaa..ee..............oooooo..yyyyyy............"),
    (0x500, "dd........................qqww...................w.q..q.........h.......n....u...g...o.........."),
    (0x560, ".w.q..q.........h.......n....u...g...o.........."),
    (0x1d00, "a..bcd.e..jk.m.o........p..tu...vwz...r.....a.b.de.ghijklmn.o.prtuwa.a.bdeee.g.kmno...ptu.wv.by."),
    (0x1d60, ".xiruvbyp.x.............h...................................c.d.f.g..ii.ji.im...n..s....uu.zz..."),
    (0x1dc0, "................................................................aabbbbbbccddddddddddeeeeeeeeeeff"),
    (0x1e20, "gghhhhhhhhhhiiiikkkkkkllllllllmmmmmmnnnnnnnnoooooooopppprrrrrrrrssssssssssttttttttuuuuuuuuuuvvvv"),
    (0x1e80, "wwwwwwwwwwxxxxyyzzzzzzhtwy.s..s.aaaaaaaaaaaaaaaaaaaaaaaaeeeeeeeeeeeeeeeeiiiioooooooooooooooooooo"),
    (0x1ee0, "oooouuuuuuuuuuuuuuyyyyyyyy......"),
    (0x2070, "0i..456789.....n0123456789......aeoxehklmnpst..."),
    (0x2100, "..cc...e.fghhhhhiill.n...pqrrr......z.w.z.kabc.eef.mo....i...yy......ddeij.....................1"),
    (0x2160, "i...v....x..icdmi...v....x..icdm................"),
    (0x2460, "123456789...........123456789...........123456789...........abcdefghijklmnopqrstuvwxyzabcdefghij"),
    (0x24c0, "klmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz0....................."),
  ]
}

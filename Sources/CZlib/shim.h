#include <zlib.h>

// inflateInit2 is a macro, which Swift does not see. 47: zlib or gzip, whichever the head says; -15: deflate without a head.
static inline int czlib_inflate_init(z_stream *stream, int window_bits) { return inflateInit2(stream, window_bits); }

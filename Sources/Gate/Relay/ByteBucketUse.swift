// A byte bucket as one pump uses it: reserve before a read, give back what was not read.
// Without a bucket everything is granted; report mode uses none.
import Policy

struct ByteBucketUse {
  let bucket: ByteBucket?
  let nowNs: UInt64

  func reserve(upTo count: Int) -> ByteBucket.Grant {
    bucket?.reserve(upTo: count, nowNs: nowNs) ?? ByteBucket.Grant(granted: count)
  }

  func refund(_ count: Int) {
    if count > 0 { bucket?.refund(count) }
  }
}

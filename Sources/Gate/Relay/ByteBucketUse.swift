// A byte bucket as one pump uses it: reserve before a read, give back what was not read.
// Without a bucket everything is granted; report mode uses none.
import Policy

struct ByteBucketUse {
  let bucket: ByteBucket?
  let nowNs: UInt64

  func reserve(upTo count: Int) -> (granted: Int, retryAfterNs: UInt64) {
    guard let bucket else { return (count, 0) }
    let reserved = bucket.reserve(upTo: count, nowNs: nowNs)
    return (reserved.granted, reserved.retryAfterNs)
  }

  func refund(_ count: Int) {
    if count > 0 { bucket?.refund(count) }
  }
}

//! What was asked of a store, in numbers.

/// Requests and bytes since the bucket was opened. On S3 every HTTP request counts, retries and pages included;
/// elsewhere every operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Requests {
    /// Reads of objects.
    pub get: u64,
    /// Creates and writes.
    pub put: u64,
    /// Pages of listings.
    pub list: u64,
    /// Looks at an object's size.
    pub head: u64,
    /// Deletes.
    pub delete: u64,
    /// Requests for credentials, and about a bucket or an upload as a whole.
    pub other: u64,
    /// Attempts that followed a failed one.
    pub retried: u64,
    /// Bytes of bodies sent.
    pub bytes_up: u64,
    /// Bytes of bodies received.
    pub bytes_down: u64,
}

impl Requests {
    /// Requests of every kind.
    pub fn all(&self) -> u64 {
        self.get + self.put + self.list + self.head + self.delete + self.other
    }

    /// What was made since an earlier count.
    pub fn since(&self, before: &Requests) -> Requests {
        Requests {
            get: self.get - before.get,
            put: self.put - before.put,
            list: self.list - before.list,
            head: self.head - before.head,
            delete: self.delete - before.delete,
            other: self.other - before.other,
            retried: self.retried - before.retried,
            bytes_up: self.bytes_up - before.bytes_up,
            bytes_down: self.bytes_down - before.bytes_down,
        }
    }
}

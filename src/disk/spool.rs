//! Records that may be more than fit in memory: first all are written, then each is read once, in the same order. They
//! stay in memory while they are few, then go to a temporary file that nobody else sees.

use crate::runtime::limits::SPOOL_BYTES;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use tempfile::SpooledTempFile;

/// What is written or read of the file at once.
const BUFFER_BYTES: usize = 64 << 10;
/// Each record is preceded by its length.
const LENGTH_BYTES: usize = size_of::<u32>();

/// Records being written.
pub struct Spool {
    out: BufWriter<SpooledTempFile>,
    records: u64,
    bytes: u64,
}

impl Spool {
    /// An empty spool; when it grows, its file lies in `spill`.
    pub fn new(spill: &Path) -> Spool {
        let file = tempfile::spooled_tempfile_in(SPOOL_BYTES, spill);
        Spool { out: BufWriter::with_capacity(BUFFER_BYTES, file), records: 0, bytes: 0 }
    }

    /// Adds the next record.
    pub fn push(&mut self, record: &[u8]) -> io::Result<()> {
        let length = u32::try_from(record.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(record)?;
        self.records += 1;
        self.bytes += (LENGTH_BYTES + record.len()) as u64;
        Ok(())
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Turns to reading.
    pub fn read(self) -> io::Result<SpoolReader> {
        let mut file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(SpoolReader { input: BufReader::with_capacity(BUFFER_BYTES, file), left: self.records })
    }
}

/// Records being read.
pub struct SpoolReader {
    input: BufReader<SpooledTempFile>,
    left: u64,
}

impl SpoolReader {
    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The next record.
    #[allow(clippy::should_implement_trait, reason = "reading a temporary file may fail")]
    pub fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut length = [0; LENGTH_BYTES];
        self.input.read_exact(&mut length)?;
        let mut record = vec![0; u32::from_le_bytes(length) as usize];
        self.input.read_exact(&mut record)?;
        self.left -= 1;
        Ok(Some(record))
    }
}

#[cfg(test)]
mod tests {
    use super::{SPOOL_BYTES, Spool};

    #[test]
    fn records_come_back_in_order_from_memory_and_from_the_file() {
        let spill = tempfile::tempdir().unwrap();
        let record = |number: usize, bytes: usize| vec![number as u8; number % 3 * bytes];
        for (records, bytes) in [(0, 0), (300, 1), (300, SPOOL_BYTES / 100)] {
            let mut spool = Spool::new(spill.path());
            (0..records).for_each(|number| spool.push(&record(number, bytes)).unwrap());
            let whole: usize = (0..records).map(|number| 4 + record(number, bytes).len()).sum();
            assert_eq!((spool.records(), spool.bytes()), (records as u64, whole as u64));
            let mut reader = spool.read().unwrap();
            for number in 0..records {
                assert!(!reader.is_empty());
                assert!(reader.next().unwrap() == Some(record(number, bytes)), "{number} of {bytes} bytes");
            }
            assert!(reader.is_empty() && reader.next().unwrap().is_none());
        }
        assert_eq!(std::fs::read_dir(spill.path()).unwrap().count(), 0, "its file has no name");
    }
}

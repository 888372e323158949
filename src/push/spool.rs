//! Captured changes between reading and committing: in memory while they are few, then in a temporary file.

use super::batch::Captured;
use crate::runtime::limits;
use crate::vault::entry::Record;
use crate::vault::index::{FullNames, IndexError, put_indexed, read_indexed};
use crate::vault::record::{put_record, read_body};
use crate::vault::wire::{FormatError, Reader};
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use tempfile::SpooledTempFile;

const UPSERT: u8 = 1;
const PATCH: u8 = 2;
const DELETE: u8 = 3;
const REFRESH: u8 = 4;

/// Writes the spool.
pub struct SpoolWriter {
    out: BufWriter<SpooledTempFile>,
    bytes: u64,
    items: u64,
}

impl SpoolWriter {
    /// Starts an empty spool; when it grows, its file lies in `spill`.
    pub fn new(spill: &Path) -> SpoolWriter {
        let file = tempfile::spooled_tempfile_in(limits::SPOOL_BYTES, spill);
        SpoolWriter { out: BufWriter::with_capacity(64 << 10, file), bytes: 0, items: 0 }
    }

    /// Adds a change.
    pub fn push(&mut self, captured: &Captured) -> Result<(), IndexError> {
        let mut out = vec![0; 4];
        let (tag, indexed) = match captured {
            Captured::Upsert(indexed) => (UPSERT, indexed),
            Captured::Patch(indexed, _) => (PATCH, indexed),
            Captured::Delete(indexed) => (DELETE, indexed),
            Captured::Refresh(indexed) => (REFRESH, indexed),
        };
        out.push(tag);
        put_indexed(&mut out, &[], indexed);
        if let Captured::Patch(_, patch) = captured {
            put_record(&mut out, &[], &Record::Patch((**patch).clone()), &mut FullNames);
        }
        let length = (out.len() - 4) as u32;
        out[..4].copy_from_slice(&length.to_le_bytes());
        self.out.write_all(&out)?;
        self.bytes += out.len() as u64;
        self.items += 1;
        Ok(())
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.bytes
    }

    /// Turns to reading.
    pub fn read(self) -> Result<SpoolReader, IndexError> {
        let mut file = self.out.into_inner().map_err(|error| IndexError::Io(error.into_error()))?;
        file.seek(SeekFrom::Start(0))?;
        Ok(SpoolReader { input: BufReader::with_capacity(64 << 10, file), left: self.items })
    }
}

/// Reads the spool, once.
pub struct SpoolReader {
    input: BufReader<SpooledTempFile>,
    left: u64,
}

impl SpoolReader {
    /// The next change.
    pub fn next(&mut self) -> Result<Option<Captured>, IndexError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let mut length = [0; 4];
        self.input.read_exact(&mut length)?;
        let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
        self.input.read_exact(&mut bytes)?;
        let mut reader = Reader::new(&bytes);
        let tag = reader.byte("a change")?;
        let indexed = Box::new(read_indexed(&mut reader, &[])?);
        Ok(Some(match tag {
            UPSERT => Captured::Upsert(indexed),
            DELETE => Captured::Delete(indexed),
            REFRESH => Captured::Refresh(indexed),
            PATCH => {
                let op = reader.byte("a change")?;
                let _shared = reader.varint("a change")?;
                let _suffix = reader.bytes("a change")?;
                let body = reader.bytes("a change")?;
                match read_body(op, indexed.entry.path.clone(), body, &FullNames)? {
                    Record::Patch(patch) => Captured::Patch(indexed, Box::new(patch)),
                    _ => return Err(FormatError::Invalid("a change is not a patch").into()),
                }
            }
            _ => return Err(FormatError::Invalid("a change has an unknown kind").into()),
        }))
    }
}

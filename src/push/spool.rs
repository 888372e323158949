//! Captured changes between reading and committing.

use super::batch::Captured;
use crate::disk::{Spool, SpoolReader};
use crate::vault::entry::Record;
use crate::vault::index::{FullNames, IndexError, put_indexed, read_indexed};
use crate::vault::record::{put_record, read_body};
use crate::vault::wire::{FormatError, Reader};
use std::path::Path;

const UPSERT: u8 = 1;
const PATCH: u8 = 2;
const DELETE: u8 = 3;
const REFRESH: u8 = 4;

/// Changes being written.
pub struct ChangeSpool(Spool);

impl ChangeSpool {
    /// None yet; many go to a temporary file in `spill`.
    pub fn new(spill: &Path) -> ChangeSpool {
        ChangeSpool(Spool::new(spill))
    }

    /// Adds a change.
    pub fn push(&mut self, captured: &Captured) -> Result<(), IndexError> {
        let (tag, indexed) = match captured {
            Captured::Upsert(indexed) => (UPSERT, indexed),
            Captured::Patch(indexed, _) => (PATCH, indexed),
            Captured::Delete(indexed) => (DELETE, indexed),
            Captured::Refresh(indexed) => (REFRESH, indexed),
        };
        let mut out = vec![tag];
        put_indexed(&mut out, &[], indexed);
        if let Captured::Patch(_, patch) = captured {
            put_record(&mut out, &[], &Record::Patch((**patch).clone()), &mut FullNames);
        }
        Ok(self.0.push(&out)?)
    }

    /// Changes so far.
    pub fn changes(&self) -> u64 {
        self.0.records()
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    /// Turns to reading.
    pub fn read(self) -> Result<ChangeReader, IndexError> {
        Ok(ChangeReader(self.0.read()?))
    }
}

/// Changes being read, once.
pub struct ChangeReader(SpoolReader);

impl ChangeReader {
    /// The next change.
    pub fn next(&mut self) -> Result<Option<Captured>, IndexError> {
        let Some(bytes) = self.0.next()? else { return Ok(None) };
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

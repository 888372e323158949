//! What has changed since the local index was written: a small file beside it, so that a push of few changes need not
//! write the whole index again. A cache like the index; lost or damaged, both are made again from the remote.

use super::directory::State;
use super::index::{IndexError, Indexed, put_chunk, put_indexed, read_chunk, read_indexed};
use super::wire::{FormatError, Reader, put_bytes, put_varint};
use crate::runtime::limits;
use crate::tree::RelPath;
use std::collections::BTreeMap;

/// Entries by path; `None` for one that is gone.
pub type Changes = BTreeMap<RelPath, Option<Indexed>>;

/// The changes between the tree of the index and that of a later commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// The commit of the index's tree, and its hash.
    pub base: (u64, [u8; 32]),
    /// The commit of the tree that results.
    pub seq: u64,
    /// Totals of the tree that results.
    pub state: State,
    /// What differs.
    pub changes: Changes,
    /// The length of the file that it was read from.
    pub stored_len: u64,
}

const MAGIC: &[u8; 8] = b"vscovl1\n";

impl Overlay {
    /// The content of the file of one.
    pub fn encode(base: (u64, [u8; 32]), seq: u64, state: &State, changes: &Changes) -> Result<Vec<u8>, IndexError> {
        let mut payload = base.0.to_le_bytes().to_vec();
        payload.extend_from_slice(&base.1);
        payload.extend_from_slice(&seq.to_le_bytes());
        for number in [state.files, state.dirs, state.bytes, changes.len() as u64] {
            put_varint(&mut payload, number);
        }
        payload.extend_from_slice(&state.sum);
        for (path, change) in changes {
            payload.push(u8::from(change.is_some()));
            match change {
                Some(indexed) => put_indexed(&mut payload, &[], indexed),
                None => put_bytes(&mut payload, path.as_bytes()),
            }
        }
        let mut file = MAGIC.to_vec();
        put_chunk(&mut file, &payload)?;
        Ok(file)
    }

    /// Reads a file's content.
    pub fn decode(file: &[u8]) -> Result<Overlay, IndexError> {
        let mut rest = file.strip_prefix(MAGIC).ok_or(FormatError::Invalid("it does not start as an overlay"))?;
        let payload = read_chunk(&mut rest)?;
        let mut reader = Reader::new(&payload);
        let base = (u64::from_le_bytes(reader.array("the header")?), reader.array("the header")?);
        let seq = u64::from_le_bytes(reader.array("the header")?);
        let mut number = || reader.varint("the header");
        let (files, dirs, bytes, count) = (number()?, number()?, number()?, number()?);
        let state = State { files, dirs, bytes, sum: reader.array("the header")? };
        let mut changes = Changes::new();
        for _ in 0..count {
            let (path, change) = match reader.byte("a change")? {
                0 => {
                    let path = RelPath::new(reader.bytes("a path")?);
                    (path.map_err(|_| FormatError::Invalid("a path could leave the volume"))?, None)
                }
                _ => {
                    let indexed = read_indexed(&mut reader, &[])?;
                    (indexed.entry.path.clone(), Some(indexed))
                }
            };
            changes.insert(path, change);
        }
        Ok(Overlay { base, seq, state, changes, stored_len: file.len() as u64 })
    }
}

/// Whether changes of this number and length are too many to be held in memory: then the index is written anew.
pub fn is_large(entries: u64, bytes: u64) -> bool {
    entries > limits::OVERLAY_ENTRIES || bytes > limits::OVERLAY_BYTES
}

#[cfg(test)]
mod tests {
    use super::{Changes, Overlay, State};
    use crate::seal::ContentId;
    use crate::tree::{Attributes, RelPath};
    use crate::vault::entry::{Content, Entry, Extra, Node};
    use crate::vault::index::Indexed;

    #[test]
    fn an_overlay_comes_back_and_any_damage_is_noticed() {
        let node = Node::File { size: 3, hash: Default::default(), content: Content::Literal(b"abc".to_vec()) };
        let path = RelPath::new("a/file").unwrap();
        let entry = Entry { path: path.clone(), attributes: Attributes::default(), node, extra: Extra::default() };
        let indexed = Indexed { entry, stamp: None, blocks: vec![ContentId([7; 32])] };
        let changes = Changes::from([(path, Some(indexed)), (RelPath::new("gone").unwrap(), None)]);
        let state = State { files: 5, dirs: 2, bytes: 77, sum: [9; 32] };
        let file = Overlay::encode((4, [1; 32]), 6, &state, &changes).unwrap();
        let overlay = Overlay { base: (4, [1; 32]), seq: 6, state, changes, stored_len: file.len() as u64 };
        assert_eq!(Overlay::decode(&file).unwrap(), overlay);
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 4;
            assert!(Overlay::decode(&damaged).is_err(), "byte {at}");
            assert!(Overlay::decode(&file[..at]).is_err(), "cut at {at}");
        }
    }
}

//! The encrypted layout: objects, records, commits, and the protocol by which one writer at a time adds to them. The
//! bytes are described in FORMAT.md beside this file. This room never touches the volume and never sees a key.

pub mod container;
pub mod directory;
pub mod entry;
pub mod error;
pub mod index;
pub mod known;
pub mod log;
pub mod meta;
pub mod object;
pub mod open;
pub mod orphans;
pub mod overlay;
pub mod pack;
pub mod point;
pub mod publish;
pub mod ranges;
pub mod receipt;
pub mod record;
pub mod rescue;
pub mod slot;
pub mod tree;
pub mod verify;
pub mod wire;
pub mod writer;

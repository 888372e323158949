//! The encrypted layout: objects, records, commits, and the protocol by which one writer at a time adds to them. The
//! bytes are described in FORMAT.md beside this file. This room never touches the volume and never sees a key.

pub mod container;
pub mod directory;
pub mod entry;
pub mod index;
pub mod meta;
pub mod object;
pub mod pack;
pub mod record;
pub mod wire;

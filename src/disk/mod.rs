//! The volume: the only room that touches it. It looks, reads, places and removes below one directory, and nothing else
//! but this program's own files: the state directory, and what does not fit in memory.
//!
//! Rules of this room: no path leaves the volume and no symbolic link is ever followed (the kernel resolves every path
//! beneath the root); what could not be read is counted and makes a listing Partial; memory does not grow with the
//! number of files. It decides nothing: what should be pushed, placed or removed is decided above.

mod database;
mod error;
mod message;
mod metadata;
mod names;
mod place;
mod placed;
mod read;
mod remove;
mod roots;
#[cfg(test)]
mod round_trip;
mod scan;
mod skips;
mod spool;
mod stat;
mod state;
mod volume;
mod watch;
mod xattr;

pub use database::{Copied, DatabaseCopies, companions, is_log};
pub use error::{DiskError, Facts};
pub use message::write_message;
pub use metadata::PlaceSkips;
pub use names::{NameSorter, SortedNames};
pub use place::{PlaceOptions, Placer};
pub use placed::PlacedFile;
pub use read::SourceFile;
pub use remove::remove;
pub use roots::forbidden_root;
pub use scan::{Scan, ScanOptions};
pub use skips::Skips;
pub use spool::{Spool, SpoolReader};
pub use stat::{Stamp, stamp_of};
pub use state::{StateDir, StateFile, StateLock};
pub use volume::{Space, Volume};
pub use watch::{Coverage, Watch};
pub use xattr::Xattr;

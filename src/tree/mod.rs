//! The words for what a volume holds: paths, entries, listings. Pure: nothing here reads or writes anything.

mod entry;
mod filter;
mod listing;
mod path;
mod regions;

pub use entry::{Attributes, DatabaseLog, FileType, Found, Identity, Timestamp};
pub use filter::{Filter, FilterError};
pub use listing::{Completeness, Skip, SkipReason};
pub use path::{PathError, RelPath, Shown};
pub use regions::{Dirty, Region, Regions};

//! The plain layout: one object for each file, as other programs read and write them, and beside them a manifest of what
//! objects cannot say. Described in `FORMAT.md` of this folder.
//!
//! This room knows names, lines and the manifest's log. It never touches the volume, never decides what is to be done,
//! and trusts nothing that it reads: a name that could leave the volume is refused, a line that is too long as well.

pub mod error;
pub mod line;
pub mod listing;
pub mod log;
pub mod manifest;
pub mod names;
pub mod wanted;

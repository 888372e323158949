//! The names on which two processes agree: whoever writes a Pod's containers and the program that runs in them. Pure:
//! tables and constants, nothing that reads.

pub mod control;
pub mod env;
pub mod remotes;

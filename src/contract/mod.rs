//! The names on which several parties agree: whoever writes a Pod's containers and the program that runs in them, and the
//! layouts that one remote may hold. Pure: tables and constants, nothing that reads.

pub mod control;
pub mod env;
pub mod kubernetes;
pub mod layouts;
pub mod progress;
pub mod remotes;

//! What lies at a remote, and what a volume remembers of it.

pub mod session;

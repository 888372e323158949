//! What lies at the root of a remote, by which each layout knows its own and the other.

/// The public parameters of a vault: where this object is, there is one.
pub const VAULT_CONFIG: &str = "vault.json";
/// The folder of the layout without encryption: everything below it is ours.
pub const PLAIN_FOLDER: &str = ".svault-plain";

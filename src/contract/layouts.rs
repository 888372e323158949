//! What lies at the root of a remote, by which each layout knows its own and the other.

/// The public parameters of a vault: where this object is, there is one.
pub const VAULT_CONFIG: &str = "vault.json";
/// The folder of the layout without encryption: everything below a folder of this name is ours, or another remote's that
/// lies further down.
pub const PLAIN_FOLDER: &str = ".svault-plain";

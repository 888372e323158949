//! Flags of `key …`: who can open a vault.

use super::Access;
use crate::config::parse_boolean;
use clap::{Args, Subcommand};

/// `key …`
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Print a new random key, fit for ENCRYPTED_PASSWORD; nothing is stored
    Generate,
    /// Let a further key or passphrase open the vault
    ///
    /// The new one is read from NEW_ENCRYPTED_PASSWORD or the file named by NEW_ENCRYPTED_PASSWORD_FILE.
    Add(KeyAdd),
    /// Take a slot away; whoever kept it and its key still reads everything, also what is pushed later
    ///
    /// The vault's own key, which the slot holds sealed, stays the same. A bucket with versions keeps removed slots. Where
    /// a key got into wrong hands, only a new vault with a new key shuts them out.
    Remove(KeyRemove),
    /// List the slots: which keys open the vault
    List(KeyList),
    /// Print a recovery kit: what is needed to restore without this cluster; keep it like a key
    ExportKit(Place),
}

/// Where a vault lies, and what opens it; all of `key export-kit`.
#[derive(Debug, Args)]
pub struct Place {
    /// Remote path: BUCKET/PATH, or a folder name for a local remote
    #[arg(short = 'd', long, value_name = "REMOTE_PATH", default_value = "/")]
    pub dst: String,
    /// Where the remote lies.
    #[command(flatten)]
    pub access: Access,
}

/// `key add`
#[derive(Debug, Args)]
pub struct KeyAdd {
    /// Make a new random key and print it, instead of reading NEW_ENCRYPTED_PASSWORD or NEW_ENCRYPTED_PASSWORD_FILE
    #[arg(long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub generate: bool,
    /// A word by which people know the slot, shown by `key list`
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub label: String,
    /// The vault.
    #[command(flatten)]
    pub place: Place,
}

/// `key remove`
#[derive(Debug, Args)]
pub struct KeyRemove {
    /// The slot, as listed by `key list`
    #[arg(value_name = "SLOT")]
    pub slot: String,
    /// The vault.
    #[command(flatten)]
    pub place: Place,
}

/// `key list`
#[derive(Debug, Args)]
pub struct KeyList {
    /// Print a JSON array, one object a line
    #[arg(long, value_name = "BOOL", default_value = "false")]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = parse_boolean)]
    pub json: bool,
    /// The vault.
    #[command(flatten)]
    pub place: Place,
}

//! Keys and what is done with them. The only room that sees key bytes; it never stores, sends or logs anything.

mod aead;
mod digest;
mod key;
mod keyring;
mod rclone;

pub use aead::{BadSeal, ObjectKey, TAG_BYTES};
pub use digest::{BlockIds, ContentId, DIGEST_PART_BYTES, FileDigest, SHORT_ID_BYTES, ShortId, checksum};
pub use key::{KeyTextError, RawKey, Unlocker, random_bytes, random_u32};
pub use keyring::{Argon2Cost, Keys, MasterKey, SlotSecret, SlotWrap, WrongKey};
pub use rclone::{ObscuredError, RcloneKeys, reveal};

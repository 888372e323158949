//! What a volume remembers of its vault between processes: the receipt of the last restore or push, and the intent of
//! a commit whose answer may be outstanding. Both carry a MAC: a volume's files are not trusted to be ours.

use super::object::Claim;
use super::open::Vault;
use crate::store::Fencing;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

/// The state of a volume, as of the last finished pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The vault.
    pub vault_id: String,
    /// The newest commit this volume has seen: also the pin against rollback.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
    /// Its epoch.
    pub epoch: u32,
    /// The commit after whose tree the volume's index is named.
    pub tree_seq: u64,
    /// Whether that tree is an older one than the head's: after a restore of an older point.
    #[serde(default)]
    pub reverted: bool,
    /// The claim under which this volume writes; none after a restore that only read.
    pub claim: Option<ClaimJson>,
    /// This volume's writer identity.
    pub writer: String,
    /// The next unused object counter of the claim.
    pub counter: u32,
    /// False while packs may be stored that no commit lists: the next process claims a new epoch.
    pub clean: bool,
    /// Whether the store was seen to honour conditional creates; unknown to a volume that only read.
    pub strict: Option<bool>,
    /// Whether files were left out of the last pass, so that a pass without changes is still not complete.
    #[serde(default)]
    pub partial: bool,
    /// The epoch up to which this volume's claim has cleaned up orphans; the claim's later commits say so too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swept: Option<u32>,
    /// The epoch of the writer that took over from this volume's; none once this volume was given the right to write again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fenced: Option<u32>,
}

/// A claim as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimJson {
    /// Its epoch.
    pub epoch: u32,
    /// Its nonce.
    pub nonce: u32,
}

impl From<Claim> for ClaimJson {
    fn from(claim: Claim) -> ClaimJson {
        ClaimJson { epoch: claim.epoch, nonce: claim.nonce }
    }
}

impl From<ClaimJson> for Claim {
    fn from(json: ClaimJson) -> Claim {
        Claim { epoch: json.epoch, nonce: json.nonce }
    }
}

impl Receipt {
    /// What the store can do, if that was tried.
    pub fn fencing(&self) -> Option<Fencing> {
        self.strict.map(|strict| if strict { Fencing::Strict } else { Fencing::Detect })
    }

    /// Whether the index's tree is that of the commit the receipt names.
    pub fn is_tree_of_head(&self) -> bool {
        !self.reverted
    }

    /// The writer identity as bytes.
    pub fn writer_bytes(&self) -> Option<[u8; 16]> {
        HEXLOWER.decode(self.writer.as_bytes()).ok()?.try_into().ok()
    }
}

/// A commit about to be published: what the next process looks for if this one dies before the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The vault.
    pub vault_id: String,
    /// The commit's number.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
    /// The receipt that becomes true with it.
    pub receipt: Receipt,
}

#[derive(Serialize, Deserialize)]
struct Maced<T> {
    body: T,
    mac: String,
}

/// A local file of ours as bytes.
pub fn to_file<T: Serialize>(vault: &Vault, body: &T) -> Vec<u8> {
    let covered = serde_json::to_vec(body).expect("the file is plain data");
    let mac = HEXLOWER.encode(&vault.keys().pin_mac(&covered));
    serde_json::to_vec_pretty(&Maced { body, mac }).expect("the file is plain data")
}

/// The body of a local file, if it is ours and of this vault.
pub fn from_file<T: Serialize + for<'de> Deserialize<'de>>(vault: &Vault, bytes: &[u8]) -> Option<T> {
    let file: Maced<T> = serde_json::from_slice(bytes).ok()?;
    let covered = serde_json::to_vec(&file.body).ok()?;
    (HEXLOWER.encode(&vault.keys().pin_mac(&covered)) == file.mac).then_some(file.body)
}

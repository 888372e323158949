//! Names of stored objects.

use std::fmt;

/// The kind of a stored object, as its header carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum ObjectKind {
    /// A commit under `log/`.
    Commit = 1,
    /// Part of a run: records too many for a commit, or a merged base.
    Run = 2,
    /// A data pack.
    Pack = 3,
    /// What a fenced writer could not publish.
    Fork = 4,
}

impl ObjectKind {
    /// The kind with this number.
    pub fn from_number(number: u8) -> Option<ObjectKind> {
        Some(match number {
            1 => ObjectKind::Commit,
            2 => ObjectKind::Run,
            3 => ObjectKind::Pack,
            4 => ObjectKind::Fork,
            _ => return None,
        })
    }
}

/// A writer's claim: the epoch it owns and the random number that keeps its object names apart from everyone else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claim {
    /// Counts claims of the vault; 1 is the first.
    pub epoch: u32,
    /// Random; makes names of equal epochs (a vault restored from an old copy) disjoint.
    pub nonce: u32,
}

/// Which stored object. Ordered, so that tables built from sets are reproducible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId {
    /// What it is.
    pub kind: ObjectKind,
    /// A commit's number, else the epoch.
    pub a: u64,
    /// 0 for a commit, else the claim's nonce in the upper and the counter in the lower half.
    pub b: u64,
}

impl ObjectId {
    /// The commit with this number.
    pub fn commit(seq: u64) -> ObjectId {
        ObjectId { kind: ObjectKind::Commit, a: seq, b: 0 }
    }

    /// The `counter`-th object of a claim.
    pub fn of_claim(kind: ObjectKind, claim: Claim, counter: u32) -> ObjectId {
        ObjectId { kind, a: u64::from(claim.epoch), b: u64::from(claim.nonce) << 32 | u64::from(counter) }
    }

    /// The claim that wrote it; `None` for a commit.
    pub fn claim(&self) -> Option<Claim> {
        match self.kind {
            ObjectKind::Commit => None,
            _ => Some(Claim { epoch: self.a as u32, nonce: (self.b >> 32) as u32 }),
        }
    }

    /// Its key below the vault's prefix.
    pub fn key(&self) -> String {
        let counter = self.b & 0xffff_ffff;
        let nonce = self.b >> 32;
        match self.kind {
            ObjectKind::Commit => format!("log/{}", log_name(self.a)),
            ObjectKind::Run => format!("obj/{:08x}-{nonce:08x}/r{counter:08x}", self.a),
            ObjectKind::Pack => format!("obj/{:08x}-{nonce:08x}/p{counter:08x}", self.a),
            ObjectKind::Fork => format!("fork/{:08x}-{nonce:08x}/{counter:08x}", self.a),
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.key())
    }
}

/// The name of a commit in `log/`: bit-inverted, so that the newest sorts first and one page of a listing finds it.
pub fn log_name(seq: u64) -> String {
    format!("{:016x}", !seq)
}

/// The commit number of a name in `log/`, if it is one.
pub fn log_seq(name: &str) -> Option<u64> {
    let canonical = name.len() == 16 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if canonical { u64::from_str_radix(name, 16).ok().map(|inverted| !inverted) } else { None }
}

/// The pack, part or fork that lies under these parts of a key; only names exactly as they are stored are any.
pub fn object_of(top: &str, folder: &str, file: &str) -> Option<ObjectId> {
    let (kind, digits) = match (top, file.as_bytes().first()) {
        ("fork", _) => (ObjectKind::Fork, file),
        ("obj", Some(b'p')) => (ObjectKind::Pack, &file[1..]),
        ("obj", Some(b'r')) => (ObjectKind::Run, &file[1..]),
        _ => return None,
    };
    let id = ObjectId::of_claim(kind, claim_of_folder(folder)?, u32::from_str_radix(digits, 16).ok()?);
    (id.key() == format!("{top}/{folder}/{file}")).then_some(id)
}

/// The claim of a folder name in `obj/` or `fork/`, if it is one.
pub fn claim_of_folder(name: &str) -> Option<Claim> {
    let (epoch, nonce) = name.split_once('-')?;
    if epoch.len() != 8 || nonce.len() != 8 {
        return None;
    }
    Some(Claim { epoch: u32::from_str_radix(epoch, 16).ok()?, nonce: u32::from_str_radix(nonce, 16).ok()? })
}

#[cfg(test)]
mod tests {
    use super::{Claim, ObjectId, ObjectKind, claim_of_folder, log_name, log_seq, object_of};

    #[test]
    fn the_newest_commit_sorts_first() {
        assert_eq!(log_name(0), "ffffffffffffffff");
        assert_eq!(log_name(1), "fffffffffffffffe");
        assert_eq!(log_name(u64::MAX), "0000000000000000");
        assert!(log_name(8) < log_name(7));
        assert_eq!(log_seq(&log_name(77)), Some(77));
        assert_eq!(log_seq("FFFFFFFFFFFFFFFE"), None);
        assert_eq!(log_seq("x"), None);
    }

    #[test]
    fn names_tell_kind_claim_and_counter() {
        let claim = Claim { epoch: 3, nonce: 0xdead_beef };
        let pack = ObjectId::of_claim(ObjectKind::Pack, claim, 7);
        assert_eq!(pack.key(), "obj/00000003-deadbeef/p00000007");
        assert_eq!(pack.claim(), Some(claim));
        assert_eq!(claim_of_folder("00000003-deadbeef"), Some(claim));
        assert_eq!(object_of("obj", "00000003-deadbeef", "p00000007"), Some(pack));
        let odd = ["p7", "p0000000A", "p+0000007", "x00000007", "", "p00000007.tmp"];
        assert!(odd.iter().all(|file| object_of("obj", "00000003-deadbeef", file).is_none()));
        assert_eq!(object_of("obj", "+0000003-deadbeef", "p00000007"), None);
    }
}

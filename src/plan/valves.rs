//! The safety valves. Each refusal names what it saw and how to override it.

use crate::fault::{Fault, Kind};
use crate::runtime::limits;
use crate::tree::Completeness;

/// A valve refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing to push, but the remote has something.
    #[error("the source {source_dir} is empty, but the remote holds {remote} entries: pushing would clear it")]
    EmptySource {
        /// The volume.
        source_dir: String,
        /// Entries at the remote.
        remote: u64,
    },
    /// The volume never received or pushed this remote's state.
    #[error(
        "the volume {volume} has no receipt of this remote, which holds {remote} entries: it may be another volume, or the restore never finished"
    )]
    NoReceipt {
        /// The volume.
        volume: String,
        /// Entries at the remote.
        remote: u64,
    },
    /// A restore did not come to its end.
    #[error("a restore into the volume {volume} was begun and not finished: it may hold parts of two states")]
    HalfRestored {
        /// The volume.
        volume: String,
    },
    /// Somebody else pushed since.
    #[error("the remote has moved on to commit {head} (by {by}) since this volume last saw it at commit {seen}")]
    RemoteMoved {
        /// The head.
        head: u64,
        /// Its writer's Pod or host.
        by: String,
        /// This volume's receipt.
        seen: u64,
    },
    /// The target is a directory of the system.
    #[error("refusing to restore into {path}: {why}")]
    ForbiddenRoot {
        /// The target.
        path: String,
        /// What it is.
        why: String,
    },
    /// The target belongs to somebody else.
    #[error("refusing to restore into {path}: it belongs to uid {owner}, this process runs as uid {ours}")]
    ForeignOwner {
        /// The target.
        path: String,
        /// Its owner.
        owner: u32,
        /// We.
        ours: u32,
    },
    /// The target holds data that did not come from this remote.
    #[error("the target {path} is not empty and has no receipt of this remote")]
    NotEmpty {
        /// The target.
        path: String,
    },
    /// Local and remote both changed.
    #[error(
        "both sides have moved: the volume has {local} changes that were never pushed, and the remote is at commit {head} instead of {seen}"
    )]
    BothMoved {
        /// Local changes.
        local: u64,
        /// The head.
        head: u64,
        /// The receipt.
        seen: u64,
    },
    /// An older point was asked for, but the volume has changes.
    #[error("the volume has {local} changes that were never pushed: restoring another state would lose them")]
    UnpushedChanges {
        /// Local changes.
        local: u64,
    },
    /// The remote is proven empty and the caller does not accept that.
    #[error("the remote is empty: there is nothing to restore")]
    RemoteEmpty,
    /// An older state of a plain remote was asked for.
    #[error("a remote without encryption keeps only its newest state: there are no restore points")]
    NoPoints,
    /// A restore would delete much.
    #[error("the restore would delete {count} of {of} local entries")]
    MassDelete {
        /// Local entries to delete.
        count: u64,
        /// All local entries.
        of: u64,
    },
}

impl Fault for Refusal {
    fn kind(&self) -> Kind {
        Kind::Refused
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Refusal::EmptySource { .. } => {
                "is the right volume mounted? If the remote shall really be emptied: --force-even-if-remote-would-be-cleared (-f)"
            }
            Refusal::NoReceipt { .. } => {
                "run `remote-to-local-sync --adopt` first: it merges, and deletes nothing. To replace the remote's state by this volume's: --force-even-if-remote-would-be-cleared (-f)"
            }
            Refusal::HalfRestored { .. } => {
                "run `remote-to-local-sync` again: it continues. To push the volume as it is: --force-even-if-remote-would-be-cleared (-f)"
            }
            Refusal::RemoteMoved { .. } => {
                "run `remote-to-local-sync` first. To replace the remote's state by this volume's: --force-even-if-remote-would-be-cleared (-f); the state before stays a restore point"
            }
            Refusal::ForbiddenRoot { .. } => {
                "name a directory of your own with -d/--dst; --force-delete-local-dir (-n) overrides"
            }
            Refusal::ForeignOwner { .. } => {
                "run as that user (runAsUser, docker run --user), or own the directory; --force-delete-local-dir (-n) overrides"
            }
            Refusal::NotEmpty { .. } => {
                "--adopt merges: what is missing is restored, what is there stays, nothing is deleted. --force-delete-local-dir (-n) replaces the directory's content by the remote's"
            }
            Refusal::BothMoved { .. } => {
                "--adopt keeps the local changes and restores the rest; --force-delete-local-dir (-n) takes the remote's state; a push with --force-even-if-remote-would-be-cleared (-f) takes the local one"
            }
            Refusal::UnpushedChanges { .. } => {
                "push them first, restore into another directory, or give them up with --force-delete-local-dir (-n)"
            }
            Refusal::RemoteEmpty => {
                "check -s/--src; with --allow-empty=true (the default) an application may start on an empty remote"
            }
            Refusal::NoPoints => {
                "leave out --at. With a key (ENCRYPTED_PASSWORD) every push makes a restore point; a bucket with versioning keeps old objects itself"
            }
            Refusal::MassDelete { .. } => "--no-delete (-x) keeps them; --force-delete-local-dir (-n) deletes them",
        };
        Some(text.to_string())
    }
}

/// What a push would delete at the remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeleteSet {
    /// Entries to delete.
    pub count: u64,
    /// Entries at the remote now.
    pub of: u64,
    /// Digest of the paths: an approval is of exactly these.
    pub hash: [u8; 8],
}

/// Why deletes are held back; everything else of the push goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldReason {
    /// The caller wants none.
    NotWanted,
    /// The listing is not whole: what is missing may be there.
    PartialListing,
    /// More than the fuse lets through.
    Fuse,
}

/// Whether a push carries deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletes {
    /// Yes.
    Carried,
    /// No.
    Held(HoldReason),
}

/// Decides about a push's deletes. Only a whole listing can yield any; more than max(50, 25 %) need an approval of
/// exactly this set, or force.
pub fn admit_deletes(set: DeleteSet, listing: Completeness, wanted: bool, approved: Option<[u8; 8]>, force: bool) -> Deletes {
    let fuse = limits::FUSE_FILES.max(set.of * limits::FUSE_PERCENT / 100);
    if set.count == 0 {
        Deletes::Carried
    } else if listing == Completeness::Partial {
        Deletes::Held(HoldReason::PartialListing)
    } else if !wanted {
        Deletes::Held(HoldReason::NotWanted)
    } else if set.count <= fuse || force || approved == Some(set.hash) {
        Deletes::Carried
    } else {
        Deletes::Held(HoldReason::Fuse)
    }
}

/// What is known before a push reads anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushFacts {
    /// The volume, in words.
    pub volume: String,
    /// Whether it holds nothing.
    pub volume_empty: bool,
    /// Entries at the head.
    pub remote_entries: u64,
    /// The head's number and writer; `None` without commits.
    pub head: Option<(u64, String)>,
    /// The receipt's commit, if there is a receipt.
    pub seen: Option<u64>,
    /// Whether the receipt names the head.
    pub current: bool,
    /// A restore into this volume was begun and not finished.
    pub restoring: bool,
}

/// Whether a push may begin.
pub fn admit_push(facts: &PushFacts, force: bool) -> Result<(), Refusal> {
    if force {
        return Ok(());
    }
    if facts.restoring {
        return Err(Refusal::HalfRestored { volume: facts.volume.clone() });
    }
    let remote = facts.remote_entries;
    match (&facts.head, facts.seen) {
        (Some(_), None) if remote > 0 => return Err(Refusal::NoReceipt { volume: facts.volume.clone(), remote }),
        (Some((head, by)), Some(seen)) if !facts.current => {
            return Err(Refusal::RemoteMoved { head: *head, by: by.clone(), seen });
        }
        _ => {}
    }
    if facts.volume_empty && remote > 0 {
        return Err(Refusal::EmptySource { source_dir: facts.volume.clone(), remote });
    }
    Ok(())
}

/// A restore's target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// In words.
    pub path: String,
    /// Why it is a directory of the system, if it is.
    pub forbidden: Option<String>,
    /// Whether something is mounted exactly there: then even below a system's directory it is somebody's volume.
    pub mounted: bool,
    /// Whether it holds anything.
    pub empty: bool,
    /// Its owner.
    pub owner: u32,
    /// This process.
    pub ours: u32,
}

/// Whether a directory may be restored into at all. An empty or freshly mounted directory that belongs to root, as
/// Kubernetes makes them, may be written to by whoever can.
pub fn admit_target(target: &Target, force: bool) -> Result<(), Refusal> {
    if force {
        return Ok(());
    }
    if let Some(why) = target.forbidden.as_ref().filter(|_| !target.mounted) {
        return Err(Refusal::ForbiddenRoot { path: target.path.clone(), why: why.clone() });
    }
    if target.owner != target.ours && !target.empty && !target.mounted {
        return Err(Refusal::ForeignOwner { path: target.path.clone(), owner: target.owner, ours: target.ours });
    }
    Ok(())
}

/// What a restore that was begun may do, for whoever continues it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// The volume was empty: all in it is the restore's.
    Fresh,
    /// The wanted state replaces what was there.
    Update,
    /// What was there stays.
    Merge,
}

impl Begun {
    /// What the restore about to be begun is.
    pub fn of(action: RestoreAction, fresh: bool) -> Begun {
        match action {
            RestoreAction::Merge => Begun::Merge,
            _ if fresh => Begun::Fresh,
            _ => Begun::Update,
        }
    }

    /// The word that a marker holds.
    pub fn word(self) -> &'static str {
        match self {
            Begun::Fresh => "fresh",
            Begun::Update => "update",
            Begun::Merge => "merge",
        }
    }

    /// What a marker says.
    pub fn of_word(word: &[u8]) -> Begun {
        match word {
            b"fresh" => Begun::Fresh,
            b"merge" => Begun::Merge,
            _ => Begun::Update,
        }
    }
}

/// What a restore finds: the rows of the restart table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreFacts {
    /// The volume holds nothing.
    pub volume_empty: bool,
    /// A restore into this volume was begun and not finished.
    pub interrupted: Option<Begun>,
    /// The receipt's commit.
    pub seen: Option<u64>,
    /// The commit wanted.
    pub wanted: u64,
    /// Whether the volume's tree is that of the wanted commit, as far as the receipt knows.
    pub same_tree: bool,
    /// Local changes that were never pushed; known only with a receipt.
    pub local_changes: u64,
    /// Whether the wanted commit is the head.
    pub latest: bool,
}

/// What a restore does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreAction {
    /// Everything into an empty volume, or the rest of a restore into one.
    Restore,
    /// The rest of an update. Somebody may have worked here since: of what is not wanted, only what is as recorded goes.
    Continue,
    /// Nothing: the volume is at this state.
    Skip,
    /// Nothing: the volume is ahead and will be pushed later.
    KeepAhead,
    /// Bring the volume, which has no changes of its own, to the wanted state.
    Update,
    /// Restore what is missing, keep what is there.
    Merge,
    /// Make the volume equal to the remote, whatever it holds.
    Replace,
}

impl RestoreAction {
    /// Whether local entries that are not wanted are removed.
    pub fn removes(self, delete: bool, adopt: bool) -> bool {
        match self {
            RestoreAction::Merge => false,
            RestoreAction::Restore => delete && !adopt,
            _ => delete,
        }
    }
}

/// Decides by the restart table.
pub fn admit_restore(facts: &RestoreFacts, path: &str, adopt: bool, force: bool) -> Result<RestoreAction, Refusal> {
    if facts.volume_empty {
        return Ok(RestoreAction::Restore);
    }
    if force {
        return Ok(RestoreAction::Replace);
    }
    // What such a restore left is half of the remote's state: nothing that could win over it.
    match facts.interrupted {
        Some(Begun::Fresh) => return Ok(RestoreAction::Restore),
        Some(Begun::Update) => return Ok(RestoreAction::Continue),
        Some(Begun::Merge) => return Ok(RestoreAction::Merge),
        None => {}
    }
    if adopt {
        return Ok(RestoreAction::Merge);
    }
    let Some(seen) = facts.seen else { return Err(Refusal::NotEmpty { path: path.to_string() }) };
    match (facts.same_tree, facts.local_changes) {
        (true, 0) => Ok(RestoreAction::Skip),
        (false, 0) => Ok(RestoreAction::Update),
        (true, _) if facts.latest => Ok(RestoreAction::KeepAhead),
        (_, local) if facts.latest => Err(Refusal::BothMoved { local, head: facts.wanted, seen }),
        (_, local) => Err(Refusal::UnpushedChanges { local }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fuse_holds_mass_deletes_until_exactly_they_are_approved() {
        let set = DeleteSet { count: 51, of: 100, hash: [1; 8] };
        let whole = Completeness::Whole;
        assert_eq!(admit_deletes(set, whole, true, None, false), Deletes::Held(HoldReason::Fuse));
        assert_eq!(admit_deletes(set, whole, true, Some([2; 8]), false), Deletes::Held(HoldReason::Fuse));
        assert_eq!(admit_deletes(set, whole, true, Some([1; 8]), false), Deletes::Carried);
        assert_eq!(admit_deletes(set, whole, true, None, true), Deletes::Carried);
        assert_eq!(admit_deletes(DeleteSet { count: 50, ..set }, whole, true, None, false), Deletes::Carried);
        assert_eq!(admit_deletes(DeleteSet { count: 250, of: 1000, ..set }, whole, true, None, false), Deletes::Carried);
    }

    #[test]
    fn a_partial_listing_never_deletes_even_by_force() {
        let set = DeleteSet { count: 1, of: 100, hash: [1; 8] };
        assert_eq!(
            admit_deletes(set, Completeness::Partial, true, Some([1; 8]), true),
            Deletes::Held(HoldReason::PartialListing)
        );
    }

    fn facts() -> PushFacts {
        PushFacts {
            volume: "v".into(),
            volume_empty: false,
            remote_entries: 9,
            head: Some((4, "pod".into())),
            seen: Some(4),
            current: true,
            restoring: false,
        }
    }

    #[test]
    fn a_push_needs_a_receipt_of_the_head_and_something_to_push() {
        assert_eq!(admit_push(&facts(), false), Ok(()));
        let cases = [
            PushFacts { seen: None, current: false, ..facts() },
            PushFacts { seen: Some(3), current: false, ..facts() },
            PushFacts { volume_empty: true, ..facts() },
            PushFacts { restoring: true, ..facts() },
        ];
        for case in cases {
            let refusal = admit_push(&case, false).unwrap_err();
            assert!(refusal.hint().unwrap().contains("--force-even-if-remote-would-be-cleared"), "{refusal}");
            assert_eq!(admit_push(&case, true), Ok(()));
        }
        assert_eq!(admit_push(&PushFacts { head: None, seen: None, remote_entries: 0, ..facts() }, false), Ok(()));
    }

    #[test]
    fn the_restart_table_has_its_rows() {
        use RestoreAction::*;
        let row = RestoreFacts {
            volume_empty: false,
            interrupted: None,
            seen: Some(4),
            wanted: 4,
            same_tree: true,
            local_changes: 0,
            latest: true,
        };
        let decide = |facts: RestoreFacts| admit_restore(&facts, "v", false, false);
        assert_eq!(decide(RestoreFacts { volume_empty: true, seen: None, ..row }), Ok(Restore));
        for (begun, action) in [(Begun::Fresh, Restore), (Begun::Update, Continue), (Begun::Merge, Merge)] {
            let row = RestoreFacts { interrupted: Some(begun), ..row };
            assert_eq!(decide(row), Ok(action));
            assert_eq!(admit_restore(&row, "v", true, false), Ok(action));
            assert_eq!(admit_restore(&row, "v", false, true), Ok(Replace));
        }
        assert_eq!(decide(row), Ok(Skip));
        assert_eq!(decide(RestoreFacts { local_changes: 3, ..row }), Ok(KeepAhead));
        assert_eq!(decide(RestoreFacts { same_tree: false, wanted: 6, ..row }), Ok(Update));
        assert!(matches!(
            decide(RestoreFacts { same_tree: false, wanted: 6, local_changes: 1, ..row }),
            Err(Refusal::BothMoved { .. })
        ));
        assert!(matches!(decide(RestoreFacts { seen: None, ..row }), Err(Refusal::NotEmpty { .. })));
        assert!(matches!(
            decide(RestoreFacts { latest: false, local_changes: 1, same_tree: false, ..row }),
            Err(Refusal::UnpushedChanges { .. })
        ));
        assert_eq!(admit_restore(&RestoreFacts { seen: None, ..row }, "v", true, false), Ok(Merge));
        assert_eq!(admit_restore(&RestoreFacts { seen: None, ..row }, "v", false, true), Ok(Replace));
    }

    #[test]
    fn system_directories_and_other_peoples_are_no_targets() {
        let target =
            Target { path: "/etc".into(), forbidden: Some("system".into()), mounted: false, empty: true, owner: 0, ours: 5 };
        assert!(admit_target(&target, false).is_err());
        assert!(admit_target(&target, true).is_ok());
        let foreign = Target { forbidden: None, empty: false, ..target.clone() };
        assert!(matches!(admit_target(&foreign, false), Err(Refusal::ForeignOwner { .. })));
        assert!(admit_target(&Target { owner: 5, ..foreign.clone() }, false).is_ok());
        assert!(admit_target(&Target { empty: true, ..foreign }, false).is_ok());
    }
}

//! What a survey of either layout goes by.

use super::Restore;
use super::recorded::{Recorded, was_ours};
use crate::disk::Volume;
use crate::plan::RestoreAction;
use crate::remote::session::Local;
use crate::runtime::Stop;
use crate::tree::{Filter, Found};

/// What was asked for and admitted.
pub struct Terms {
    /// The volume.
    pub volume: Volume,
    /// Which paths take part.
    pub filter: Filter,
    /// Why we restore.
    pub action: RestoreAction,
    /// All in the volume is a restore's: files are replaced in place.
    pub fresh: bool,
    /// Local entries that are not wanted are removed.
    removing: bool,
    /// Asked to stop.
    pub stop: Stop,
}

impl Terms {
    /// The terms of a restore into `local` that was admitted as `action`.
    pub fn new(request: &Restore, local: &Local, action: RestoreAction, fresh: bool, stop: &Stop) -> Terms {
        Terms {
            volume: local.volume.clone(),
            filter: request.filter.clone(),
            action,
            fresh,
            removing: action.removes(request.delete, request.adopt),
            stop: stop.clone(),
        }
    }

    /// Whether a local entry that is not wanted goes. A restore that continues an interrupted one takes only what came from
    /// the remote and nobody has changed since: the rest was made meanwhile.
    pub fn removes(&self, found: &Found, before: Option<&impl Recorded>) -> bool {
        let continues = self.action == RestoreAction::Continue;
        self.removing && (!continues || before.is_some_and(|before| was_ours(found, before)))
    }
}

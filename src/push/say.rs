//! A finished push in the log.

use super::{Ending, Held, Outcome};
use crate::disk::Skips;
use crate::plan::HoldReason;
use crate::telemetry::{bytes, count, span};
use crate::tree::SkipReason;
use data_encoding::HEXLOWER;
use std::fmt;

impl Outcome {
    /// Tells a person what the push came to. `place` is where it went.
    pub fn say(&self, place: &str) {
        self.say_what_waits();
        let word = match (self.dry_run, self.published, self.ending()) {
            (true, ..) => "dry run: would push",
            (_, true, Ending::Complete) => "pushed",
            (_, true, Ending::Partial(_)) => "pushed in part",
            (_, false, Ending::Complete) => "nothing changed",
            (_, false, Ending::Partial(_)) => "nothing pushed; something was left out",
        };
        tracing::info!(
            commit = self.commit,
            added = self.added,
            changed = self.changed,
            deleted = self.deleted,
            entries = self.entries,
            total = %bytes(self.bytes_total),
            new = %bytes(self.bytes_new),
            requests = self.requests.all(),
            up = %bytes(self.requests.bytes_up),
            took = %span(self.elapsed),
            "{word} to {place}"
        );
    }

    fn say_what_waits(&self) {
        say_skips(&self.skips);
        if let Some(held) = self.held {
            tracing::warn!(deletes_held = held.count, "{held}");
            if held.replacing > 0 {
                tracing::warn!(entries_held = held.replacing, "held with them: what is in the place of a directory now");
            }
        }
        if let Some(why) = &self.after_push {
            tracing::warn!("{why}");
        }
        if self.edited > 0 {
            tracing::warn!(
                objects = self.edited,
                "changed at the remote by another program: they stay, and so do the local files; `remote-to-local-sync` takes them over"
            );
        }
        if self.conflicts > 0 {
            tracing::warn!(
                files = self.conflicts,
                "not stored, because another program's object has their name; -f replaces it, `remote-to-local-sync` takes it over"
            );
        }
        if self.foreign > 0 {
            tracing::info!(objects = self.foreign, "of other programs; left alone unless --delete-foreign");
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} held back: ", count(self.count, "delete"))?;
        match self.reason {
            HoldReason::Fuse => {
                let hash = HEXLOWER.encode(&self.hash);
                write!(f, "more than the fuse lets through; if they are meant: --allow-deletes {hash}")
            }
            HoldReason::PartialListing => f.write_str("the volume could not be listed whole"),
            HoldReason::NotWanted => f.write_str("--no-delete"),
        }
    }
}

fn say_skips(skips: &Skips) {
    for skip in skips.named() {
        let path = skip.path.as_ref().map_or_else(|| ".".to_string(), ToString::to_string);
        let detail = skip.detail.as_deref().unwrap_or_default();
        tracing::warn!(%path, detail, "left out: {}", reason(skip.reason));
    }
    for (why, number) in skips.counts() {
        tracing::warn!(count = number, "left out because {}", reason(why));
    }
}

fn reason(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::Unreadable => "it cannot be read",
        SkipReason::Special => "sockets and devices are not stored",
        SkipReason::OtherMount => "another file system is mounted there",
        SkipReason::Unstable => "it kept changing while it was read: its previous version stays",
        SkipReason::TooLong => "its name, path or size is beyond what is stored",
    }
}

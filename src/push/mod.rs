//! One push: the volume's state becomes the head of the vault.
//!
//! The volume is walked beside the index of the last pass; what may have changed is read, what is new is packed and
//! uploaded, and one conditional create publishes all of it. A crash before that create leaves the old head and some
//! unreferenced packs; a crash after it leaves the new head, which the next run recognizes. This room never deletes
//! anything at the remote: deletes are records of a commit, and only a whole listing that passed the valves yields any.

mod assemble;
mod batch;
mod capture;
mod copy;
mod error;
mod extent;
mod hooks;
mod merge;
mod outcome;
mod pending;
mod pipeline;
mod plain;
mod publish;
mod rescue;
mod say;
mod sealed;
mod spool;

pub use capture::CaptureOptions;
pub use error::PushError;
pub use hooks::{Hook, HookError, HookFailed, Hooks};
pub use outcome::{Ending, Held, Outcome};
pub use pending::{Pending, pending};
pub use plain::PlainOptions;
pub use rescue::Rescue;

use crate::disk::{ScanOptions, Watch};
use crate::remote::session::Local;
use crate::runtime::{Stop, clock};
use crate::seal::Unlocker;
use crate::store::Bucket;
use crate::telemetry::Progress;
use crate::tree::Dirty;
use crate::vault::writer::Takeover;
use std::fmt;
use std::sync::Arc;

/// What a push needs.
#[derive(Debug)]
pub struct Push<'a> {
    /// Where to.
    pub bucket: Bucket,
    /// With which key; none for the plain layout.
    pub unlocker: Option<Unlocker>,
    /// What only the plain layout is asked.
    pub plain: PlainOptions,
    /// From where.
    pub local: &'a Local,
    /// How files are read.
    pub capture: CaptureOptions,
    /// Override the valves.
    pub force: bool,
    /// Carry deletes over.
    pub delete: bool,
    /// Release a held set of deletes: exactly this one.
    pub allow_deletes: Option<[u8; 8]>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Accept that the remote shows an older state than was seen before.
    pub accept_rollback: bool,
    /// When a predecessor is taken over.
    pub takeover: Takeover,
    /// This Pod or host, for the log.
    pub pod: String,
    /// What is called around each pass.
    pub hooks: Hooks,
    /// Do not warn that only one key opens a new vault.
    pub single_key: bool,
    /// Listens to each directory that a walk enters.
    pub watch: Option<Watch>,
    /// Bars.
    pub progress: Progress,
}

impl Push<'_> {
    /// How its volume is walked.
    fn scan_options(&self) -> ScanOptions {
        ScanOptions {
            filter: self.capture.filter.clone(),
            reserved: self.local.reserved.clone(),
            spill: self.local.spill(),
            watch: self.watch.clone(),
        }
    }
}

/// Pushes once, and gives the right to write back.
pub async fn push(request: &Push<'_>, stop: &Stop) -> Result<Outcome, PushError> {
    Pusher::new(request).pass(&Pass::only(), stop).await
}

/// One pass of several.
#[derive(Debug)]
pub struct Pass {
    /// What may have changed since the pass before.
    pub dirty: Dirty,
    /// Whether it is the last one of this process.
    pub last: Last,
    /// Releases a held mass deletion whose plan has this hash, for this pass.
    pub allow_deletes: Option<[u8; 8]>,
}

impl Pass {
    /// A pass that looks at everything, and the only one.
    pub fn only() -> Pass {
        Pass { dirty: Dirty::everything(), last: Last::Yes, allow_deletes: None }
    }
}

/// Whether a pass is the last one of its process, after which the next writer need not wait.
#[derive(Clone)]
pub enum Last {
    /// Others follow.
    No,
    /// None follows.
    Yes,
    /// None follows if this is true when the pass is about to publish.
    If(Arc<dyn Fn() -> bool + Send + Sync>),
}

impl Last {
    /// Whether the next writer may begin when this pass has published.
    fn is_true(&self) -> bool {
        match self {
            Last::No => false,
            Last::Yes => true,
            Last::If(holds) => holds(),
        }
    }
}

impl fmt::Debug for Last {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Last::No => "No",
            Last::Yes => "Yes",
            Last::If(_) => "If",
        })
    }
}

/// Pushes again and again, and keeps what the passes share: the open vault and the right to write.
#[derive(Debug)]
pub struct Pusher<'a> {
    request: &'a Push<'a>,
    kept: sealed::Kept,
}

impl<'a> Pusher<'a> {
    /// Nothing is asked of the remote before the first pass.
    pub fn new(request: &'a Push<'a>) -> Pusher<'a> {
        Pusher { request, kept: sealed::Kept::default() }
    }

    /// The epoch in which this process may write; `None` without the right to, and in the plain layout, which has none.
    pub fn epoch(&self) -> Option<u32> {
        self.kept.session.as_ref().and_then(sealed::Session::epoch)
    }

    /// The slot that opened the vault; `None` before that, and in the plain layout.
    pub fn slot(&self) -> Option<&str> {
        self.kept.session.as_ref().map(sealed::Session::slot)
    }

    /// One pass. After one that failed, the next begins by finding out anew what lies at the remote.
    pub async fn pass(&mut self, pass: &Pass, stop: &Stop) -> Result<Outcome, PushError> {
        let request = self.request;
        let (began, before) = (clock::now(), request.bucket.requests());
        let mut outcome = if request.dry_run {
            self.push(pass, stop).await?
        } else {
            let pushed = match request.hooks.before(stop).await {
                Ok(()) => self.push(pass, stop).await,
                Err(error) => Err(error.into()),
            };
            request.hooks.after(pushed).await?
        };
        outcome.requests = request.bucket.requests().since(&before);
        outcome.elapsed = clock::now().duration_since(began);
        Ok(outcome)
    }

    async fn push(&mut self, pass: &Pass, stop: &Stop) -> Result<Outcome, PushError> {
        // On the heap: the stages' futures are large, and a thread's stack holds one for each caller above.
        match &self.request.unlocker {
            Some(unlocker) => Box::pin(sealed::push(self.request, unlocker, &mut self.kept, pass, stop)).await,
            None => Box::pin(plain::push(self.request, pass, stop)).await,
        }
    }
}

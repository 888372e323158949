//! A large file on its way, piece by piece.

use super::super::error::{Asked, StoreError};
use super::super::objects::Mark;
use super::line::Trouble;
use super::{Held, Sftp, finish, judge, mark};
use crate::tree::Timestamp;
use bytes::Bytes;
use tokio::sync::Mutex;

/// A hidden file that is being written. It is written on after a line was lost: what was taken is on the server's disk.
pub(in super::super) struct SftpSending {
    sftp: Sftp,
    mtime: Timestamp,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Option<(Held, String)>,
    /// The hidden file; another one as long as nothing was written, since nobody knows whether the one before it was made.
    temporary: String,
    written: u64,
}

impl Sftp {
    /// Begins a file that appears when it is finished. No request is made.
    pub(in super::super) fn begin(&self, mtime: Timestamp) -> SftpSending {
        SftpSending { sftp: self.clone(), mtime, state: Mutex::default() }
    }
}

impl SftpSending {
    /// Writes the next bytes; to be called again with the same ones after an error that may pass.
    pub(in super::super) async fn write(&self, asked: &Asked, bytes: &Bytes) -> Result<(), StoreError> {
        self.sftp.shared.shaper.up(bytes.len()).await;
        let mut state = self.state.lock().await;
        let at = state.written;
        self.with_file(asked, &mut state, bytes.len() as u64, async |held, handle| {
            held.line.write(handle, at, bytes).await?;
            held.line.sync(handle).await
        })
        .await?;
        state.written += bytes.len() as u64;
        Ok(())
    }

    /// Gives the file its time and brings it to the disk; to be called again after an error that may pass.
    pub(in super::super) async fn settle(&self, asked: &Asked) -> Result<Mark, StoreError> {
        let mut state = self.state.lock().await;
        let stored =
            self.with_file(asked, &mut state, 0, async |held, handle| finish(&held.line, handle, Some(self.mtime)).await);
        let stored = stored.await?;
        if stored.size != state.written {
            return Err(StoreError::unavailable(asked, "the store kept another length than was sent", false));
        }
        Ok(mark(&stored))
    }

    /// Gives the settled file its name. Not again after an error: it may have it by then.
    pub(in super::super) async fn name(&self, asked: &Asked) -> Result<(), StoreError> {
        let mut state = self.state.lock().await;
        let target = self.sftp.path(&asked.key);
        let temporary = state.temporary.clone();
        self.with_file(asked, &mut state, 0, async |held, handle| {
            held.line.close(handle).await?;
            held.line.place(&temporary, &target).await
        })
        .await?;
        if let Some((mut held, _)) = state.open.take() {
            held.is_clean = true;
        }
        Ok(())
    }

    /// Gives it up: what was there stays.
    pub(in super::super) async fn abort(&self, asked: &Asked) {
        let state = std::mem::take(&mut *self.state.lock().await);
        // The file that is still open goes with its line.
        drop(state.open);
        if !state.temporary.is_empty() {
            // What is left of it is hidden, and swept later.
            let _ = self.sftp.run(asked, 0, async |line| line.remove(&state.temporary).await).await;
        }
    }

    /// Does something with the open file, which is opened when it is not.
    async fn with_file<T>(
        &self,
        asked: &Asked,
        state: &mut State,
        bytes: u64,
        work: impl AsyncFnOnce(&Held, &str) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let (held, handle) = match state.open.take() {
            Some(open) => open,
            None => self.opened(asked, state).await?,
        };
        let longest = self.sftp.shared.patience.for_upload(bytes);
        let outcome = held.line.within(longest, work(&held, &handle)).await;
        let done = outcome.map_err(|trouble| judge(asked, &trouble))?;
        state.open = Some((held, handle));
        Ok(done)
    }

    async fn opened(&self, asked: &Asked, state: &mut State) -> Result<(Held, String), StoreError> {
        let held = self.sftp.held(asked).await?;
        if state.written == 0 {
            state.temporary = self.sftp.temporary(asked)?;
        } else if !held.line.syncs {
            let text = "the connection broke off in the middle of a file, and the server cannot say what it kept";
            return Err(StoreError::unavailable(asked, text, false));
        }
        let line = &held.line;
        let open =
            async { if state.written == 0 { line.begin(&state.temporary).await } else { line.go_on(&state.temporary).await } };
        let opened = line.within(self.sftp.shared.patience.silence, open).await;
        let handle = opened.map_err(|trouble| judge(asked, &trouble))?;
        Ok((held, handle))
    }
}

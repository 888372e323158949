//! Contents: a header with the first nonce, then sealed blocks of 64 KiB, the last one shorter.

use crate::fault::{Fault, Kind};
use crate::seal::RcloneKeys;
use std::sync::Arc;
use zeroize::Zeroizing;

const MAGIC: [u8; 8] = *b"RCLONE\0\0";
const NONCE_BYTES: usize = 24;
/// Bytes before the first block.
pub const HEADER_BYTES: usize = MAGIC.len() + NONCE_BYTES;
/// Bytes that sealing adds to a block.
const TAG_BYTES: usize = 16;
const PLAIN_BLOCK_BYTES: usize = 64 << 10;
/// Bytes of a whole stored block: what a [`Decryptor`] holds at most.
pub const BLOCK_BYTES: usize = TAG_BYTES + PLAIN_BLOCK_BYTES;

/// A content that rclone crypt did not write like this, or not with this password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// It ends within the header.
    #[error("the content is too short to be encrypted by rclone")]
    NoHeader,
    /// It begins with something else.
    #[error("the content was not encrypted by rclone: it does not begin with its mark")]
    NotEncrypted,
    /// A block does not open.
    #[error("block {0} does not open: the content is damaged, or the password is another one")]
    BadBlock(u64),
    /// The last block has no room for a byte of content.
    #[error("the content is cut off within the first bytes of block {0}")]
    CutOff(u64),
    /// More was given to a reader that had failed.
    #[error("the content failed before")]
    Failed,
}

impl Fault for ContentError {
    fn kind(&self) -> Kind {
        Kind::Corrupt
    }

    fn hint(&self) -> Option<String> {
        let text = "if no object opens, ENCRYPTED_PASSWORD or ENCRYPTED_PASSWORD2 is not the one it was written with";
        matches!(self, ContentError::BadBlock(0)).then(|| text.to_string())
    }
}

/// What a content's end says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The last block is shorter than a whole one: this is where rclone ended, and nothing is missing.
    Certain,
    /// It ends behind a whole block, behind the header, or was never encrypted. That is complete or cut off: the format
    /// does not tell, so whoever knows no size from elsewhere should warn.
    Unproven,
}

/// The size of a file whose encrypted content has this size.
pub(super) fn plain_size(encrypted: u64) -> Result<u64, ContentError> {
    let sealed = encrypted.checked_sub(HEADER_BYTES as u64).ok_or(ContentError::NoHeader)?;
    let (blocks, rest) = (sealed / BLOCK_BYTES as u64, sealed % BLOCK_BYTES as u64);
    let last = match rest {
        0 => 0,
        rest => rest.checked_sub(TAG_BYTES as u64).filter(|bytes| *bytes > 0).ok_or(ContentError::CutOff(blocks))?,
    };
    Ok(blocks * PLAIN_BLOCK_BYTES as u64 + last)
}

/// Decrypts one content that comes in pieces of any size. Holds one block.
///
/// Every byte it hands out is authenticated; that it was all of them is known when [`Decryptor::finish`] returns.
#[derive(Debug)]
pub struct Decryptor {
    state: State,
    /// What has come of the header or of the present block.
    held: Zeroizing<Vec<u8>>,
    block: u64,
}

#[derive(Debug)]
enum State {
    /// Contents are stored as they are.
    Clear,
    Header(Arc<RcloneKeys>),
    Blocks(Arc<RcloneKeys>, [u8; NONCE_BYTES]),
    Failed,
}

impl Decryptor {
    /// Without keys, contents pass unchanged.
    pub(super) fn new(keys: Option<Arc<RcloneKeys>>) -> Decryptor {
        let state = keys.map_or(State::Clear, State::Header);
        Decryptor { state, held: Zeroizing::new(Vec::new()), block: 0 }
    }

    /// Takes the next piece and hands out what can be read. After an error nothing more can be.
    pub fn push(&mut self, piece: &[u8], out: &mut dyn FnMut(&[u8])) -> Result<(), ContentError> {
        let done = self.take(piece, out);
        if done.is_err() {
            self.state = State::Failed;
        }
        done
    }

    fn take(&mut self, mut piece: &[u8], out: &mut dyn FnMut(&[u8])) -> Result<(), ContentError> {
        while !piece.is_empty() {
            let wanted = match &self.state {
                State::Clear => {
                    out(piece);
                    return Ok(());
                }
                State::Failed => return Err(ContentError::Failed),
                State::Header(_) => HEADER_BYTES,
                State::Blocks(..) => BLOCK_BYTES,
            };
            let (now, later) = piece.split_at(piece.len().min(wanted - self.held.len()));
            self.held.extend_from_slice(now);
            piece = later;
            if self.held.len() == wanted {
                self.open(out)?;
            }
        }
        Ok(())
    }

    /// Reads what is held: the header, or a block.
    fn open(&mut self, out: &mut dyn FnMut(&[u8])) -> Result<(), ContentError> {
        match &mut self.state {
            State::Header(keys) => {
                let nonce = self.held.strip_prefix(&MAGIC).and_then(|rest| rest.first_chunk());
                let nonce = *nonce.ok_or(ContentError::NotEncrypted)?;
                self.state = State::Blocks(keys.clone(), nonce);
                self.held.reserve_exact(BLOCK_BYTES);
            }
            State::Blocks(keys, nonce) => {
                out(keys.open_block(nonce, &mut self.held).map_err(|_| ContentError::BadBlock(self.block))?);
                count_up(nonce);
                self.block += 1;
            }
            State::Clear | State::Failed => {}
        }
        self.held.clear();
        Ok(())
    }

    /// The end of the content. A short last block is handed out here.
    pub fn finish(mut self, out: &mut dyn FnMut(&[u8])) -> Result<Ending, ContentError> {
        match self.state {
            State::Failed => return Err(ContentError::Failed),
            State::Header(_) => return Err(ContentError::NoHeader),
            State::Clear => return Ok(Ending::Unproven),
            State::Blocks(..) if self.held.is_empty() => return Ok(Ending::Unproven),
            State::Blocks(..) if self.held.len() <= TAG_BYTES => return Err(ContentError::CutOff(self.block)),
            State::Blocks(..) => {}
        }
        self.open(out).map(|()| Ending::Certain)
    }
}

/// The next block's nonce: one more, the lowest byte first.
fn count_up(nonce: &mut [u8; NONCE_BYTES]) {
    for byte in nonce {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests;

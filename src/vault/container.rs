//! The container every stored object is: a clear header, then sealed frames back to back (FORMAT.md, "Container").

use super::object::{ObjectId, ObjectKind};
use super::wire::FormatError;
use crate::runtime::limits;
use crate::seal::{Keys, ObjectKey, TAG_BYTES};
use bytes::Bytes;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 128;
/// What every object starts with.
pub const MAGIC: &[u8; 8] = b"svault\x01\x00";
const SUITE: u8 = 1;

/// The type of a frame, as its associated data says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameType {
    /// What the object holds.
    Directory = 0,
    /// Records.
    Meta = 1,
    /// Identities of the contents in the data frames.
    Toc = 2,
    /// Contents.
    Data = 3,
    /// Zeros up to the padded length.
    Pad = 4,
}

impl FrameType {
    fn word(self) -> &'static str {
        match self {
            FrameType::Directory => "directory",
            FrameType::Meta => "meta",
            FrameType::Toc => "toc",
            FrameType::Data => "data",
            FrameType::Pad => "pad",
        }
    }
}

/// A frame before sealing: a codec byte and the (perhaps compressed) body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame(Vec<u8>);

/// How frames are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// zstd level 1 where it saves at least a twentieth, else raw.
    #[default]
    Zstd,
    /// Never: the stored length then says nothing about the content.
    None,
}

const CODEC_RAW: u8 = 0;
const CODEC_ZSTD: u8 = 1;

impl Frame {
    /// Compresses a body if that pays. Long bodies are judged by their first 16 KiB, so that media costs little.
    pub fn pack(body: &[u8], compression: Compression) -> Frame {
        const SAMPLE: usize = 16 << 10;
        if compression == Compression::Zstd && body.len() >= 64 {
            let promising = body.len() <= 2 * SAMPLE || shrinks(&body[..SAMPLE]).is_some();
            if promising && let Some(mut packed) = shrinks(body) {
                packed.insert(0, CODEC_ZSTD);
                return Frame(packed);
            }
        }
        let mut raw = Vec::with_capacity(body.len() + 1);
        raw.push(CODEC_RAW);
        raw.extend_from_slice(body);
        Frame(raw)
    }

    /// Bytes it will take when sealed.
    pub fn stored_len(&self) -> usize {
        self.0.len() + TAG_BYTES
    }
}

/// The body compressed, if that saves at least a twentieth.
fn shrinks(body: &[u8]) -> Option<Vec<u8>> {
    let packed = zstd::bulk::compress(body, 1).ok()?;
    (packed.len() <= body.len() - body.len() / 20).then_some(packed)
}

/// A sealed object, ready to be stored; retries send these same bytes.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// Which object.
    pub id: ObjectId,
    /// All of it.
    pub bytes: Bytes,
    /// Bytes up to the first data frame.
    pub head_len: u32,
    /// Random and unlike every other object's: tells our own write from another's under the same name.
    pub salt: [u8; 32],
    /// The start of its commitment: references carry it.
    pub tag: [u8; 16],
}

/// What identifies the vault in every header.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'k> {
    /// The vault's keys.
    pub keys: &'k Keys,
    /// The vault.
    pub vault_id: [u8; 16],
}

/// The frames of an object to be sealed.
#[derive(Debug, Default)]
pub struct Parts {
    /// The directory's CBOR.
    pub directory: Vec<u8>,
    /// Frames of records.
    pub meta: Vec<Frame>,
    /// Frames of identities.
    pub toc: Vec<Frame>,
    /// Frames of contents.
    pub data: Vec<Frame>,
}

impl Parts {
    /// Seals everything into one object. The parts are consumed: sealing again would need another salt.
    pub fn seal(self, identity: Identity<'_>, id: ObjectId) -> Result<Sealed, FormatError> {
        self.seal_salted(identity, id, None)
    }

    /// [`Parts::seal`] with the salt given, for test vectors.
    pub fn seal_salted(self, identity: Identity<'_>, id: ObjectId, salt: Option<[u8; 32]>) -> Result<Sealed, FormatError> {
        let directory = Frame::pack(&self.directory, Compression::Zstd);
        let sum = |frames: &[Frame]| frames.iter().map(Frame::stored_len).sum::<usize>();
        let head_len = HEADER_BYTES + directory.stored_len() + sum(&self.meta) + sum(&self.toc);
        let content_len = head_len + sum(&self.data);
        let total = padded_len(content_len as u64);
        if total > limits::OBJECT_CAP_BYTES {
            return Err(FormatError::Invalid("an object would be larger than 64 MiB"));
        }
        let mut header = [0u8; HEADER_BYTES];
        write_header(&mut header, identity, id, total, directory.stored_len() as u32, head_len as u32);
        let salt = salt.unwrap_or_else(|| {
            let frames = [std::slice::from_ref(&directory), &self.meta, &self.toc, &self.data];
            identity.keys.salt(prefix(&header), frames.into_iter().flatten().map(|frame| &frame.0[..]))
        });
        header[64..96].copy_from_slice(&salt);
        let key = identity.keys.object_key(prefix(&header));
        header[96..].copy_from_slice(key.commitment());

        let mut bytes = Vec::with_capacity(total as usize);
        bytes.extend_from_slice(&header);
        let typed = [
            (FrameType::Directory, vec![directory]),
            (FrameType::Meta, self.meta),
            (FrameType::Toc, self.toc),
            (FrameType::Data, self.data),
        ];
        for (frame_type, frames) in typed {
            for frame in frames {
                append_sealed(&mut bytes, &key, frame_type, &frame.0);
            }
        }
        if total as usize > bytes.len() {
            let zeros = vec![0; total as usize - bytes.len() - TAG_BYTES];
            append_sealed(&mut bytes, &key, FrameType::Pad, &zeros);
        }
        assert_eq!(bytes.len() as u64, total, "a sealed object has the length its header says");
        let mut tag = [0; 16];
        tag.copy_from_slice(&key.commitment()[..16]);
        Ok(Sealed { id, bytes: Bytes::from(bytes), head_len: head_len as u32, salt, tag })
    }
}

fn append_sealed(bytes: &mut Vec<u8>, key: &ObjectKey, frame_type: FrameType, plain: &[u8]) {
    let start = bytes.len();
    bytes.extend_from_slice(plain);
    key.seal_tail(start as u64, frame_type as u8, bytes, start);
}

/// The first `N` bytes of a header.
fn prefix<const N: usize>(header: &[u8; HEADER_BYTES]) -> &[u8; N] {
    header.first_chunk().expect("a prefix is shorter than the header")
}

fn write_header(header: &mut [u8; HEADER_BYTES], identity: Identity<'_>, id: ObjectId, total: u64, dir_len: u32, head_len: u32) {
    header[..8].copy_from_slice(MAGIC);
    header[8] = id.kind as u8;
    header[9] = SUITE;
    header[16..32].copy_from_slice(&identity.vault_id);
    header[32..40].copy_from_slice(&id.a.to_le_bytes());
    header[40..48].copy_from_slice(&id.b.to_le_bytes());
    header[48..56].copy_from_slice(&total.to_le_bytes());
    header[56..60].copy_from_slice(&dir_len.to_le_bytes());
    header[60..64].copy_from_slice(&head_len.to_le_bytes());
}

/// An object whose header was checked against the name it was asked for by.
#[derive(Debug)]
pub struct Opened {
    /// Which object.
    pub id: ObjectId,
    /// Its whole length, padding included.
    pub total_len: u64,
    /// Stored bytes of the directory frame.
    pub dir_len: u32,
    /// Bytes up to the first data frame.
    pub head_len: u32,
    /// See [`Sealed::salt`].
    pub salt: [u8; 32],
    /// See [`Sealed::tag`].
    pub tag: [u8; 16],
    key: ObjectKey,
}

impl Opened {
    /// Checks a header. `bytes` starts with it and may be longer.
    pub fn parse(identity: Identity<'_>, id: ObjectId, bytes: &[u8]) -> Result<Opened, FormatError> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(FormatError::Truncated("the header"))?;
        if &header[..8] != MAGIC {
            return Err(FormatError::Invalid("it does not start as a vault object"));
        }
        let number =
            |range: std::ops::Range<usize>| header[range].iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        if ObjectKind::from_number(header[8]) != Some(id.kind) || number(32..40) != id.a || number(40..48) != id.b {
            return Err(FormatError::Invalid("its header names another object: it was moved or replaced"));
        }
        if header[9] != SUITE || header[10..16] != [0; 6] {
            return Err(FormatError::Unknown(format!("suite {}, key generation {}", header[9], number(10..12))));
        }
        if header[16..32] != identity.vault_id {
            return Err(FormatError::Invalid("it belongs to another vault"));
        }
        let key = identity.keys.object_key(prefix(header));
        if !key.commits_to(&header[96..]) {
            return Err(FormatError::Seal("header"));
        }
        let (total_len, dir_len, head_len) = (number(48..56), number(56..60) as u32, number(60..64) as u32);
        let minimum = (HEADER_BYTES as u64) + u64::from(dir_len);
        if total_len > limits::OBJECT_CAP_BYTES || u64::from(head_len) > total_len || u64::from(head_len) < minimum {
            return Err(FormatError::Invalid("its lengths contradict each other"));
        }
        let mut salt = [0; 32];
        salt.copy_from_slice(&header[64..96]);
        let mut tag = [0; 16];
        tag.copy_from_slice(&header[96..112]);
        Ok(Opened { id, total_len, dir_len, head_len, salt, tag, key })
    }

    /// Opens the frame stored at `offset` of the object.
    pub fn frame(&self, offset: u64, frame_type: FrameType, stored: &[u8]) -> Result<Vec<u8>, FormatError> {
        let mut buffer = stored.to_vec();
        self.frame_in_place(offset, frame_type, &mut buffer)
    }

    /// [`Opened::frame`], using the stored bytes as scratch space.
    pub fn frame_in_place(&self, offset: u64, frame_type: FrameType, stored: &mut [u8]) -> Result<Vec<u8>, FormatError> {
        let plain = self.key.open(offset, frame_type as u8, stored).map_err(|_| FormatError::Seal(frame_type.word()))?;
        unpack(plain)
    }

    /// A frame as it was before it was sealed, still packed: another object may carry it.
    pub fn packed(&self, offset: u64, frame_type: FrameType, stored: &[u8]) -> Result<Frame, FormatError> {
        let mut buffer = stored.to_vec();
        let plain = self.key.open(offset, frame_type as u8, &mut buffer).map_err(|_| FormatError::Seal(frame_type.word()))?;
        Ok(Frame(plain.to_vec()))
    }

    /// The directory's CBOR, from the object's first bytes.
    pub fn directory(&self, bytes: &[u8]) -> Result<Vec<u8>, FormatError> {
        let stored =
            bytes.get(HEADER_BYTES..HEADER_BYTES + self.dir_len as usize).ok_or(FormatError::Truncated("the directory"))?;
        self.frame(HEADER_BYTES as u64, FrameType::Directory, stored)
    }

    /// Whether the bytes from the last data frame to the end are the padding that was sealed.
    pub fn check_pad(&self, offset: u64, stored: &[u8]) -> Result<(), FormatError> {
        if stored.is_empty() {
            return Ok(());
        }
        let mut buffer = stored.to_vec();
        let plain = self.key.open(offset, FrameType::Pad as u8, &mut buffer).map_err(|_| FormatError::Seal("pad"))?;
        if plain.iter().any(|byte| *byte != 0) {
            return Err(FormatError::Invalid("its padding is not zeros"));
        }
        Ok(())
    }
}

fn unpack(plain: &[u8]) -> Result<Vec<u8>, FormatError> {
    let (codec, body) = plain.split_first().ok_or(FormatError::Truncated("a frame"))?;
    match *codec {
        CODEC_RAW if body.len() <= limits::FRAME_CAP_BYTES => Ok(body.to_vec()),
        CODEC_RAW => Err(FormatError::Invalid("a frame is larger than 4 MiB")),
        CODEC_ZSTD => {
            let claimed = zstd::zstd_safe::get_frame_content_size(body).ok().flatten().unwrap_or(u64::MAX);
            if claimed > limits::FRAME_CAP_BYTES as u64 {
                return Err(FormatError::Invalid("a frame is larger than 4 MiB"));
            }
            zstd::bulk::decompress(body, claimed as usize).map_err(|_| FormatError::Invalid("a frame does not decompress"))
        }
        other => Err(FormatError::Unknown(format!("codec {other}"))),
    }
}

/// The stored length of an object with this much content: Padmé from 4 KiB on (Nikitin et al., "Reducing Metadata
/// Leakage from Encrypted Files and Communication with PURBs", 2019), a power of two from 512 below. A gap too small
/// for a pad frame goes to the next step.
pub fn padded_len(content: u64) -> u64 {
    let fits = |total: u64| total == content || total >= content + TAG_BYTES as u64;
    let mut wanted = content;
    loop {
        let total = if wanted >= 4096 { padme(wanted) } else { wanted.max(512).next_power_of_two() };
        if fits(total) {
            return total;
        }
        wanted = total + 1;
    }
}

fn padme(length: u64) -> u64 {
    let exponent = u64::from(length.ilog2());
    let kept = u64::from(exponent.ilog2()) + 1;
    let mask = (1u64 << (exponent - kept)) - 1;
    (length + mask) & !mask
}

/// Keys of a made-up vault for tests.
#[cfg(test)]
pub(crate) fn test_keys() -> Keys {
    Keys::derive(&crate::seal::MasterKey::from_bytes([42; 32]), &[9; 16])
}

#[cfg(test)]
mod tests {
    use super::{Compression, Frame, FrameType, Identity, Opened, Parts, padded_len, padme, test_keys};
    use crate::vault::object::{Claim, ObjectId, ObjectKind};

    #[test]
    fn padding_follows_the_table() {
        for (length, padded) in [(4097, 4352), (70_000, 71_680), ((1 << 20) + 1, 1_081_344), ((1 << 24) + 1, 17_301_504)] {
            assert_eq!(padme(length), padded);
        }
        assert_eq!(padded_len(1000), 1024);
        assert_eq!(padded_len(1010), 2048, "14 bytes cannot hold a pad frame");
        assert_eq!(padded_len(512), 512);
    }

    #[test]
    fn an_object_opens_under_its_own_name_only() {
        let keys = test_keys();
        let identity = Identity { keys: &keys, vault_id: [9; 16] };
        let id = ObjectId::of_claim(ObjectKind::Pack, Claim { epoch: 1, nonce: 2 }, 3);
        let body = vec![5; 10_000];
        let data = vec![Frame::pack(&body, Compression::Zstd)];
        let length = data[0].stored_len();
        let sealed = Parts { directory: vec![0xa0], data, ..Parts::default() }.seal(identity, id).unwrap();
        let opened = Opened::parse(identity, id, &sealed.bytes).unwrap();
        let start = sealed.head_len as usize;
        assert_eq!(opened.frame(start as u64, FrameType::Data, &sealed.bytes[start..start + length]).unwrap(), body);
        opened.check_pad((start + length) as u64, &sealed.bytes[start + length..]).unwrap();
        let other = ObjectId { b: id.b + 1, ..id };
        assert!(Opened::parse(identity, other, &sealed.bytes).unwrap_err().to_string().contains("another object"));
        for byte in 0..128 {
            let mut damaged = sealed.bytes.to_vec();
            damaged[byte] ^= 1;
            assert!(Opened::parse(identity, id, &damaged).is_err(), "header byte {byte}");
        }
    }
}

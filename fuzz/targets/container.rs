//! A whole object. Random bytes never pass its seals, so the input is what lies behind them: header fields, then the
//! plaintext of frames, each behind its length; this seals them with a known key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;
use volume_syncing_controller::seal::{Keys, MasterKey};
use volume_syncing_controller::vault::container::{FrameType, HEADER_BYTES, Identity, Opened};
use volume_syncing_controller::vault::meta::Head;
use volume_syncing_controller::vault::object::ObjectId;
use volume_syncing_controller::vault::pack::read_toc;

const VAULT_ID: [u8; 16] = [9; 16];

fuzz_target!(|data: &[u8]| {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    let keys = KEYS.get_or_init(|| Keys::derive(&MasterKey::from_bytes([42; 32]), &VAULT_ID));
    let identity = Identity { keys, vault_id: VAULT_ID };
    let id = ObjectId::commit(7);
    let _ = Opened::parse(identity, id, data);

    // Changes to the lengths of the header, then how many frames are of the head.
    let Some((tweaks, mut rest)) = data.split_first_chunk::<4>() else { return };
    let mut frames: Vec<&[u8]> = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (frame, after) = after.split_at(usize::from(u16::from_le_bytes(*length)).min(after.len()));
        frames.push(frame);
        rest = after;
    }
    let types = |number: usize| match number {
        0 => FrameType::Directory,
        number if number <= usize::from(tweaks[3] & 3) => FrameType::Meta,
        number if number <= usize::from(tweaks[3] & 3) + usize::from(tweaks[3] >> 2 & 1) => FrameType::Toc,
        _ => FrameType::Data,
    };
    let stored = |frame: &&[u8]| frame.len() + 16;
    let total = HEADER_BYTES + frames.iter().map(stored).sum::<usize>();
    let head =
        frames.iter().enumerate().filter(|(number, _)| types(*number) as u8 <= 2).map(|(_, frame)| stored(frame)).sum::<usize>();
    let mut header = [0; HEADER_BYTES];
    header[..10].copy_from_slice(b"svault\x01\0\x01\x01");
    header[16..32].copy_from_slice(&VAULT_ID);
    header[32..40].copy_from_slice(&id.a.to_le_bytes());
    let tweak = |length: usize, by: u8| (length as u32).wrapping_add_signed(i32::from(by as i8));
    header[48..52].copy_from_slice(&tweak(total, tweaks[0]).to_le_bytes());
    header[56..60].copy_from_slice(&tweak(frames.first().map_or(0, stored), tweaks[1]).to_le_bytes());
    header[60..64].copy_from_slice(&tweak(HEADER_BYTES + head, tweaks[2]).to_le_bytes());
    let key = keys.object_key(header.first_chunk().expect("a header is longer"));
    header[96..].copy_from_slice(key.commitment());

    let mut bytes = header.to_vec();
    let mut places = Vec::new();
    for (number, frame) in frames.iter().enumerate() {
        let start = bytes.len();
        bytes.extend_from_slice(frame);
        key.seal_tail(start as u64, types(number) as u8, &mut bytes, start);
        places.push((types(number), start, bytes.len()));
    }
    let Ok(opened) = Opened::parse(identity, id, &bytes) else { return };
    for (frame_type, start, end) in places {
        let body = opened.frame(start as u64, frame_type, &bytes[start..end]);
        if let (FrameType::Toc, Ok(body)) = (frame_type, body) {
            let _ = read_toc(&body);
        }
    }
    let _ = opened.check_pad(bytes.len() as u64, &[]);
    if let Ok(head) = Head::read(opened, bytes.into()) {
        for frame in 0..head.frames() {
            let _ = head.records(frame);
        }
        let _ = head.head_bytes();
    }
});

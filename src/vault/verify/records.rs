//! The records of one head: whole, in order, and referring to what its object table lists.

use super::References;
use crate::tree::RelPath;
use crate::vault::directory::Directory;
use crate::vault::entry::{BlockRun, Content, Entry, FrameRef, Node, Record};
use crate::vault::meta::Head;
use crate::vault::object::ObjectId;
use crate::vault::wire::FormatError;

/// What the records of a head come to.
#[derive(Debug)]
pub(super) struct Decoded {
    /// Which object.
    pub id: ObjectId,
    /// What it says about itself.
    pub directory: Directory,
    /// What its records refer to.
    pub references: References,
    /// Its first and last path, if it has records.
    pub span: Option<(RelPath, RelPath)>,
}

/// Decodes every record of a head.
pub(super) fn decode(head: Head, upserts_only: bool) -> Result<Decoded, FormatError> {
    let mut references = References::new();
    let mut span: Option<(RelPath, RelPath)> = None;
    for frame in 0..head.frames() {
        for record in head.records(frame)? {
            let path = record.path();
            match &mut span {
                Some((_, last)) if &*last >= path => {
                    return Err(FormatError::Invalid("its records are not in order"));
                }
                Some((_, last)) => last.clone_from(path),
                None => span = Some((path.clone(), path.clone())),
            }
            if upserts_only && !matches!(record, Record::Upsert(_)) {
                return Err(FormatError::Invalid("a merged run holds something else than entries"));
            }
            refer(&record, &mut references);
        }
    }
    let id = head.opened.id;
    for line in &head.directory.table {
        let referred = references.get(&line.object).map_or(0, |(bytes, _)| *bytes);
        if line.object == id || referred != line.referenced {
            return Err(FormatError::Invalid("its object table contradicts its records"));
        }
    }
    Ok(Decoded { id, directory: head.directory, references, span })
}

fn refer(record: &Record, references: &mut References) {
    let mut add = |object: ObjectId, offset: u64, length: u64| {
        let (bytes, end) = references.entry(object).or_default();
        *bytes += length;
        *end = (*end).max(offset + length);
    };
    let mut run = |run: &BlockRun| {
        if let BlockRun::Stored { object, offset, lengths } = run {
            add(*object, *offset, lengths.sum());
        }
    };
    match record {
        Record::Delete(_) => {}
        Record::Patch(patch) => patch.runs.iter().for_each(|(_, blocks)| run(blocks)),
        Record::Upsert(entry) => match &entry.node {
            Node::File { content: Content::Blocks { runs, .. }, .. } => runs.iter().for_each(run),
            Node::File { content: Content::Slice { frame, .. }, .. } => {
                add(frame.object, frame.offset, u64::from(frame.length));
            }
            _ => {}
        },
    }
}

/// Calls `each` with every data frame that an entry's content lies in.
pub(super) fn each_frame(entry: &Entry, each: &mut impl FnMut(FrameRef)) {
    let Node::File { content, .. } = &entry.node else { return };
    match content {
        Content::Slice { frame, .. } => each(*frame),
        Content::Blocks { runs, .. } => runs.iter().for_each(|run| each_of_run(run, each)),
        Content::Empty | Content::Literal(_) => {}
    }
}

fn each_of_run(run: &BlockRun, each: &mut impl FnMut(FrameRef)) {
    run.each_block(&mut |block| block.into_iter().for_each(&mut *each));
}

/// The data frames of an object that its own records refer to, ascending: offset in the object and stored length.
pub(super) fn own_frames(head: &Head) -> Result<Vec<(u64, u32)>, FormatError> {
    let mut frames = Vec::new();
    let mut keep = |frame: FrameRef| {
        if frame.object == head.opened.id {
            frames.push((frame.offset, frame.length));
        }
    };
    for index in 0..head.frames() {
        for record in head.records(index)? {
            match &record {
                Record::Upsert(entry) => each_frame(entry, &mut keep),
                Record::Patch(patch) => patch.runs.iter().for_each(|(_, run)| each_of_run(run, &mut keep)),
                Record::Delete(_) => {}
            }
        }
    }
    frames.sort_unstable();
    frames.dedup();
    Ok(frames)
}

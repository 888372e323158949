//! The directory frame: what an object holds and, in a commit, what the commit says (FORMAT.md, "Directory"). CBOR
//! maps with small integer keys; unknown keys below 64 are skipped, others refused.

use super::container::HEADER_BYTES;
use super::object::{Claim, ObjectId, ObjectKind};
use super::orphans::Upkeep;
use super::record::{ObjectLookup, ObjectNames};
use super::wire::{FormatError, Reader, put_varint};
use minicbor::{Decoder, Encoder};
use std::collections::HashMap;

/// What a commit is beside a set of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u64);

impl Flags {
    /// Begins an epoch: earlier writers are fenced.
    pub const CLAIM: Flags = Flags(1);
    /// The writer is done: the next one need not wait.
    pub const RELEASE: Flags = Flags(2);
    /// A restore point to keep.
    pub const KEEP: Flags = Flags(4);
    /// Lists uploaded packs of a push that is not finished.
    pub const PROGRESS: Flags = Flags(8);
    /// Continues from an older restore point.
    pub const REVERT: Flags = Flags(16);

    /// Whether all of `other`'s bits are set.
    pub fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    pub fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// A frame of records, in the order they lie behind the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaFrame {
    /// Stored length.
    pub length: u32,
    /// Path of the first record.
    pub first: Vec<u8>,
    /// Number of records.
    pub count: u32,
}

/// One line of an object table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableLine {
    /// Which object.
    pub object: ObjectId,
    /// Stored bytes of it that this object's records refer to.
    pub referenced: u64,
}

/// A run part in which more of the records lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartRef {
    /// The part.
    pub object: ObjectId,
    /// Its whole length.
    pub length: u64,
    /// The start of its commitment.
    pub tag: [u8; 16],
    /// Path of its first record.
    pub first: Vec<u8>,
    /// Number of records.
    pub count: u64,
}

/// Totals over all live entries at a commit, kept up to date by every push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    /// Entries that are not directories.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Sum of the files' lengths.
    pub bytes: u64,
    /// Sum modulo 2^256 of the entries' terms, little-endian.
    pub sum: [u8; 32],
}

impl State {
    /// Adds an entry's term.
    pub fn add_term(&mut self, term: &[u8; 32]) {
        let mut carry = 0u16;
        for (byte, part) in self.sum.iter_mut().zip(term) {
            let total = u16::from(*byte) + u16::from(*part) + carry;
            *byte = total as u8;
            carry = total >> 8;
        }
    }

    /// Takes an entry's term away.
    pub fn remove_term(&mut self, term: &[u8; 32]) {
        let mut borrow = 0i16;
        for (byte, part) in self.sum.iter_mut().zip(term) {
            let total = i16::from(*byte) - i16::from(*part) - borrow;
            *byte = total.rem_euclid(256) as u8;
            borrow = i16::from(total < 0);
        }
    }
}

/// A merged run: everything live up to commit `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The run covers commits after this one…
    pub from: u64,
    /// …up to this one.
    pub to: u64,
    /// H of commit `to`.
    pub hash: [u8; 32],
    /// Its parts in path order.
    pub parts: Vec<PartRef>,
}

/// Which runs there are; in force from the commit that carries it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Oldest first.
    pub runs: Vec<Run>,
    /// Log keys below this one may be deleted.
    pub log_floor: u64,
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directory {
    /// 3: the writer's epoch.
    pub epoch: u32,
    /// 4: the writer.
    pub writer: [u8; 16],
    /// 5: wall clock in ms since 1970: a label.
    pub time_ms: u64,
    /// 6: H of the commit before.
    pub previous: [u8; 32],
    /// 7: what the commit is.
    pub flags: Flags,
    /// 8: frames of records.
    pub meta: Vec<MetaFrame>,
    /// 9: stored lengths of the TOC frames.
    pub toc: Vec<u32>,
    /// 10: objects that records refer to.
    pub table: Vec<TableLine>,
    /// 11: totals.
    pub state: State,
    /// 12: the plan, where it changed.
    pub plan: Option<Plan>,
    /// 13: the commit that carries the plan in force; 0: none.
    pub plan_at: u64,
    /// 14: application, Pod, digest of vault.json.
    pub labels: Labels,
    /// 17: more records, in path order, when they are too many for this object.
    pub parts: Vec<PartRef>,
    /// 18: nonce of the claim under which it was written.
    pub nonce: u32,
    /// 19: in a fork, the commit it follows; else 0.
    pub fork_of: u64,
    /// 20: in a commit, what tells orphans from the rest; an older program left it out.
    pub upkeep: Option<Upkeep>,
}

/// Names for people, and the digest that binds `vault.json`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    /// The program and its version.
    pub app: String,
    /// The Pod or host.
    pub pod: String,
    /// BLAKE3 of vault.json.
    pub config: [u8; 32],
}

type CborError = minicbor::encode::Error<std::convert::Infallible>;

impl Directory {
    /// As CBOR. Fields at their default are left out.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        self.encode_into(&mut Encoder::new(&mut out)).expect("writing to memory cannot fail");
        out
    }

    fn encode_into(&self, e: &mut Encoder<&mut Vec<u8>>) -> Result<(), CborError> {
        e.begin_map()?;
        e.u8(3)?.u32(self.epoch)?.u8(4)?.bytes(&self.writer)?.u8(5)?.u64(self.time_ms)?.u8(6)?.bytes(&self.previous)?;
        e.u8(7)?.u64(self.flags.0)?;
        e.u8(8)?.array(self.meta.len() as u64)?;
        for frame in &self.meta {
            e.array(3)?.u32(frame.length)?.bytes(&frame.first)?.u32(frame.count)?;
        }
        e.u8(9)?.array(self.toc.len() as u64)?;
        for length in &self.toc {
            e.u32(*length)?;
        }
        e.u8(10)?.array(self.table.len() as u64)?;
        for line in &self.table {
            e.array(4)?.u8(line.object.kind as u8)?.u64(line.object.a)?.u64(line.object.b)?.u64(line.referenced)?;
        }
        let state = &self.state;
        e.u8(11)?.array(4)?.u64(state.files)?.u64(state.dirs)?.u64(state.bytes)?.bytes(&state.sum)?;
        if let Some(plan) = &self.plan {
            e.u8(12)?.array(2)?.u64(plan.log_floor)?.array(plan.runs.len() as u64)?;
            for run in &plan.runs {
                e.array(4)?.u64(run.from)?.u64(run.to)?.bytes(&run.hash)?;
                encode_parts(e, &run.parts)?;
            }
        }
        e.u8(13)?.u64(self.plan_at)?;
        e.u8(14)?.array(3)?.str(&self.labels.app)?.str(&self.labels.pod)?.bytes(&self.labels.config)?;
        e.u8(17)?;
        encode_parts(e, &self.parts)?;
        e.u8(18)?.u32(self.nonce)?;
        if self.fork_of != 0 {
            e.u8(19)?.u64(self.fork_of)?;
        }
        if let Some(upkeep) = &self.upkeep {
            e.u8(20)?.array(3)?.u32(upkeep.counter)?.u64(upkeep.claimed_at)?.u32(upkeep.swept)?;
        }
        e.end()?;
        Ok(())
    }

    /// From CBOR.
    pub fn decode(bytes: &[u8]) -> Result<Directory, FormatError> {
        let mut directory = Directory::default();
        let mut d = Decoder::new(bytes);
        directory.decode_from(&mut d).map_err(|error| match error {
            Trouble::Format(error) => error,
            Trouble::Cbor => FormatError::Invalid("its directory is malformed"),
        })?;
        if d.position() != bytes.len() {
            return Err(FormatError::Invalid("its directory has trailing bytes"));
        }
        Ok(directory)
    }

    fn decode_from(&mut self, d: &mut Decoder<'_>) -> Result<(), Trouble> {
        let length = d.map()?;
        let mut read = 0;
        let mut last = None;
        loop {
            match length {
                Some(length) if read == length => return Ok(()),
                None if d.datatype()? == minicbor::data::Type::Break => {
                    d.skip()?;
                    return Ok(());
                }
                _ => read += 1,
            }
            let key = d.u64()?;
            if last.is_some_and(|last| last >= key) {
                return Err(FormatError::Invalid("its directory repeats or misorders a key").into());
            }
            last = Some(key);
            self.decode_field(key, d)?;
        }
    }

    fn decode_field(&mut self, key: u64, d: &mut Decoder<'_>) -> Result<(), Trouble> {
        match key {
            3 => self.epoch = d.u32()?,
            4 => self.writer = fixed(d)?,
            5 => self.time_ms = d.u64()?,
            6 => self.previous = fixed(d)?,
            7 => self.flags = Flags(d.u64()?),
            8 => {
                self.meta = list(d, |d| {
                    tuple(d, 3)?;
                    Ok(MetaFrame { length: d.u32()?, first: d.bytes()?.to_vec(), count: d.u32()? })
                })?;
            }
            9 => self.toc = list(d, |d| Ok(d.u32()?))?,
            10 => {
                self.table = list(d, |d| {
                    tuple(d, 4)?;
                    Ok(TableLine { object: object(d)?, referenced: d.u64()? })
                })?;
            }
            11 => {
                tuple(d, 4)?;
                self.state = State { files: d.u64()?, dirs: d.u64()?, bytes: d.u64()?, sum: fixed(d)? };
            }
            12 => {
                tuple(d, 2)?;
                let log_floor = d.u64()?;
                let runs = list(d, |d| {
                    tuple(d, 4)?;
                    Ok(Run { from: d.u64()?, to: d.u64()?, hash: fixed(d)?, parts: list(d, part)? })
                })?;
                self.plan = Some(Plan { runs, log_floor });
            }
            13 => self.plan_at = d.u64()?,
            14 => {
                tuple(d, 3)?;
                self.labels = Labels { app: d.str()?.to_string(), pod: d.str()?.to_string(), config: fixed(d)? };
            }
            17 => self.parts = list(d, part)?,
            18 => self.nonce = d.u32()?,
            19 => self.fork_of = d.u64()?,
            20 => {
                tuple(d, 3)?;
                self.upkeep = Some(Upkeep { counter: d.u32()?, claimed_at: d.u64()?, swept: d.u32()? });
            }
            unknown if unknown >= 64 => return Err(FormatError::Unknown(format!("directory key {unknown}")).into()),
            _ => d.skip()?,
        }
        Ok(())
    }

    /// The claim under which it was written.
    pub fn claim(&self) -> Claim {
        Claim { epoch: self.epoch, nonce: self.nonce }
    }

    /// Where each frame of records lies: offset and length.
    pub fn meta_offsets(&self, dir_len: u32) -> impl Iterator<Item = (u64, &MetaFrame)> {
        let mut offset = HEADER_BYTES as u64 + u64::from(dir_len);
        self.meta.iter().map(move |frame| {
            let at = offset;
            offset += u64::from(frame.length);
            (at, frame)
        })
    }
}

enum Trouble {
    Format(FormatError),
    Cbor,
}

impl From<minicbor::decode::Error> for Trouble {
    fn from(_: minicbor::decode::Error) -> Trouble {
        Trouble::Cbor
    }
}

impl From<FormatError> for Trouble {
    fn from(error: FormatError) -> Trouble {
        Trouble::Format(error)
    }
}

fn encode_parts(e: &mut Encoder<&mut Vec<u8>>, parts: &[PartRef]) -> Result<(), CborError> {
    e.array(parts.len() as u64)?;
    for part in parts {
        e.array(7)?.u8(part.object.kind as u8)?.u64(part.object.a)?.u64(part.object.b)?;
        e.u64(part.length)?.bytes(&part.tag)?.bytes(&part.first)?.u64(part.count)?;
    }
    Ok(())
}

fn part(d: &mut Decoder<'_>) -> Result<PartRef, Trouble> {
    tuple(d, 7)?;
    Ok(PartRef { object: object(d)?, length: d.u64()?, tag: fixed(d)?, first: d.bytes()?.to_vec(), count: d.u64()? })
}

fn object(d: &mut Decoder<'_>) -> Result<ObjectId, Trouble> {
    let kind = ObjectKind::from_number(d.u8()?).ok_or(FormatError::Unknown("object kind".into()))?;
    let id = ObjectId { kind, a: d.u64()?, b: d.u64()? };
    let fits = if kind == ObjectKind::Commit { id.b == 0 } else { u32::try_from(id.a).is_ok() };
    if fits { Ok(id) } else { Err(FormatError::Invalid("an object's name is out of range").into()) }
}

fn fixed<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N], Trouble> {
    d.bytes()?.try_into().map_err(|_| Trouble::Cbor)
}

fn tuple(d: &mut Decoder<'_>, length: u64) -> Result<(), Trouble> {
    if d.array()? == Some(length) { Ok(()) } else { Err(Trouble::Cbor) }
}

fn list<T>(d: &mut Decoder<'_>, mut read: impl FnMut(&mut Decoder<'_>) -> Result<T, Trouble>) -> Result<Vec<T>, Trouble> {
    let length = d.array()?.ok_or(Trouble::Cbor)?;
    let mut items = Vec::new();
    for _ in 0..length {
        items.push(read(d)?);
    }
    Ok(items)
}

/// The object table of an object being written. Number 1 is the object itself when its data frames hold contents;
/// offsets into it count from the first data frame, because its head's length is not known yet.
#[derive(Debug)]
pub struct Table {
    own: ObjectId,
    lines: Vec<TableLine>,
    numbers: HashMap<ObjectId, u64>,
}

impl Table {
    /// The table of `own`.
    pub fn new(own: ObjectId) -> Table {
        Table { own, lines: Vec::new(), numbers: HashMap::new() }
    }

    /// The lines, `own` first as number 1.
    pub fn into_lines(self) -> Vec<TableLine> {
        self.lines
    }

    fn number(&mut self, object: ObjectId, length: u64) -> u64 {
        if object == self.own {
            return 1;
        }
        let next = self.lines.len() as u64 + 2;
        let number = *self.numbers.entry(object).or_insert(next);
        if number == next {
            self.lines.push(TableLine { object, referenced: length });
        } else {
            self.lines[number as usize - 2].referenced += length;
        }
        number
    }
}

impl ObjectNames for Table {
    fn put(&mut self, out: &mut Vec<u8>, object: ObjectId, length: u64) {
        put_varint(out, self.number(object, length));
    }

    fn put_offset(&mut self, out: &mut Vec<u8>, _object: ObjectId, offset: u64) {
        put_varint(out, offset);
    }
}

/// Reads references by an object's table.
#[derive(Debug)]
pub struct TableLookup {
    /// The object the records lie in.
    pub own: ObjectId,
    /// Offset of its first data frame.
    pub head_len: u32,
    /// Its table.
    pub lines: Vec<TableLine>,
}

impl ObjectLookup for TableLookup {
    fn get(&self, reader: &mut Reader<'_>) -> Result<Option<ObjectId>, FormatError> {
        match reader.varint("a reference")? {
            0 => Ok(None),
            1 => Ok(Some(self.own)),
            number => {
                let line = usize::try_from(number - 2).ok().and_then(|index| self.lines.get(index));
                Ok(Some(line.ok_or(FormatError::Invalid("a reference names no object"))?.object))
            }
        }
    }

    fn get_offset(&self, reader: &mut Reader<'_>, object: ObjectId) -> Result<u64, FormatError> {
        let offset = reader.varint("a reference")?;
        let base = if object == self.own { u64::from(self.head_len) } else { 0 };
        offset.checked_add(base).ok_or(FormatError::Invalid("a reference points outside its object"))
    }
}

/// References by full name, for local files.
#[derive(Debug, Clone, Copy)]
pub struct FullNames;

impl ObjectNames for FullNames {
    fn put(&mut self, out: &mut Vec<u8>, object: ObjectId, _length: u64) {
        put_varint(out, object.kind as u64);
        put_varint(out, object.a);
        put_varint(out, object.b >> 32);
        put_varint(out, object.b & 0xffff_ffff);
    }

    fn put_offset(&mut self, out: &mut Vec<u8>, _object: ObjectId, offset: u64) {
        put_varint(out, offset);
    }
}

impl ObjectLookup for FullNames {
    fn get(&self, reader: &mut Reader<'_>) -> Result<Option<ObjectId>, FormatError> {
        let kind = reader.narrow::<u8>("a reference")?;
        if kind == 0 {
            return Ok(None);
        }
        let kind = ObjectKind::from_number(kind).ok_or(FormatError::Invalid("a reference has an unknown kind"))?;
        let a = reader.varint("a reference")?;
        let high = u64::from(reader.narrow::<u32>("a reference")?);
        let low = u64::from(reader.narrow::<u32>("a reference")?);
        Ok(Some(ObjectId { kind, a, b: high << 32 | low }))
    }

    fn get_offset(&self, reader: &mut Reader<'_>, _object: ObjectId) -> Result<u64, FormatError> {
        reader.varint("a reference")
    }
}

//! A manifest as a compressed stream of lines: a header, entries in path order, and an end without which it is cut.

use super::error::PlainError;
use super::line::{Line, parse_line, put_line};
use crate::runtime::clock;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, BufWriter, IntoInnerError, Read, Write};
use zstd::stream::read::Decoder;
use zstd::stream::write::Encoder;

/// The version of the layout.
pub const VERSION: u32 = 1;
/// No line is longer: a path, and extended attributes as large as file systems take.
const LINE_BYTES: u64 = 4 << 20;
/// A stream may refer back this far, as a power of two: bounds a reader's memory.
const WINDOW_LOG: u32 = 23;
const LEVEL: i32 = 1;

/// What a manifest is of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the layout.
    pub version: u32,
    /// The entry of the log after which it holds.
    pub seq: u64,
    /// Tells it from any other of the same number.
    pub id: String,
    /// The base on which the deltas up to this one stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// The writer's Pod or host.
    #[serde(default)]
    pub pod: String,
    /// When it was written, by the writer's clock, in milliseconds since 1970.
    #[serde(default)]
    pub time_ms: u64,
    /// The number of the claim under which it was written; 0 where none was needed.
    #[serde(default)]
    pub epoch: u64,
    /// Whether the writer had ended.
    #[serde(default)]
    pub released: bool,
    /// Live files and other entries that are not directories.
    #[serde(default)]
    pub files: u64,
    /// Live directories.
    #[serde(default)]
    pub dirs: u64,
    /// Bytes of all live files.
    #[serde(default)]
    pub bytes: u64,
}

impl Header {
    /// Of what this program writes now, after the entry `seq` with this id; totals are not counted yet.
    pub fn new(seq: u64, id: &str, pod: &str) -> Header {
        Header { version: VERSION, seq, id: id.to_owned(), pod: pod.to_owned(), time_ms: clock::wall_ms(), ..Header::default() }
    }
}

/// A base and where its number stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Its name in the folder `meta`.
    pub name: String,
    /// The entry after which it holds.
    pub seq: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    end: u64,
}

/// Writes a manifest.
pub struct LineWriter<W: Write> {
    out: Encoder<'static, W>,
    /// Lines keep what only the local index says.
    local: bool,
    buffer: Vec<u8>,
    lines: u64,
}

impl<W: Write> LineWriter<W> {
    /// Starts what others read.
    pub fn published(out: W, header: &Header) -> Result<LineWriter<W>, PlainError> {
        LineWriter::start(out, header, false)
    }

    fn start(out: W, header: &Header, local: bool) -> Result<LineWriter<W>, PlainError> {
        let mut out = Encoder::new(out, LEVEL)?;
        let mut buffer = serde_json::to_vec(header).map_err(std::io::Error::other)?;
        buffer.push(b'\n');
        out.write_all(&buffer)?;
        Ok(LineWriter { out, local, buffer, lines: 0 })
    }

    /// Adds the next entry; paths ascend.
    pub fn push(&mut self, line: &Line) -> Result<(), PlainError> {
        self.buffer.clear();
        put_line(&mut self.buffer, line, self.local);
        self.lines += 1;
        Ok(self.out.write_all(&self.buffer)?)
    }

    /// Writes the end; gives the destination back.
    pub fn finish(mut self) -> Result<W, PlainError> {
        let mut end = serde_json::to_vec(&End { end: self.lines }).map_err(std::io::Error::other)?;
        end.push(b'\n');
        self.out.write_all(&end)?;
        Ok(self.out.finish()?)
    }
}

impl<W: Write> LineWriter<BufWriter<W>> {
    /// Starts a local file: its lines keep what only the local index says.
    pub fn local(file: W, header: &Header) -> Result<LineWriter<BufWriter<W>>, PlainError> {
        LineWriter::start(BufWriter::new(file), header, true)
    }

    /// Writes the end of a local file; gives the file back.
    pub fn finish_local(self) -> Result<W, PlainError> {
        Ok(self.finish()?.into_inner().map_err(IntoInnerError::into_error)?)
    }
}

/// Reads a manifest.
pub struct LineReader<R: Read> {
    input: BufReader<Decoder<'static, BufReader<R>>>,
    header: Header,
    object: String,
    buffer: Vec<u8>,
    previous: Option<Line>,
    lines: u64,
    ended: bool,
}

impl<R: Read> LineReader<R> {
    /// Reads the header; `object` is its name in messages.
    pub fn open(input: R, object: &str) -> Result<LineReader<R>, PlainError> {
        let mut decoder = Decoder::new(input).map_err(|error| PlainError::damaged(object, error.to_string()))?;
        decoder.window_log_max(WINDOW_LOG).map_err(|error| PlainError::damaged(object, error.to_string()))?;
        let mut reader = LineReader {
            input: BufReader::with_capacity(64 << 10, decoder),
            header: Header::default(),
            object: object.to_owned(),
            buffer: Vec::new(),
            previous: None,
            lines: 0,
            ended: false,
        };
        reader.read_line()?;
        let parsed: Header = serde_json::from_slice(&reader.buffer).map_err(|_| reader.bad("it has no header"))?;
        if parsed.version != VERSION {
            return Err(PlainError::TooNew { place: reader.object, version: parsed.version });
        }
        reader.header = parsed;
        Ok(reader)
    }

    /// What it is of.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next entry; `None` at a proper end. A stream that was cut is an error.
    #[allow(clippy::should_implement_trait, reason = "an iterator of results would hide that the end must be checked")]
    pub fn next(&mut self) -> Result<Option<Line>, PlainError> {
        if self.ended {
            return Ok(None);
        }
        self.read_line()?;
        if let Ok(End { end }) = serde_json::from_slice::<End>(&self.buffer) {
            self.ended = true;
            return if end == self.lines { Ok(None) } else { Err(self.bad("it has another number of lines than its end says")) };
        }
        let line = parse_line(&self.buffer).map_err(|what| self.bad(what))?;
        if self.previous.as_ref().is_some_and(|previous| previous.path >= line.path) {
            return Err(self.bad("its lines are not in order"));
        }
        self.lines += 1;
        self.previous = Some(Line { xattrs: Vec::new(), ..line.clone() });
        Ok(Some(line))
    }

    fn read_line(&mut self) -> Result<(), PlainError> {
        self.buffer.clear();
        let read = (&mut self.input).take(LINE_BYTES).read_until(b'\n', &mut self.buffer);
        read.map_err(|error| PlainError::damaged(&self.object, error.to_string()))?;
        if self.buffer.pop() == Some(b'\n') { Ok(()) } else { Err(self.bad("it is cut off, or a line is too long")) }
    }

    fn bad(&self, what: &str) -> PlainError {
        PlainError::damaged(&self.object, what)
    }
}

/// Two manifests as one: where both have a path, the newer line counts.
pub struct Overlay<R: Read, S: Read> {
    old: Option<LineReader<R>>,
    new: Option<LineReader<S>>,
    from_old: Option<Line>,
    from_new: Option<Line>,
    started: bool,
}

impl<R: Read, S: Read> Overlay<R, S> {
    /// `new` over `old`; either may be missing.
    pub fn new(old: Option<LineReader<R>>, new: Option<LineReader<S>>) -> Overlay<R, S> {
        Overlay { old, new, from_old: None, from_new: None, started: false }
    }

    /// The next line.
    #[allow(clippy::should_implement_trait, reason = "an iterator of results would hide that the end must be checked")]
    pub fn next(&mut self) -> Result<Option<Line>, PlainError> {
        if !self.started {
            self.started = true;
            self.from_old = self.old.as_mut().map_or(Ok(None), LineReader::next)?;
            self.from_new = self.new.as_mut().map_or(Ok(None), LineReader::next)?;
        }
        let (take_old, take_new) = match (&self.from_old, &self.from_new) {
            (None, None) => return Ok(None),
            (Some(old), Some(new)) => (old.path <= new.path, new.path <= old.path),
            (old, new) => (old.is_some(), new.is_some()),
        };
        let mut line = None;
        if take_old {
            line = self.from_old.take();
            self.from_old = self.old.as_mut().map_or(Ok(None), LineReader::next)?;
        }
        if take_new {
            line = self.from_new.take();
            self.from_new = self.new.as_mut().map_or(Ok(None), LineReader::next)?;
        }
        Ok(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Mark;
    use crate::tree::{RelPath, Timestamp};

    fn header() -> Header {
        Header { time_ms: 1, files: 2, bytes: 9, ..Header::new(3, "i", "p") }
    }

    fn written(names: &[&str], size: u64) -> Vec<u8> {
        let mut writer = LineWriter::published(Vec::new(), &header()).unwrap();
        for name in names {
            let path = RelPath::new(*name).unwrap();
            writer.push(&Line::foreign(path, size, Mark("m".into()), Timestamp::default())).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Line>, PlainError> {
        let mut reader = LineReader::open(bytes, "x")?;
        assert_eq!(reader.header(), &header());
        let mut all = Vec::new();
        while let Some(line) = reader.next()? {
            all.push(line);
        }
        Ok(all)
    }

    #[test]
    fn a_manifest_comes_back_and_a_cut_one_is_refused() {
        let bytes = written(&["a", "a/b", "a.c"], 1);
        assert_eq!(read(&bytes).unwrap().len(), 3);
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(read(&written(&["b", "a"], 1)).is_err(), "out of order");
    }

    #[test]
    fn the_newer_line_counts() {
        let (old, new) = (written(&["a", "b", "d"], 1), written(&["b", "c", "e"], 2));
        let open = |bytes| LineReader::open(bytes, "x").unwrap();
        let mut overlay = Overlay::new(Some(open(&old[..])), Some(open(&new[..])));
        let mut seen = Vec::new();
        while let Some(line) = overlay.next().unwrap() {
            seen.push((line.path.to_string(), line.size()));
        }
        let expected = [("a", 1), ("b", 2), ("c", 2), ("d", 1), ("e", 2)];
        assert_eq!(seen, expected.map(|(name, size)| (name.to_string(), size)));
    }
}

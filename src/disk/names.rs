//! The names of one directory in byte order, however many there are: sorted in memory up to a limit, then in sorted
//! runs in an unlinked temporary file that are merged while they are read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What is read of a run at once.
const RUN_READ_BYTES: usize = 16 << 10;
/// Each name is preceded by its length.
const LENGTH_BYTES: usize = 2;

/// Collects names.
pub struct NameSorter<'a> {
    block: Block,
    limit: usize,
    spill: &'a Path,
    file: Option<File>,
    runs: Vec<Run>,
    end: u64,
}

/// Names, each after its length, in one piece of memory, and where each begins.
#[derive(Default)]
struct Block {
    arena: Vec<u8>,
    starts: Vec<u32>,
}

impl<'a> NameSorter<'a> {
    /// At most `limit` bytes are held in memory; more go to a temporary file in `spill`.
    pub fn new(limit: usize, spill: &'a Path) -> NameSorter<'a> {
        // Offsets are 32 bits wide.
        let limit = limit.min(1 << 30);
        NameSorter { block: Block::default(), limit, spill, file: None, runs: Vec::new(), end: 0 }
    }

    /// Adds one name.
    pub fn add(&mut self, name: &[u8]) -> io::Result<()> {
        let length = u16::try_from(name.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidFilename))?;
        self.block.starts.push(self.block.arena.len() as u32);
        self.block.arena.extend_from_slice(&length.to_le_bytes());
        self.block.arena.extend_from_slice(name);
        if self.block.held() > self.limit { self.spill_run() } else { Ok(()) }
    }

    /// Turns to reading.
    pub fn finish(mut self) -> io::Result<SortedNames> {
        if self.runs.is_empty() {
            self.block.sort();
            self.block.arena.shrink_to_fit();
            self.block.starts.shrink_to_fit();
            return Ok(SortedNames(Source::Memory { block: self.block, next: 0 }));
        }
        self.spill_run()?;
        let file = self.file.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut merge = Merge { file, heap: BinaryHeap::with_capacity(self.runs.len()), runs: self.runs };
        for run in 0..merge.runs.len() {
            merge.pull(run, Vec::new())?;
        }
        Ok(SortedNames(Source::Merge(merge)))
    }

    fn spill_run(&mut self) -> io::Result<()> {
        if self.block.starts.is_empty() {
            return Ok(());
        }
        self.block.sort();
        let file = match self.file.take() {
            Some(file) => file,
            None => tempfile::tempfile_in(self.spill)?,
        };
        let start = self.end;
        let mut out = BufWriter::with_capacity(RUN_READ_BYTES, &file);
        for at in &self.block.starts {
            let name = self.block.name(*at);
            out.write_all(&(name.len() as u16).to_le_bytes())?;
            out.write_all(name)?;
        }
        out.flush()?;
        drop(out);
        self.end += self.block.arena.len() as u64;
        self.runs.push(Run { at: start, end: self.end, buffer: Vec::new(), position: 0 });
        self.file = Some(file);
        self.block.arena.clear();
        self.block.starts.clear();
        Ok(())
    }
}

impl Block {
    fn held(&self) -> usize {
        self.arena.len() + self.starts.len() * size_of::<u32>()
    }

    fn name(&self, start: u32) -> &[u8] {
        let start = start as usize;
        let length = u16::from_le_bytes([self.arena[start], self.arena[start + 1]]);
        &self.arena[start + LENGTH_BYTES..start + LENGTH_BYTES + usize::from(length)]
    }

    fn sort(&mut self) {
        let mut starts = std::mem::take(&mut self.starts);
        starts.sort_unstable_by(|a, b| self.name(*a).cmp(self.name(*b)));
        self.starts = starts;
    }
}

/// Names in byte order, each once.
pub struct SortedNames(Source);

enum Source {
    Memory { block: Block, next: usize },
    Merge(Merge),
}

impl SortedNames {
    /// Puts the next name into `name`, which must hold the one before it; false after the last.
    pub fn next(&mut self, name: &mut Vec<u8>) -> io::Result<bool> {
        match &mut self.0 {
            Source::Memory { block, next } => {
                while let Some(start) = block.starts.get(*next) {
                    *next += 1;
                    let candidate = block.name(*start);
                    // A directory that changes while it is read may tell a name twice.
                    if candidate != name.as_slice() {
                        name.clear();
                        name.extend_from_slice(candidate);
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Source::Merge(merge) => merge.next(name),
        }
    }

    /// Whether this name with one of the endings may still come: certain where the names are in memory, `true` where they
    /// are not.
    pub(super) fn may_hold(&self, name: &[u8], endings: &[&[u8]]) -> bool {
        match &self.0 {
            Source::Memory { block, next } => {
                let rest = block.starts.get(*next..).unwrap_or_default();
                // What begins with the name follows it at once: most names are answered here.
                let any = rest.first().is_some_and(|start| block.name(*start).starts_with(name));
                let holds = |wanted: Vec<u8>| rest.binary_search_by(|start| block.name(*start).cmp(&wanted)).is_ok();
                any && endings.iter().any(|ending| holds([name, ending].concat()))
            }
            Source::Merge(_) => true,
        }
    }

    /// Bytes of memory held, nearly.
    pub(super) fn held(&self) -> usize {
        match &self.0 {
            Source::Memory { block, .. } => block.held(),
            Source::Merge(merge) => merge.runs.len() * RUN_READ_BYTES,
        }
    }
}

struct Merge {
    file: File,
    heap: BinaryHeap<Reverse<(Vec<u8>, usize)>>,
    runs: Vec<Run>,
}

/// A sorted stretch of the temporary file, read piece by piece.
struct Run {
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    position: usize,
}

impl Merge {
    fn next(&mut self, name: &mut Vec<u8>) -> io::Result<bool> {
        while let Some(Reverse((mut smallest, run))) = self.heap.pop() {
            let repeated = smallest == *name;
            std::mem::swap(name, &mut smallest);
            self.pull(run, smallest)?;
            if !repeated {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Puts the next name of `run` into the heap, in the memory of one that is done with.
    fn pull(&mut self, run: usize, mut name: Vec<u8>) -> io::Result<()> {
        if self.runs[run].read(&self.file, &mut name)? {
            self.heap.push(Reverse((name, run)));
        }
        Ok(())
    }
}

impl Run {
    fn read(&mut self, file: &File, name: &mut Vec<u8>) -> io::Result<bool> {
        if self.at == self.end && self.position == self.buffer.len() {
            return Ok(false);
        }
        let mut length = [0; LENGTH_BYTES];
        length.copy_from_slice(self.take(file, LENGTH_BYTES)?);
        let length = usize::from(u16::from_le_bytes(length));
        name.clear();
        name.extend_from_slice(self.take(file, length)?);
        Ok(true)
    }

    fn take(&mut self, file: &File, wanted: usize) -> io::Result<&[u8]> {
        if self.buffer.len() - self.position < wanted {
            self.buffer.drain(..self.position);
            self.position = 0;
            let kept = self.buffer.len();
            let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
            let more = left.min(RUN_READ_BYTES.max(wanted));
            self.buffer.resize(kept + more, 0);
            file.read_exact_at(&mut self.buffer[kept..], self.at)?;
            self.at += more as u64;
        }
        let piece = self.buffer.get(self.position..self.position + wanted);
        self.position += wanted;
        piece.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }
}

#[cfg(test)]
mod tests {
    use super::{NameSorter, Source};

    fn sorted(names: &[Vec<u8>], limit: usize) -> (Vec<Vec<u8>>, usize) {
        let spill = tempfile::tempdir().unwrap();
        let mut sorter = NameSorter::new(limit, spill.path());
        for name in names {
            sorter.add(name).unwrap();
        }
        let mut source = sorter.finish().unwrap();
        let runs = if let Source::Merge(merge) = &source.0 { merge.runs.len() } else { 0 };
        let (mut all, mut name) = (Vec::new(), Vec::new());
        while source.next(&mut name).unwrap() {
            all.push(name.clone());
        }
        (all, runs)
    }

    #[test]
    fn a_tiny_memory_gives_the_same_order() {
        let mut names: Vec<Vec<u8>> = (0..5000u32).map(|n| n.wrapping_mul(2_654_435_761).to_string().into_bytes()).collect();
        names.push(vec![0xff; 255]);
        names.push(vec![b'a'; 255]);
        names.push(b"10".to_vec());
        names.push(b"10".to_vec());
        let mut expected = names.clone();
        expected.sort();
        expected.dedup();
        for limit in [1, 300, 20_000, 1 << 20] {
            let (all, runs) = sorted(&names, limit);
            assert!(all == expected, "limit {limit}");
            assert_eq!(runs == 0, limit == 1 << 20, "limit {limit}: {runs} runs");
        }
    }

    #[test]
    fn an_empty_directory_has_no_names() {
        assert!(sorted(&[], 1).0.is_empty());
    }
}

//! Standard output. A reader that has gone away (`… | head`) is no error: what it does not want is not written.

use crate::fault::{Kind, Report};
use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, Stdout, Write};

/// Standard output, buffered; [`Out::finish`] writes what is left.
#[derive(Debug)]
pub struct Out<W: Write = Stdout> {
    inner: BufWriter<W>,
    closed: bool,
}

/// Standard output of this process.
pub fn stdout() -> Out {
    Out::new(io::stdout())
}

impl<W: Write> Out<W> {
    fn new(writer: W) -> Out<W> {
        Out { inner: BufWriter::new(writer), closed: false }
    }

    /// Writes a line.
    pub fn line(&mut self, text: impl Display) -> Result<(), Report> {
        self.put(format_args!("{text}\n"))
    }

    /// Writes text as it is.
    pub fn put(&mut self, text: impl Display) -> Result<(), Report> {
        if self.closed {
            return Ok(());
        }
        let written = write!(self.inner, "{text}");
        self.judge(written)
    }

    /// Whether the reader has gone away: whoever produces much can stop.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Hands over what is buffered.
    pub fn finish(&mut self) -> Result<(), Report> {
        if self.closed {
            return Ok(());
        }
        let flushed = self.inner.flush();
        self.judge(flushed)
    }

    fn judge(&mut self, outcome: io::Result<()>) -> Result<(), Report> {
        match outcome {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => Err(Report::new(Kind::Volume, format!("writing to standard output: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Out;
    use std::io::{self, ErrorKind, Write};

    struct Refuses(ErrorKind);

    impl Write for Refuses {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_away_is_no_error_and_a_full_disk_is() {
        let mut out = Out::new(Refuses(ErrorKind::BrokenPipe));
        out.line("x".repeat(100_000)).unwrap();
        assert!(out.is_closed());
        out.line("more").unwrap();
        out.finish().unwrap();

        let mut out = Out::new(Refuses(ErrorKind::StorageFull));
        out.line("short").unwrap();
        let report = out.finish().unwrap_err();
        assert!(report.message.starts_with("writing to standard output"), "{report}");
    }
}

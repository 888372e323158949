//! Log lines on stderr: for people, or JSON with `--log-json`.

use super::progress::around_bars;
use crate::runtime::clock;
use jiff::Timestamp;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::str::FromStr;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Json, JsonFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry};

/// Only this crate logs: what foreign code says could hold anything, secrets included.
const CRATE: &str = "volume_syncing_controller";

/// Which lines are written: a level, and other levels for single rooms, as in `info,store=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter {
    level: LevelFilter,
    rooms: Vec<(String, LevelFilter)>,
}

/// A text that is no filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected trace, debug, info, warn or error, or with parts as in info,store=debug")]
pub struct LogFilterError;

impl LogFilter {
    /// The same filter, letting debug lines through: `--verbose`.
    pub fn verbose(mut self) -> LogFilter {
        self.level = self.level.max(LevelFilter::DEBUG);
        self
    }

    fn targets(&self) -> Targets {
        let rooms = self.rooms.iter().map(|(room, level)| (format!("{CRATE}::{room}"), *level));
        Targets::new().with_target(CRATE, self.level).with_targets(rooms)
    }
}

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<LogFilter, LogFilterError> {
        let mut filter = LogFilter { level: LevelFilter::INFO, rooms: Vec::new() };
        // Templates set variables to nothing; that means the default.
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                None => filter.level = level(part)?,
                Some((room, word)) => {
                    let path = room.trim().trim_start_matches(CRATE).trim_start_matches("::");
                    if path.is_empty() || !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"_:".contains(&b)) {
                        return Err(LogFilterError);
                    }
                    filter.rooms.push((path.to_string(), level(word)?));
                }
            }
        }
        Ok(filter)
    }
}

/// The usual words, and those of the predecessor's logger.
fn level(word: &str) -> Result<LevelFilter, LogFilterError> {
    Ok(match word.trim().to_ascii_lowercase().as_str() {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warn" | "warning" => LevelFilter::WARN,
        "error" | "fatal" | "panic" => LevelFilter::ERROR,
        "off" => LevelFilter::OFF,
        _ => return Err(LogFilterError),
    })
}

/// Starts the log of this process; fails when it was started before.
pub fn start_log(filter: &LogFilter, json: bool) -> Result<(), TryInitError> {
    let lines = if json { json_lines(Stderr).boxed() } else { human_lines(Stderr, io::stderr().is_terminal()).boxed() };
    Registry::default().with(lines.with_filter(filter.targets())).try_init()
}

fn human_lines<S, W>(writer: W, colours: bool) -> impl Layer<S> + Send + Sync + 'static
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colours).event_format(Human)
}

fn json_lines<S, W>(writer: W) -> impl Layer<S> + Send + Sync + 'static
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let format: Format<Json, Wall> = Format::default().json().flatten_event(true).with_timer(Wall);
    let format = format.with_current_span(false).with_span_list(false);
    tracing_subscriber::fmt::layer().with_writer(writer).fmt_fields(JsonFields::new()).event_format(format)
}

/// `2026-11-20T14:00:00Z INFO message key=value`
struct Human;

impl<S, N> FormatEvent<S, N> for Human
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        Wall.format_time(&mut out)?;
        let level = *event.metadata().level();
        match colour(level).filter(|_| out.has_ansi_escapes()) {
            Some(code) => write!(out, " \x1b[{code}m{level}\x1b[0m ")?,
            None => write!(out, " {level} ")?,
        }
        if out.has_ansi_escapes() {
            context.format_fields(out.by_ref(), event)?;
        } else {
            // What is repeated from elsewhere does not look like a line of ours.
            let mut line = String::new();
            context.format_fields(Writer::new(&mut line), event)?;
            out.write_str(&line.replace('\r', "\\r").replace('\n', "\\n"))?;
        }
        writeln!(out)
    }
}

fn colour(level: Level) -> Option<u8> {
    match level {
        Level::ERROR => Some(31),
        Level::WARN => Some(33),
        Level::INFO => Some(32),
        _ => None,
    }
}

/// UTC to the second.
struct Wall;

impl FormatTime for Wall {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        let seconds = i64::try_from(clock::wall_ms() / 1000).map_err(|_| fmt::Error)?;
        write!(out, "{}", Timestamp::from_second(seconds).map_err(|_| fmt::Error)?)
    }
}

/// Standard error, with the progress bars out of the way while a line is written.
struct Stderr;

impl MakeWriter<'_> for Stderr {
    type Writer = Stderr;

    fn make_writer(&self) -> Stderr {
        Stderr
    }
}

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        around_bars(|| io::stderr().lock().write_all(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::{LogFilter, Registry, human_lines, json_lines};
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{Layer, fmt::MakeWriter};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Kept {
        type Writer = Kept;
        fn make_writer(&self) -> Kept {
            self.clone()
        }
    }

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn speak() {
        tracing::info!(files = 3, path = %"a b", "pushed");
        tracing::debug!(target: "volume_syncing_controller::store", "request");
        tracing::error!(target: "reqwest::connect", "foreign");
    }

    #[test]
    fn a_human_line_has_time_level_message_and_fields() {
        let kept = Kept::default();
        let filter: LogFilter = "info,store=debug".parse().unwrap();
        let log = Registry::default().with(human_lines(kept.clone(), false).with_filter(filter.targets()));
        tracing::subscriber::with_default(log, speak);
        let text = kept.text();
        let lines: Vec<(&str, &str)> = text.lines().map(|line| line.split_at(20)).collect();
        assert!(lines.iter().all(|(time, _)| time.ends_with('Z') && time.contains('T')), "{text}");
        assert_eq!(lines.iter().map(|(_, rest)| *rest).collect::<Vec<_>>(), [" INFO pushed files=3 path=a b", " DEBUG request"]);
    }

    #[test]
    fn no_text_begins_a_line_of_its_own() {
        let kept = Kept::default();
        let log = Registry::default().with(human_lines(kept.clone(), false));
        tracing::subscriber::with_default(log, || tracing::warn!(name = %"a\nb", "refused: {}", "x\r\nINFO all is well"));
        assert!(kept.text().ends_with(" WARN refused: x\\r\\nINFO all is well name=a\\nb\n"), "{}", kept.text());
    }

    #[test]
    fn a_json_line_is_one_flat_object() {
        let kept = Kept::default();
        let filter: LogFilter = "info".parse().unwrap();
        let log = Registry::default().with(json_lines(kept.clone()).with_filter(filter.targets()));
        tracing::subscriber::with_default(log, speak);
        let line: serde_json::Value = serde_json::from_str(kept.text().trim()).unwrap();
        assert_eq!((&line["level"], &line["message"], &line["files"]), (&"INFO".into(), &"pushed".into(), &3.into()));
    }

    #[test]
    fn colours_are_only_for_terminals() {
        let kept = Kept::default();
        tracing::subscriber::with_default(Registry::default().with(human_lines(kept.clone(), true)), || tracing::warn!("x"));
        assert!(kept.text().contains("\x1b[33mWARN\x1b[0m"), "{}", kept.text());
    }

    #[test]
    fn filters_are_levels_and_rooms() {
        for text in ["info", "WARNING", "fatal", "", "debug,store=trace", "volume_syncing_controller::push=debug"] {
            assert!(text.parse::<LogFilter>().is_ok(), "{text}");
        }
        for text in ["loud", "store=loud", "=debug", "a b=debug"] {
            assert!(text.parse::<LogFilter>().is_err(), "{text}");
        }
        let verbose = "warn".parse::<LogFilter>().unwrap().verbose();
        assert_eq!(verbose, "debug".parse().unwrap());
    }
}

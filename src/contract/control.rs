//! The control socket: what a probe, a hook or a person asks a running sidecar, and what it answers.
//!
//! One line of JSON each way, then the connection ends. Both ends are this program, mostly from one image; during a
//! change of version they may not be, so each line names the version of this language.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The version of the language. A field that may be left out does not change it.
pub const VERSION: u64 = 1;
/// A line is never longer, its end included.
pub const LINE_BYTES: usize = 64 << 10;
/// A text is cut at this length: what it quotes may be of any length. A line has room for two of them, even where JSON
/// takes six bytes for one.
const TEXT_BYTES: usize = 4 << 10;

/// The socket's name in its directory.
pub const SOCKET_NAME: &str = "control.sock";
/// The directory that a Pod's containers share.
pub const RUN_DIR: &str = "/run/vsc";
/// Where the predecessor kept its process id, and its `interrupt` looked for it.
pub const PID_PATH: &str = "/run/volume-syncing-controller.pid";
/// The directory of the state inside a volume, where none is named.
pub const STATE_NAME: &str = ".vsc";

/// What the sidecar can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case")]
pub enum Request {
    /// Whether all is well in one respect. The exit code is 0 or 1.
    Health {
        /// The respect.
        check: Check,
    },
    /// The Pod is being terminated: the time that is left counts from now on, and a flush begins.
    Interrupt {
        /// Answer when nothing is left to push or the deadline is reached, not at once.
        #[serde(default)]
        wait: bool,
    },
    /// One pass now. The answer holds what came of it.
    Pass {
        /// Releases the held deletions whose plan has this hash.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        allow_deletes: Option<[u8; 8]>,
    },
    /// How things stand.
    Status,
}

/// The names under which [`Request`]s go.
const REQUESTS: &[&str] = &["health", "interrupt", "pass", "status"];

/// In which respect all may be well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Passes succeed.
    Sync,
    /// The loop advances.
    Stall,
    /// A first pass has finished.
    Ready,
    /// Passes succeed and the loop advances: what a restart may cure.
    Live,
}

impl Check {
    /// One lower-case word.
    pub fn word(self) -> &'static str {
        match self {
            Check::Sync => "sync",
            Check::Stall => "stall",
            Check::Ready => "ready",
            Check::Live => "live",
        }
    }
}

/// What a pass came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PassResult {
    /// The remote holds all of the volume, by something that this pass published.
    Complete,
    /// Something was published or looked at, and something was left out for a counted reason.
    Partial,
    /// It ended with an error.
    Failed,
    /// The remote held all of the volume before.
    Noop,
}

impl PassResult {
    /// Every one.
    pub const ALL: [PassResult; 4] = [PassResult::Complete, PassResult::Partial, PassResult::Failed, PassResult::Noop];

    /// One lower-case word, also the value of a metric's label.
    pub fn word(self) -> &'static str {
        match self {
            PassResult::Complete => "complete",
            PassResult::Partial => "partial",
            PassResult::Failed => "failed",
            PassResult::Noop => "noop",
        }
    }

    /// Whether the remote holds all of the volume now.
    pub fn is_complete(self) -> bool {
        matches!(self, PassResult::Complete | PassResult::Noop)
    }
}

/// One pass, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    /// What it came to.
    pub result: PassResult,
    /// The commit that the remote shows after it.
    #[serde(default)]
    pub commit: u64,
    /// Entries added, changed and deleted at the remote.
    #[serde(default)]
    pub entries: u64,
    /// Bytes of new content.
    #[serde(default)]
    pub bytes: u64,
    /// How long it took.
    #[serde(default)]
    pub elapsed_ms: u64,
}

/// How things stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The version of the program.
    pub version: String,
    /// The process.
    pub pid: u32,
    /// Passes that ended.
    pub passes: u64,
    /// Failed passes in a row, as far as they count.
    pub failed_in_a_row: u32,
    /// The newest pass.
    pub last: Option<PassResult>,
    /// Why the last failed pass failed, while no complete one followed it.
    pub last_error: Option<String>,
    /// Since the last complete pass.
    pub since_complete_ms: Option<u64>,
    /// Files known to wait for a push.
    pub pending_files: u64,
    /// Their bytes.
    pub pending_bytes: u64,
    /// Deletes that wait for an approval.
    pub deletes_held: u64,
    /// The newest commit that this process published or found.
    pub generation: u64,
    /// Changes are found by looking again and again, not by a watch.
    pub polling: bool,
    /// What a probe would be told, in the order sync, stall, ready; empty where all is well.
    pub unwell: Vec<String>,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// What the asking process exits with.
    pub exit: u8,
    /// What a person is told.
    pub message: String,
    /// Of a pass: what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<Pass>,
    /// Of a status: how things stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<Status>>,
}

impl Reply {
    /// An answer with nothing but a message.
    pub fn new(exit: u8, message: impl Into<String>) -> Reply {
        Reply { exit, message: message.into(), ..Reply::default() }
    }
}

/// A line that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// It is no JSON object.
    #[error("what came is not one line of JSON")]
    NotJson,
    /// It is of another version.
    #[error("the other side speaks version {theirs} of the control socket's language, and this program version {VERSION}")]
    Version {
        /// Its version.
        theirs: u64,
    },
    /// It asks for something else.
    #[error("unknown request '{name}'; known are {}", REQUESTS.join(", "))]
    Unknown {
        /// What it asks for, cut to a few characters.
        name: String,
    },
    /// A field is missing or wrong.
    #[error("the request or answer is malformed: {0}")]
    Malformed(String),
}

/// The line of a request.
pub fn request_line(request: &Request) -> Vec<u8> {
    line(request)
}

/// The line of an answer; a message that is too long for it is cut.
pub fn reply_line(reply: &Reply) -> Vec<u8> {
    let mut reply = reply.clone();
    cut(&mut reply.message);
    if let Some(error) = reply.status.as_mut().and_then(|status| status.last_error.as_mut()) {
        cut(error);
    }
    line(&reply)
}

fn line(of: &impl Serialize) -> Vec<u8> {
    let mut value = serde_json::to_value(of).expect("plain fields become JSON");
    if let Value::Object(fields) = &mut value {
        fields.insert("v".into(), VERSION.into());
    }
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

fn cut(text: &mut String) {
    if text.len() > TEXT_BYTES {
        let end = (0..=TEXT_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

/// The request of a line.
pub fn parse_request(line: &[u8]) -> Result<Request, ControlError> {
    let value = object(line)?;
    let name = value.get("ask").and_then(Value::as_str).unwrap_or_default();
    if !REQUESTS.contains(&name) {
        let name = name.chars().filter(|character| !character.is_control()).take(40).collect();
        return Err(ControlError::Unknown { name });
    }
    serde_json::from_value(value).map_err(|error| ControlError::Malformed(error.to_string()))
}

/// The answer of a line.
pub fn parse_reply(line: &[u8]) -> Result<Reply, ControlError> {
    serde_json::from_value(object(line)?).map_err(|error| ControlError::Malformed(error.to_string()))
}

fn object(line: &[u8]) -> Result<Value, ControlError> {
    let value: Value = serde_json::from_slice(line).map_err(|_| ControlError::NotJson)?;
    let theirs = value.as_object().ok_or(ControlError::NotJson)?.get("v").and_then(Value::as_u64).unwrap_or(0);
    if theirs == VERSION { Ok(value) } else { Err(ControlError::Version { theirs }) }
}

/// Where the socket may lie, best first: both sides go through the same list. A path that was named is the only one;
/// else the state directory, the run directory and the volume's own state directory, as far as they are known.
pub fn socket_paths(named: Option<&Path>, state_dir: Option<&Path>, volume: Option<&Path>) -> Vec<PathBuf> {
    if let Some(named) = named {
        return vec![named.to_path_buf()];
    }
    let own = volume.map(|volume| volume.join(STATE_NAME));
    let folders = [state_dir.map(Path::to_path_buf), Some(PathBuf::from(RUN_DIR)), own];
    folders.into_iter().flatten().map(|folder| folder.join(SOCKET_NAME)).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        Check, LINE_BYTES, Pass, PassResult, Reply, Request, Status, parse_reply, parse_request, reply_line, request_line,
        socket_paths,
    };
    use std::path::{Path, PathBuf};

    #[test]
    fn requests_and_answers_come_back_as_they_went() {
        let requests = [
            Request::Health { check: Check::Sync },
            Request::Health { check: Check::Stall },
            Request::Health { check: Check::Ready },
            Request::Health { check: Check::Live },
            Request::Interrupt { wait: true },
            Request::Interrupt { wait: false },
            Request::Pass { allow_deletes: None },
            Request::Pass { allow_deletes: Some([0, 1, 2, 3, 4, 5, 6, 255]) },
            Request::Status,
        ];
        for request in requests {
            let line = request_line(&request);
            assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
            assert_eq!(parse_request(&line), Ok(request));
        }
        let pass = Pass { result: PassResult::Noop, commit: 7, entries: 1, bytes: 2, elapsed_ms: 3 };
        let status = Status { last_error: Some("a\nb".into()), last: Some(PassResult::Failed), ..Status::default() };
        let reply = Reply { pass: Some(pass), status: Some(Box::new(status)), ..Reply::new(9, "two\nlines") };
        let line = reply_line(&reply);
        assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
        assert_eq!(parse_reply(&line), Ok(reply));
    }

    #[test]
    fn the_words_on_the_wire_stay_as_they_are() {
        for (request, line) in [
            (Request::Health { check: Check::Sync }, r#"{"ask":"health","check":"sync","v":1}"#),
            (Request::Interrupt { wait: true }, r#"{"ask":"interrupt","v":1,"wait":true}"#),
            (Request::Pass { allow_deletes: None }, r#"{"ask":"pass","v":1}"#),
        ] {
            assert_eq!(String::from_utf8(request_line(&request)).unwrap().trim_end(), line);
        }
        assert_eq!(parse_request(br#"{"v":1,"ask":"interrupt","later":[1]}"#), Ok(Request::Interrupt { wait: false }));
        for result in PassResult::ALL {
            assert_eq!(serde_json::to_value(result).unwrap(), result.word());
        }
        for check in [Check::Sync, Check::Stall, Check::Ready, Check::Live] {
            assert_eq!(serde_json::to_value(check).unwrap(), check.word());
        }
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for (line, expected) in [
            ("", "not one line of JSON"),
            ("GET / HTTP/1.1", "not one line of JSON"),
            ("[1]", "not one line of JSON"),
            (r#"{"ask":"status"}"#, "version 0"),
            (r#"{"v":2,"ask":"status"}"#, "speaks version 2 of the control socket's language, and this program version 1"),
            (r#"{"v":1}"#, "unknown request ''; known are health, interrupt, pass, status"),
            (r#"{"v":1,"ask":"shut\u0007down"}"#, "unknown request 'shutdown'; known are"),
            (r#"{"v":1,"ask":"health"}"#, "malformed: missing field `check`"),
            (r#"{"v":1,"ask":"health","check":"luck"}"#, "malformed: unknown variant `luck`"),
        ] {
            let error = parse_request(line.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
        assert!(parse_reply(br#"{"v":1,"exit":999,"message":""}"#).is_err());
    }

    #[test]
    fn an_answer_is_never_longer_than_a_line() {
        for long in ["\u{1}", "aü", "€"].map(|text| text.repeat(100_000)) {
            let status = Status { last_error: Some(long.clone()), ..Status::default() };
            let reply = Reply { status: Some(Box::new(status)), ..Reply::new(1, long) };
            let line = reply_line(&reply);
            assert!(line.len() <= LINE_BYTES, "{}", line.len());
            assert!(parse_reply(&line).unwrap().message.ends_with('…'));
        }
    }

    #[test]
    fn the_socket_is_looked_for_where_it_was_named_or_in_three_places() {
        let (named, state, volume) = (Path::new("/x/s.sock"), Path::new("/state"), Path::new("/data"));
        assert_eq!(socket_paths(Some(named), Some(state), Some(volume)), [PathBuf::from("/x/s.sock")]);
        let all = ["/state/control.sock", "/run/vsc/control.sock", "/data/.vsc/control.sock"].map(PathBuf::from);
        assert_eq!(socket_paths(None, Some(state), Some(volume)), all);
        assert_eq!(socket_paths(None, None, None), all[1..2]);
    }
}

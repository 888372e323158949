//! One entry of the manifest, as a line of JSON.

use crate::seal::ShortId;
use crate::store::Mark;
use crate::tree::{Attributes, FileType, RelPath, Timestamp};
use data_encoding::{BASE64, HEXLOWER};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where.
    pub path: RelPath,
    /// What.
    pub node: Node,
    /// Mode, owner, mtime.
    pub attributes: Attributes,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Files with the same group are names of one file.
    pub group: Option<String>,
    /// The file had holes: runs of zero pages are not written on restore.
    pub sparse: bool,
    /// Only in the local index: the file whose content was compared.
    pub stamp: Option<(Timestamp, u64)>,
    /// Only in the local index: the manifest at the remote does not have this line yet.
    pub unpublished: bool,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// The state of its object.
        mark: Mark,
        /// The digest of its content; unknown for what another program wrote.
        hash: Option<ShortId>,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// Nothing more: the object in this state, if it is still there, is left over.
    Gone(Mark),
}

impl Line {
    /// A file that another program put there: nothing but its content is known.
    pub fn foreign(path: RelPath, size: u64, mark: Mark, modified: Timestamp) -> Line {
        let attributes = Attributes { mode: 0o644, mtime: modified, ..us() };
        Line { node: Node::File { size, mark, hash: None }, unpublished: true, ..Line::bare(path, attributes) }
    }

    /// A directory of which only the name is known.
    pub fn implied_directory(path: RelPath, mtime: Timestamp) -> Line {
        Line { unpublished: true, ..Line::bare(path, Attributes { mode: 0o755, mtime, ..us() }) }
    }

    /// The trace of a file that is no more.
    pub fn gone(path: RelPath, mark: Mark) -> Line {
        Line { node: Node::Gone(mark), ..Line::bare(path, Attributes::default()) }
    }

    fn bare(path: RelPath, attributes: Attributes) -> Line {
        Line {
            path,
            node: Node::Directory,
            attributes,
            xattrs: Vec::new(),
            group: None,
            sparse: false,
            stamp: None,
            unpublished: false,
        }
    }

    /// Its type; `None` when it is gone.
    pub fn file_type(&self) -> Option<FileType> {
        match &self.node {
            Node::File { .. } => Some(FileType::File),
            Node::Directory => Some(FileType::Directory),
            Node::Symlink(_) => Some(FileType::Symlink),
            Node::Fifo => Some(FileType::Fifo),
            Node::Gone(_) => None,
        }
    }

    /// Length in bytes; 0 unless a file.
    pub fn size(&self) -> u64 {
        match &self.node {
            Node::File { size, .. } => *size,
            _ => 0,
        }
    }

    /// Whether both say the same of what is stored.
    pub fn is_same_entry(&self, other: &Line) -> bool {
        self.path == other.path
            && self.node == other.node
            && self.attributes == other.attributes
            && self.xattrs == other.xattrs
            && self.group == other.group
            && self.sparse == other.sparse
    }
}

fn us() -> Attributes {
    Attributes { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw(), ..Attributes::default() }
}

/// The line as JSON has it.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Json {
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pb: Option<String>,
    t: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    m: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    u: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    g: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    h: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tob: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lg: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sp: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    x: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    c: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    i: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    n: bool,
}

/// Appends the line and its end. With `local` it keeps what only the local index says.
pub fn put_line(out: &mut Vec<u8>, line: &Line, local: bool) {
    let mut json = Json { n: local && line.unpublished, sp: line.sparse, ..Json::default() };
    (json.p, json.pb) = text_or_base64(line.path.as_bytes());
    json.lg.clone_from(&line.group);
    if let Some((ctime, inode)) = line.stamp.filter(|_| local) {
        (json.c, json.i) = (Some(time(ctime)), Some(inode));
    }
    json.t = match &line.node {
        Node::File { size, mark, hash } => {
            (json.s, json.e) = (Some(*size), Some(mark.0.clone()));
            json.h = hash.map(|hash| HEXLOWER.encode(&hash.0));
            "f"
        }
        Node::Directory => "d",
        Node::Symlink(target) => {
            (json.to, json.tob) = text_or_base64(target);
            "l"
        }
        Node::Fifo => "p",
        Node::Gone(mark) => {
            json.e = Some(mark.0.clone());
            "x"
        }
    }
    .to_string();
    if !matches!(line.node, Node::Gone(_)) {
        let at = &line.attributes;
        (json.m, json.u, json.g) = (Some(format!("{:04o}", at.mode)), Some(at.uid), Some(at.gid));
        json.mt = Some(time(at.mtime));
        json.x = line.xattrs.iter().map(|(name, value)| (BASE64.encode(name), BASE64.encode(value))).collect();
    }
    serde_json::to_writer(&mut *out, &json).expect("a line is plain data, and memory takes it");
    out.push(b'\n');
}

/// Reads one line, without its end.
pub fn parse_line(bytes: &[u8]) -> Result<Line, &'static str> {
    let json: Json = serde_json::from_slice(bytes).map_err(|_| "a line is not the JSON of an entry")?;
    let path = bytes_of(json.p, json.pb).ok_or("an entry has no readable path")?;
    let path = RelPath::new(path).map_err(|_| "a path could leave the volume")?;
    let mark = Mark(json.e.unwrap_or_default());
    let node = match json.t.as_str() {
        "f" => {
            let hash = json.h.map(|text| parse_hash(&text).ok_or("a digest is not 32 hexadecimal digits")).transpose()?;
            Node::File { size: json.s.ok_or("a file has no length")?, mark, hash }
        }
        "d" => Node::Directory,
        "l" => Node::Symlink(bytes_of(json.to, json.tob).ok_or("a symbolic link has no readable target")?),
        "p" => Node::Fifo,
        "x" => Node::Gone(mark),
        _ => return Err("an entry is of an unknown type"),
    };
    let mode = match json.m {
        Some(text) => u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o7777).ok_or("a mode is none")?,
        None => 0,
    };
    let mtime = json.mt.map_or(Ok(Timestamp::default()), |text| parse_time(&text).ok_or("a time is none"))?;
    let decoded = |text: &str| BASE64.decode(text.as_bytes()).map_err(|_| "an extended attribute is not base64");
    let mut xattrs = Vec::new();
    for (name, value) in &json.x {
        xattrs.push((decoded(name)?, decoded(value)?));
    }
    xattrs.sort();
    let ctime = json.c.map(|text| parse_time(&text).ok_or("a time is none")).transpose()?;
    Ok(Line {
        path,
        node,
        attributes: Attributes { mode, uid: json.u.unwrap_or(0), gid: json.g.unwrap_or(0), mtime },
        xattrs,
        group: json.lg,
        sparse: json.sp,
        stamp: ctime.zip(json.i),
        unpublished: json.n,
    })
}

fn text_or_base64(bytes: &[u8]) -> (Option<String>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(BASE64.encode(bytes))),
    }
}

fn bytes_of(text: Option<String>, base64: Option<String>) -> Option<Vec<u8>> {
    match (text, base64) {
        (Some(text), None) => Some(text.into_bytes()),
        (None, Some(base64)) => BASE64.decode(base64.as_bytes()).ok(),
        _ => None,
    }
}

fn parse_hash(text: &str) -> Option<ShortId> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok().map(ShortId)
}

fn time(time: Timestamp) -> String {
    format!("{}.{:09}", time.seconds, time.nanos)
}

fn parse_time(text: &str) -> Option<Timestamp> {
    let (seconds, nanos) = text.split_once('.')?;
    let valid = nanos.len() == 9 && nanos.bytes().all(|byte| byte.is_ascii_digit());
    Some(Timestamp { seconds: seconds.parse().ok()?, nanos: nanos.parse().ok().filter(|_| valid)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Line> {
        let path = |bytes: &[u8]| RelPath::new(bytes).unwrap();
        let at = Attributes { mode: 0o4755, uid: 33, gid: 34, mtime: Timestamp { seconds: -5, nanos: 7 } };
        let file = Node::File { size: 812, mark: Mark("abc-2".into()), hash: Some(ShortId([7; 16])) };
        let bare = |bytes: &[u8], node| Line { node, ..Line::bare(path(bytes), at) };
        vec![
            Line {
                xattrs: vec![(b"user.a".to_vec(), vec![0, 255]), (b"user.b".to_vec(), vec![])],
                group: Some("g".into()),
                sparse: true,
                stamp: Some((Timestamp { seconds: 9, nanos: 1 }, 12)),
                ..bare(b"wp/a.php", file)
            },
            bare(b"d\xff", Node::Directory),
            bare(b"quote\"\\\n", Node::Symlink(b"\xfe".to_vec())),
            bare(b"l", Node::Symlink(b"to/there".to_vec())),
            bare(b"p", Node::Fifo),
            Line::gone(path(b"old"), Mark("e".into())),
            Line::foreign(path(b"theirs"), 5, Mark("m".into()), Timestamp { seconds: 1, nanos: 0 }),
        ]
    }

    #[test]
    fn lines_come_back_as_they_were() {
        for line in all() {
            let mut out = Vec::new();
            put_line(&mut out, &line, true);
            assert_eq!(out.pop(), Some(b'\n'));
            assert_eq!(parse_line(&out).unwrap(), line);
            let mut remote = Vec::new();
            put_line(&mut remote, &line, false);
            let read = parse_line(&remote).unwrap();
            assert!(read.is_same_entry(&line) && read.stamp.is_none() && !read.unpublished);
        }
    }

    #[test]
    fn a_line_reads_as_the_format_says() {
        let mut out = Vec::new();
        put_line(&mut out, &all()[0], false);
        let expected = r#"{"p":"wp/a.php","t":"f","m":"4755","u":33,"g":34,"mt":"-5.000000007","s":812,"e":"abc-2","#;
        assert!(out.starts_with(expected.as_bytes()), "{}", String::from_utf8_lossy(&out));
    }

    #[test]
    fn what_could_do_harm_is_refused() {
        for bad in [
            "",
            "{}",
            r#"{"p":"../x","t":"d"}"#,
            r#"{"p":"/x","t":"d"}"#,
            r#"{"p":"x","pb":"eA==","t":"d"}"#,
            r#"{"p":"x","t":"f"}"#,
            r#"{"p":"x","t":"?"}"#,
            r#"{"p":"x","t":"d","m":"17777"}"#,
            r#"{"p":"x","t":"d","mt":"1.5"}"#,
            r#"{"p":"x","t":"f","s":1,"h":"00"}"#,
        ] {
            assert!(parse_line(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}

//! Holds the rules of the house that a machine can check. Each test lists every breach at once and says what to do.
//! A rule with an exception names the file and the reason here, where a reviewer sees it.

mod source;

use source::{Source, root, words};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Rooms and their floors: a room uses only rooms of lower floors.
const FLOORS: &[(&str, u8)] = &[
    ("fault", 0),
    ("secret", 0),
    ("contract", 0),
    ("runtime", 0),
    ("telemetry", 1),
    ("tree", 1),
    ("admin", 2),
    ("cycle", 2),
    ("disk", 2),
    ("plan", 2),
    ("seal", 2),
    ("store", 2),
    ("lease", 3),
    ("plain", 3),
    ("rclone_crypt", 3),
    ("vault", 3),
    ("remote", 4),
    ("mirror", 5),
    ("push", 5),
    ("restore", 5),
    ("sidecar", 6),
    ("operator", 7),
    ("config", 7),
    ("cli", 8),
];

/// Outside things and the rooms whose door they are.
const DOORS: &[(&[&str], &[&str])] = &[
    (
        &[
            "opendal",
            "opendal_http_transport_reqwest",
            "reqsign_aws_v4",
            "reqsign_core",
            "reqwest",
            "suppaftp",
            "russh",
            "russh_sftp",
            "hmac",
            "sha1",
        ],
        &["store"],
    ),
    (&["hyper", "hyper_util"], &["admin", "operator"]),
    (&["axum", "kube", "k8s_openapi", "rcgen", "tokio_rustls"], &["operator"]),
    (&["prometheus_client"], &["telemetry"]),
    (&["ring::", "blake3", "argon2", "aes", "poly1305", "salsa20", "scrypt"], &["seal"]),
    (&["std::fs", "rustix::fs", "tokio::fs"], &["disk", "store"]),
    (&["rusqlite", "nix"], &["disk"]),
    (&["std::env"], &["config", "cli"]),
    (
        &["SystemTime", "Instant::now", "tokio::spawn", "thread::spawn", "thread::Builder", "thread::scope", "spawn_blocking"],
        &["runtime"],
    ),
    (&["std::process::exit", "process::abort", "tokio::process", "std::process::Command"], &["runtime"]),
];

/// (file, text, why it may).
const DOOR_EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("src/secret.rs", "std::fs", "secrets arrive as mounted files, for the configuration and again for the store"),
    ("src/admin/pid.rs", "std::fs", "the pid file and /proc belong to processes, not to the volume"),
    ("src/admin/place.rs", "rustix::fs", "the control socket is a name in a directory; nothing else there is touched"),
    ("src/telemetry/process.rs", "std::fs", "the kernel tells a process its memory through /proc"),
    ("src/telemetry/progress.rs", "thread::spawn", "one named thread redraws the bars; it must not wait for the runtime"),
    ("src/telemetry/progress.rs", "thread::Builder", "one named thread redraws the bars; it must not wait for the runtime"),
];

/// What must not be left in finished code.
const LEFTOVERS: &[&str] = &["todo!", "unimplemented!", "dbg!", ".unwrap()", "panic!"];

/// (file, text, why it may).
const LEFTOVER_EXCEPTIONS: &[(&str, &str, &str)] =
    &[("src/runtime/tasks.rs", "panic!", "a task that vanished outside its set is a defect of this program, not of its input")];

/// Names that say nothing.
const EMPTY_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "common", "misc", "manager"];

const DOCUMENTS: &[&str] = &[
    "ARCHITECTURE.md",
    "README.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/migrating.md",
    "docs/remotes.md",
    "src/plain/FORMAT.md",
    "src/vault/FORMAT.md",
];

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

#[test]
fn a_room_uses_only_lower_floors() {
    let mut breaches = Vec::new();
    for source in rooms() {
        let code = source::with_plain_imports(&source.code);
        let own = floor(&source.room).unwrap_or(u8::MAX);
        let used: BTreeSet<String> = words(&code, "crate::").map(|at| name_at(&code[at + "crate::".len()..])).collect();
        for other in used.iter().filter(|other| **other != source.room) {
            match floor(other) {
                Some(theirs) if theirs < own => {}
                Some(theirs) => breaches.push(format!("{} (floor {own}) uses crate::{other} (floor {theirs})", source.path)),
                None => breaches.push(format!("{} uses crate::{other}, which is no room", source.path)),
            }
        }
    }
    report(
        &breaches,
        "Move the code to the floor it belongs on, or pass what it needs as a parameter; a room never uses a neighbour",
    );
}

#[test]
fn every_room_has_a_floor() {
    let breaches: Vec<String> =
        rooms().iter().filter(|source| floor(&source.room).is_none()).map(|source| source.path.clone()).collect();
    report(&breaches, "Give the new room a floor in FLOORS and a line in ARCHITECTURE.md: it is a design change");
}

#[test]
fn no_room_is_left_by_way_of_super() {
    let mut breaches = Vec::new();
    for source in rooms() {
        let below_room = source.path.matches('/').count() - 1;
        let depth = if source.path.ends_with("/mod.rs") { below_room - 1 } else { below_room };
        if source.code.contains(&"super::".repeat(depth + 1)) {
            breaches.push(source.path);
        }
    }
    report(&breaches, "Write `use crate::room::…` for what another room offers, so that arrows between rooms can be seen");
}

#[test]
fn imports_name_one_room_and_no_glob() {
    let mut breaches = Vec::new();
    for source in rooms() {
        for (at, line) in source.code.lines().enumerate() {
            let line = line.trim_start().trim_start_matches("pub ");
            if line.starts_with("use ") && (line.starts_with("use crate::{") || line.ends_with("::*;")) {
                breaches.push(format!("{}:{} {line}", source.path, at + 1));
            }
        }
    }
    report(&breaches, "Write one `use crate::room::…` per room and name what is imported");
}

#[test]
fn each_outside_thing_has_one_door() {
    let mut breaches = Vec::new();
    for source in source::all() {
        let code = source::with_plain_imports(&source.code);
        for (things, doors) in DOORS {
            for thing in things.iter().filter(|thing| names(&code, thing)) {
                let excepted = DOOR_EXCEPTIONS.iter().any(|(file, text, _)| *file == source.path && text == thing);
                if !doors.contains(&source.room.as_str()) && !excepted {
                    breaches.push(format!("{} uses {thing}, whose door is {}", source.path, doors.join(" or ")));
                }
            }
        }
    }
    report(&breaches, "Ask the room that owns the thing; if it does not offer what is needed, offer it there");
}

/// Whether the code names the thing; a crate's name counts only where a path begins (`rustls::crypto::ring` is not ring).
fn names(code: &str, thing: &str) -> bool {
    let is_crate = thing.starts_with(|c: char| c.is_lowercase()) && thing != "spawn_blocking" && !thing.starts_with("thread::");
    words(code, thing).any(|at| !is_crate || !code[..at].ends_with("::"))
}

#[test]
fn files_and_functions_stay_short() {
    let mut breaches = Vec::new();
    for source in source::all() {
        if source.lines > FILE_LINES {
            breaches.push(format!("{} has {} lines, at most {FILE_LINES}", source.path, source.lines));
        }
        for function in source::functions(&source.code).iter().filter(|function| function.lines > FUNCTION_LINES) {
            let source::Function { name, line, lines } = function;
            breaches.push(format!("{}:{line} fn {name} has {lines} lines, at most {FUNCTION_LINES}", source.path));
        }
    }
    report(&breaches, "Split it where the story has a break: a file that is two things, a function that decides and does");
}

#[test]
fn nothing_unfinished_is_left() {
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat()];
    let mut breaches = Vec::new();
    for source in source::all() {
        for left in LEFTOVERS.iter().filter(|left| words(&source.code, left).next().is_some()) {
            if !LEFTOVER_EXCEPTIONS.iter().any(|(file, text, _)| *file == source.path && text == left) {
                breaches.push(format!("{} contains {left}", source.path));
            }
        }
        for mark in marks.iter().filter(|mark| words(&source.text, mark).next().is_some()) {
            breaches.push(format!("{} contains {mark}", source.path));
        }
    }
    report(
        &breaches,
        "Return an error, or `expect` with the invariant that makes it impossible; finish or drop what is unfinished",
    );
}

#[test]
fn exceptions_are_still_needed() {
    let sources = source::all();
    let all = DOOR_EXCEPTIONS.iter().chain(LEFTOVER_EXCEPTIONS);
    // An exception for a file that does not exist yet is kept ready; one for a file that no longer needs it is not.
    let breaches: Vec<String> = all
        .filter_map(|(file, text, _)| sources.iter().find(|source| source.path == *file).map(|source| (source, file, text)))
        .filter(|(source, file, text)| words(&source.code, text).next().is_none() && !one_of_two_ways(file, &source.code))
        .map(|(_, file, text)| format!("{file} no longer contains {text}"))
        .collect();
    report(&breaches, "Remove the exception from this file");
}

/// The progress thread may be started in either of two ways; both are listed.
fn one_of_two_ways(file: &str, code: &str) -> bool {
    file == "src/telemetry/progress.rs" && code.contains("thread::")
}

#[test]
fn documents_name_only_what_exists() {
    let mut breaches = Vec::new();
    for document in DOCUMENTS {
        let Ok(text) = fs::read_to_string(root().join(document)) else {
            breaches.push(format!("{document} is missing"));
            continue;
        };
        for path in text.split('`').skip(1).step_by(2).filter_map(repository_path) {
            if !exists(&path) {
                breaches.push(format!("{document} names {path}, which does not exist"));
            }
        }
    }
    report(&breaches, "Correct the document in the commit that made it false");
}

#[test]
fn the_description_of_the_format_fits_a_page() {
    const WIDTH: usize = 120;
    let text = fs::read_to_string(root().join("src/vault/FORMAT.md")).expect("the description");
    let long = text.lines().enumerate().filter(|(_, line)| line.chars().count() > WIDTH);
    let breaches: Vec<String> = long.map(|(index, _)| format!("src/vault/FORMAT.md:{}", index + 1)).collect();
    report(&breaches, "Wrap the line at 120 characters");
}

#[test]
fn every_module_folder_says_what_it_is_for() {
    let mut breaches = Vec::new();
    let folders: BTreeSet<String> =
        source::all().iter().filter_map(|source| source.path.rsplit_once('/').map(|(folder, _)| folder.to_string())).collect();
    for folder in folders.iter().filter(|folder| *folder != "src") {
        let text = fs::read_to_string(root().join(folder).join("mod.rs")).unwrap_or_default();
        let first = text.lines().next().unwrap_or("");
        let words = first.trim_start_matches("//!").split_whitespace().count();
        if !first.starts_with("//!") || words < 3 {
            breaches.push(format!("{folder}/mod.rs does not begin with a sentence in `//!`"));
        }
    }
    report(&breaches, "Begin mod.rs with what the room is for and what it must never do");
}

#[test]
fn no_file_names_the_machine_it_was_written_on() {
    // Put together from pieces, or this file would name them.
    let forbidden =
        [["/wo", "rk/"], ["/opt/tar", "get"], ["/opt/to", "ols"], ["/opt/", "h/"], ["/root/", "."]].map(|pieces| pieces.concat());
    let mut breaches = Vec::new();
    for file in tracked_files() {
        let Ok(bytes) = fs::read(root().join(&file)) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        for word in &forbidden {
            // `tests/work/x` is a path of the repository, not of a machine.
            let absolute = |at: usize| at == 0 || !text.as_bytes()[at - 1].is_ascii_alphanumeric();
            if text.match_indices(word.as_str()).any(|(at, _)| absolute(at)) {
                breaches.push(format!("{file} contains {word}"));
            }
        }
    }
    report(&breaches, "Find the thing by PATH, by an option or below a temporary directory");
}

#[test]
fn every_file_has_a_name_that_says_something() {
    let breaches: Vec<String> = tracked_files()
        .into_iter()
        .filter(|file| Path::new(file).components().any(|part| has_empty_name(Path::new(part.as_os_str()))))
        .collect();
    report(&breaches, "Name the thing after what it does; if you cannot, it is two things");
}

fn has_empty_name(part: &Path) -> bool {
    part.file_stem().is_some_and(|stem| EMPTY_NAMES.iter().any(|name| stem.eq_ignore_ascii_case(name)))
}

/// The files of rooms: everything below `src` but the door and the map.
fn rooms() -> Vec<Source> {
    source::all().into_iter().filter(|source| source.room != "main" && source.room != "lib").collect()
}

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

fn name_at(code: &str) -> String {
    code.trim_start().bytes().take_while(|byte| source::is_word(*byte)).map(char::from).collect()
}

/// The path inside backticks if it looks like one of this repository, without a trailing `*` or `…`.
fn repository_path(quoted: &str) -> Option<String> {
    const TOPS: &[&str] = &["src/", "tests/", "docs/", "bench/", "examples/", "charts/", "fuzz/", ".ci/"];
    let looks_like_one = TOPS.iter().any(|top| quoted.starts_with(top));
    let plain = !quoted.contains(|c: char| c.is_whitespace() || "<>{}|$".contains(c));
    (looks_like_one && plain).then(|| quoted.trim_end_matches(['*', '…']).to_string())
}

fn exists(path: &str) -> bool {
    root().join(path).exists()
}

/// What git keeps; in an unpacked archive without git, what lies below the root apart from build products.
fn tracked_files() -> Vec<String> {
    let listed = Command::new("git").args(["ls-files", "-z", "--cached"]).current_dir(root()).output();
    let files: Vec<String> = match listed {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).split('\0').filter(|name| !name.is_empty()).map(String::from).collect()
        }
        _ => {
            let mut files = Vec::new();
            walk(&root(), &mut files);
            files
        }
    };
    assert!(files.iter().any(|file| file == "Cargo.toml"), "the list of the repository's files is incomplete");
    files
}

fn walk(folder: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("the repository is readable") {
        let path = entry.expect("the repository is readable").path();
        let name = path.strip_prefix(root()).expect("found below the root").to_string_lossy().into_owned();
        if path.is_file() {
            files.push(name);
        } else if path.is_dir() && !matches!(name.as_str(), "target" | ".git" | "dist" | "bench/results") {
            walk(&path, files);
        }
    }
}

fn report(breaches: &[String], what_to_do: &str) {
    assert!(breaches.is_empty(), "\n  {}\n{what_to_do}.\n", breaches.join("\n  "));
}

#[test]
fn the_reader_of_sources_sees_code_only() {
    let text =
        "let a = \"crate::cli\"; // std::env\nlet b = 'x'; fn f<'a>() {}\nlet c = r#\"todo!\"#; /* dbg! /* x */ */ 'y: loop {}";
    let code = source::blank(text);
    assert!(["crate", "env", "todo", "dbg", "'x'"].iter().all(|word| !code.contains(word)), "{code}");
    assert!(code.contains("fn f<'a>() {}") && code.contains("'y: loop {}"), "{code}");
    assert_eq!(code.lines().count(), text.lines().count());
}

#[test]
fn the_reader_of_imports_writes_trees_out() {
    let code = source::with_plain_imports("use std::{env, collections::{BTreeMap, BTreeSet as Set}};");
    for path in ["use std::env;", "use std::collections::BTreeMap;", "use std::collections::BTreeSet as Set;"] {
        assert!(code.contains(path), "{code}");
    }
}

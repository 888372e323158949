//! Reads the project's Rust files the way a reviewer skims them: code only, without comments, texts and tests.

use std::fs;
use std::path::{Path, PathBuf};

/// One file below `src`, without what does not count.
pub struct Source {
    /// Its path from the repository's root.
    pub path: String,
    /// The room it belongs to: the first component below `src`.
    pub room: String,
    /// Its code; comments, literals' insides and test items are blank, line breaks are kept.
    pub code: String,
    /// How many lines come before its tests.
    pub lines: usize,
    /// The text as it stands.
    pub text: String,
}

/// The repository's root.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `src` that is not a test's, sorted by path.
pub fn all() -> Vec<Source> {
    let mut paths = Vec::new();
    rust_files(&root().join("src"), &mut paths);
    paths.sort();
    let mut tests_only = Vec::new();
    let mut sources: Vec<Source> = paths
        .iter()
        .map(|path| {
            let (source, tests) = read(path);
            tests_only.extend(tests);
            source
        })
        .collect();
    sources.retain(|source| !tests_only.iter().any(|test| source.path.starts_with(test.as_str())));
    sources
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a source folder is readable") {
        let path = entry.expect("a source folder is readable").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The file, and the beginnings of paths that its `#[cfg(test)] mod name;` lines make test-only.
fn read(path: &Path) -> (Source, Vec<String>) {
    let text = fs::read_to_string(path).expect("a source file is UTF-8");
    let name = path.strip_prefix(root()).expect("found below the root").to_string_lossy().into_owned();
    let room = name.trim_start_matches("src/").split('/').next().unwrap_or("").trim_end_matches(".rs").to_string();
    let (code, modules) = without_tests(&blank(&text));
    let folder = match name.strip_suffix("/mod.rs") {
        Some(folder) => folder.to_string(),
        None => name.trim_end_matches(".rs").to_string(),
    };
    let tests = modules.iter().flat_map(|module| [format!("{folder}/{module}.rs"), format!("{folder}/{module}/")]).collect();
    let before = text.find("#[cfg(test)]").unwrap_or(text.len());
    let lines = text[..before].lines().count();
    (Source { path: name, room, code, lines, text }, tests)
}

/// The text with comments and the insides of string and character literals turned into spaces.
pub fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"//") {
            at + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            at + block_comment(rest)
        } else if let Some(length) = raw_text(bytes, at) {
            at + length
        } else if rest[0] == b'"' {
            at + quoted(rest, b'"')
        } else if rest[0] == b'\'' && is_character(rest) {
            at + quoted(rest, b'\'')
        } else {
            at += 1;
            continue;
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(out).expect("whole literals are replaced, so characters stay whole")
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of a raw string such as `br##"…"##` that begins here.
fn raw_text(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    if rest[0] != b'r' || (at > 0 && is_word(bytes[at - 1]) && !matches!(bytes[at - 1], b'b' | b'c')) {
        return None;
    }
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = 2 + hashes;
    let found = rest[body..].windows(close.len()).position(|window| window == close);
    Some(found.map_or(rest.len(), |position| body + position + close.len()))
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Tells `'a'` and `'\n'` from the lifetime `'a`.
fn is_character(rest: &[u8]) -> bool {
    match rest.get(1) {
        Some(b'\\') => true,
        Some(byte) if byte.is_ascii() => rest.get(2) == Some(&b'\''),
        Some(_) => true,
        None => false,
    }
}

/// Whether the byte may be part of a name.
pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Blanks every item under `#[cfg(test)]`; also the names of modules so marked that live in files of their own.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.to_string();
    let mut modules = Vec::new();
    let mut from = 0;
    while let Some(found) = out[from..].find(MARK) {
        let start = from + found;
        let item = start + MARK.len();
        let end = item + item_length(&out[item..]);
        let words: Vec<&str> = out[item..end].split_whitespace().collect();
        if let Some(at) = words.iter().position(|word| *word == "mod")
            && let Some(name) = words.get(at + 1).and_then(|name| name.strip_suffix(';'))
        {
            modules.push(name.to_string());
        }
        let spaces: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &spaces);
        from = start + spaces.len();
    }
    (out, modules)
}

/// To the end of the first item: its `;` outside brackets, or the brace that closes its body.
fn item_length(code: &str) -> usize {
    let (mut braces, mut others) = (0usize, 0usize);
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'(' | b'[' => others += 1,
            b')' | b']' => others = others.saturating_sub(1),
            b'{' => braces += 1,
            b'}' if braces <= 1 => return at + 1,
            b'}' => braces -= 1,
            b';' if braces == 0 && others == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// One function: its name, the line it begins on and how many lines it takes.
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

/// Every function with a body.
pub fn functions(code: &str) -> Vec<Function> {
    words(code, "fn")
        .filter_map(|at| {
            let name: String = code[at + 2..].trim_start().bytes().take_while(|b| is_word(*b)).map(char::from).collect();
            let item = &code[at..at + item_length(&code[at..])];
            let has_body = !name.is_empty() && item.ends_with('}');
            let line = code[..at].lines().count().max(1);
            has_body.then(|| Function { name, line, lines: item.lines().count() })
        })
        .collect()
}

/// Where the word stands alone.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let end = at + word.len();
        let open_start = !is_word(word.as_bytes()[0]) || *at == 0 || !is_word(bytes[at - 1]);
        let open_end = !is_word(bytes[end - 1]) || end == bytes.len() || !is_word(bytes[end]);
        open_start && open_end
    })
}

/// The code with every `use` tree written out, one path a line, so that `use std::{env, fs}` is seen as two paths.
pub fn with_plain_imports(code: &str) -> String {
    let mut out = code.to_string();
    for at in words(code, "use") {
        let tree = &code[at + 3..];
        let tree = &tree[..tree.find(';').unwrap_or(tree.len())];
        if tree.contains('{') {
            let mut paths = Vec::new();
            expand("", &tree.split_whitespace().collect::<Vec<_>>().join(" "), &mut paths);
            for path in paths {
                out.push_str("\nuse ");
                out.push_str(&path);
                out.push(';');
            }
        }
    }
    out
}

fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let Some((head, rest)) = tree.split_once('{') else {
        paths.push(format!("{prefix}{}", tree.trim()));
        return;
    };
    let inside = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let prefix = format!("{prefix}{}", head.trim());
    let (mut depth, mut start) = (0, 0);
    for (at, byte) in inside.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                expand(&prefix, inside[start..at].trim(), paths);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !inside[start..].trim().is_empty() {
        expand(&prefix, inside[start..].trim(), paths);
    }
}

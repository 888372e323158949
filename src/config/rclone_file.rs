//! An rclone configuration that a person wrote: the sections that stand for `REMOTE_*` and `ENCRYPTED_*`.

use super::mistakes::{ConfigError, Mistake};
use crate::contract::env;
use crate::secret::text_of_file;
use crate::tree::Shown;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The marks that quote a value, so that it keeps its outer spaces.
const QUOTES: [&str; 2] = ["\"\"\"", "`"];
/// What an encrypted configuration begins with.
const ENCRYPTED_MARK: &str = "RCLONE_ENCRYPT_";
/// The type of a section that encrypts.
const CRYPT: &str = "crypt";
/// Section names in a message.
const NAMES_MAX: usize = 8;

type Section = BTreeMap<String, String>;

/// A configuration file with its section for the remote. No `Debug`: values may be secrets.
#[derive(Clone)]
pub(super) struct RcloneFile {
    /// Where it lies, for messages.
    pub path: PathBuf,
    sections: BTreeMap<String, Section>,
}

impl RcloneFile {
    /// Reads a file. It must have the section of the remote.
    pub fn read(path: &Path) -> Result<RcloneFile, ConfigError> {
        let wrong = |problem: String, hint: &str| {
            let name = format!("--no-template: {}", path.display());
            ConfigError { mistakes: vec![Mistake { name, problem, hint: hint.to_string() }] }
        };
        let text = text_of_file(path)
            .map_err(|error| wrong(error, "name the rclone configuration with -c, or leave out --no-template"))?;
        let mut sections = parse(&text).map_err(|(problem, hint)| wrong(problem, hint))?;
        if !sections.contains_key(env::SECTION_REMOTE) {
            let names: Vec<String> =
                sections.keys().take(NAMES_MAX).map(|name| format!("[{}]", Shown(name.as_bytes()))).collect();
            let found = if names.is_empty() { "it has none".to_string() } else { format!("it has {}", names.join(", ")) };
            let problem = format!("has no section [{}]; {found}", env::SECTION_REMOTE);
            return Err(wrong(problem, "the remote is looked for under that name: rename the section"));
        }
        if let Some(section) = sections.get_mut(env::SECTION_ENCRYPTED) {
            // Every such section says so: it does not tell whether rclone's data or a vault lies there.
            if section.remove("type").is_none_or(|kind| kind != CRYPT) {
                let problem = format!("has a section [{}] that is not of type {CRYPT}", env::SECTION_ENCRYPTED);
                return Err(wrong(problem, "write type = crypt there, or remove the section for no encryption"));
            }
        }
        Ok(RcloneFile { path: path.to_path_buf(), sections })
    }

    /// The section that stands for the variables of a prefix, with its name.
    pub fn section(&self, prefix: &str) -> Option<(&'static str, &Section)> {
        let name = match prefix {
            env::REMOTE_PREFIX => env::SECTION_REMOTE,
            env::ENCRYPTED_PREFIX => env::SECTION_ENCRYPTED,
            _ => return None,
        };
        self.sections.get(name).map(|section| (name, section))
    }
}

/// The sections of rclone's form: a later value wins, and so does one of a section that is continued later. What is wrong
/// is told by its line, which is not shown: it may be a secret.
fn parse(text: &str) -> Result<BTreeMap<String, Section>, (String, &'static str)> {
    let mut sections: BTreeMap<String, Section> = BTreeMap::new();
    // What stands before the first section belongs to no remote.
    let mut current = &mut Section::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let number = index + 1;
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with(ENCRYPTED_MARK) {
            let hint = "write the two sections to a file of their own: `rclone config show remote` prints one in clear";
            return Err(("is encrypted as a whole".to_string(), hint));
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            current = sections.entry(name.trim().to_string()).or_default();
            continue;
        }
        let hint = "write key = value, or [section], one on each line";
        let (key, value) = pair(line).ok_or_else(|| (format!("cannot be understood in line {number}"), hint))?;
        if value.split_once("%(").is_some_and(|(_, rest)| rest.contains(")s")) {
            return Err((format!("refers to another value in line {number}, as %(name)s"), "write the value itself"));
        }
        current.insert(key.to_lowercase(), value.to_string());
    }
    Ok(sections)
}

fn pair(line: &str) -> Option<(&str, &str)> {
    let (key, rest) = line.split_at(line.find(['=', ':']).filter(|at| *at > 0)?);
    let value = rest.get(1..)?.trim();
    for quote in QUOTES {
        let Some(opened) = value.strip_prefix(quote).filter(|opened| !opened.is_empty()) else { continue };
        return Some((key.trim(), opened.rsplit_once(quote)?.0));
    }
    Some((key.trim(), value))
}

#[cfg(test)]
mod tests {
    use super::{BTreeMap, RcloneFile, env, parse};

    fn read(text: &str) -> Result<RcloneFile, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        RcloneFile::read(file.path()).map_err(|error| error.to_string())
    }

    /// What rclone itself makes of this text, as its `config dump` shows it.
    #[test]
    fn the_form_is_rclones() {
        let text = "\u{feff}# one\n; two\nlost = here\n[remote]\r\ntype = s3\n access_key_id=a b \nsecret : x=y:z\n\
                    region = `  q ` \nendpoint = \"\"\" http://h:9 \"\"\"\nprovider = \"Minio\"\nacl =\nnote = r # no comment\n\
                    single = `\n[ other ]\ntype=local\n[remote]\ntype = webdav\n";
        let sections = parse(text).unwrap();
        let expected = [
            ("type", "webdav"),
            ("access_key_id", "a b"),
            ("secret", "x=y:z"),
            ("region", "  q "),
            ("endpoint", " http://h:9 "),
            ("provider", "\"Minio\""),
            ("acl", ""),
            ("note", "r # no comment"),
            ("single", "`"),
        ];
        let expected: BTreeMap<String, String> =
            expected.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        assert_eq!(sections["remote"], expected);
        assert_eq!(sections.keys().collect::<Vec<_>>(), ["other", "remote"]);
    }

    #[test]
    fn a_file_that_is_none_is_told_by_its_line_without_showing_it() {
        for (text, problem) in [
            ("[remote]\ntype = s3\nhunter2\n", "cannot be understood in line 3"),
            ("[remote]\n= hunter2\n", "cannot be understood in line 2"),
            ("[remote\ntype = hunter2", "cannot be understood in line 1"),
            ("[remote]\npass = `hunter2\n", "cannot be understood in line 2"),
            ("[remote]\ntype = s3\nx = hunter2%(type)s", "refers to another value in line 3"),
            ("# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nhunter2", "is encrypted as a whole"),
            ("[minio]\ntype = s3\nx = hunter2", "has no section [remote]; it has [minio]"),
            ("[remote]\n[remote_encrypted]\npassword = hunter2", "a section [remote_encrypted] that is not of type crypt"),
            ("", "has no section [remote]; it has none"),
            ("hunter2 = x", "has no section [remote]; it has none"),
        ] {
            let told = read(text).err().unwrap_or_default();
            assert!(told.contains(problem) && told.contains("--no-template") && !told.contains("hunter2"), "{text}: {told}");
        }
        let told = RcloneFile::read("no/such.conf".as_ref()).err().unwrap().to_string();
        assert!(told.contains("--no-template: no/such.conf cannot be read") && told.contains("with -c"), "{told}");
    }

    #[test]
    fn each_section_stands_for_one_prefix() {
        let file = read("[remote]\ntype = s3\n[remote_encrypted]\ntype = crypt\nremote = remote:a\n").unwrap();
        let section = |prefix| {
            let found = file.section(prefix);
            found.map(|(name, section)| (name, section.keys().map(String::as_str).collect::<Vec<_>>()))
        };
        assert_eq!(section(env::REMOTE_PREFIX), Some(("remote", vec!["type"])));
        assert_eq!(section(env::ENCRYPTED_PREFIX), Some(("remote_encrypted", vec!["remote"])), "the type says nothing more");
        assert_eq!(section(env::NEW_ENCRYPTED_PREFIX), None);
    }
}

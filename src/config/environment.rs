//! The environment as a map, and the options behind a prefix.

use super::mistakes::{ConfigError, Mistakes};
use super::rclone_file::RcloneFile;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

/// Environment variables, and the rclone configuration that counts before them. `Debug` prints only how many variables,
/// since any value may be a secret.
#[derive(Clone, Default)]
pub struct Environment {
    texts: BTreeMap<String, String>,
    /// Names whose value is not UTF-8.
    unreadable: BTreeSet<String>,
    file: Option<RcloneFile>,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Environment {
        std::env::vars_os().collect()
    }

    /// The value of a variable; an empty one counts as not set, since templates write those.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The same variables beside an rclone configuration that somebody wrote.
    pub fn with_rclone_file(&self, path: &Path) -> Result<Environment, ConfigError> {
        Ok(Environment { file: Some(RcloneFile::read(path)?), ..self.clone() })
    }

    /// The variables that begin so and have a value.
    pub(super) fn names<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.texts.keys().filter(move |name| name.starts_with(prefix));
        named.map(String::as_str).filter(|name| self.get(name).is_some())
    }

    /// All variables, for another program, but those behind the prefixes.
    pub fn without(&self, prefixes: &[&str]) -> Vec<(String, String)> {
        let theirs = self.texts.iter().filter(|(name, _)| !prefixes.iter().any(|prefix| name.starts_with(prefix)));
        theirs.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The options behind `prefix`: `-p`-style parameters first, then the environment, then the configuration file; the
    /// later wins. Keys are in lower case; what Kubernetes and devcontainers set by themselves is left out, except for
    /// `known` keys.
    pub(super) fn options(&self, prefix: &str, params: &[String], mistakes: &mut Mistakes, known: &[&[&str]]) -> Options {
        let mut options = Options { prefix: prefix.to_string(), ..Options::default() };
        for (index, param) in params.iter().enumerate() {
            match param.split_once('=') {
                // The text itself is not shown: it may be a secret in the wrong place.
                None => mistakes.add(
                    format!("{} number {}", flag_of(prefix), index + 1),
                    "has no '='",
                    format!("write {} key=value", flag_of(prefix)),
                ),
                // rclone's reader trims too.
                Some((key, value)) => options.insert(&key.trim().to_lowercase(), value.trim(), Origin::Flag),
            }
        }
        for name in self.unreadable.iter().filter(|name| name.starts_with(prefix)) {
            mistakes.add(name.clone(), "is not valid UTF-8", "set it to text");
        }
        for (name, value) in &self.texts {
            let Some(rest) = name.strip_prefix(prefix) else { continue };
            let key = rest.to_lowercase();
            if known.iter().any(|table| table.contains(&key.as_str())) || !set_by_others(rest, value) {
                // A newline at the end is what `kubectl create secret --from-file` leaves.
                options.insert(&key, value.trim(), Origin::Variable);
            }
        }
        if let Some((file, (name, section))) = self.file.as_ref().and_then(|file| Some((file, file.section(prefix)?))) {
            options.file = format!("[{name}] of {}", file.path.display());
            section.iter().for_each(|(key, value)| options.insert(key, value, Origin::File));
        }
        options
    }
}

impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Environment {
        let mut environment = Environment::default();
        for (name, value) in pairs {
            // A name that is not UTF-8 is none of ours.
            let Ok(name) = name.into().into_string() else { continue };
            match value.into().into_string() {
                Ok(text) => drop(environment.texts.insert(name, text)),
                Err(_) => drop(environment.unreadable.insert(name)),
            }
        }
        environment
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Environment({} variables)", self.texts.len() + self.unreadable.len())
    }
}

/// Who said it; the later wins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Flag,
    Variable,
    File,
}

/// Options by key. No `Debug`: values may be secrets.
#[derive(Default)]
pub(super) struct Options {
    prefix: String,
    /// The section of a file, in words.
    file: String,
    values: BTreeMap<String, (String, Origin)>,
    /// Every key given by flag, also when the environment wins.
    flags: BTreeSet<String>,
    /// Keys whose value by flag or variable is another than the file's.
    outdone: BTreeSet<String>,
    /// Keys set to nothing at all.
    empty: BTreeSet<String>,
}

impl Options {
    fn insert(&mut self, key: &str, value: &str, origin: Origin) {
        if origin == Origin::Flag {
            self.flags.insert(key.to_string());
        }
        if value.is_empty() {
            self.empty.insert(key.to_string());
            return;
        }
        let before = self.values.insert(key.to_string(), (value.to_string(), origin));
        if origin == Origin::File && before.is_some_and(|(before, _)| before != value) {
            self.outdone.insert(key.to_string());
        }
    }

    /// The keys that have a value.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Whether the option has a value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// The option's value.
    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(|(value, _)| value.as_str())
    }

    /// Whether the option was given without a value and nowhere with one.
    pub(super) fn is_empty(&self, key: &str) -> bool {
        self.empty.contains(key) && !self.has(key)
    }

    /// Whether a flag gave a value, even one that the environment overrides.
    pub(super) fn is_on_command_line(&self, key: &str) -> bool {
        self.flags.contains(key)
    }

    /// How the person wrote the option: `REMOTE_ENDPOINT`, `-p endpoint`, or `endpoint in [remote] of rclone.conf`.
    pub(super) fn name(&self, key: &str) -> String {
        match self.values.get(key) {
            Some((_, Origin::Flag)) => format!("{} {key}", flag_of(&self.prefix)),
            Some((_, Origin::File)) => format!("{key} in {}", self.file),
            Some((_, Origin::Variable)) | None => self.variable(key),
        }
    }

    /// Whether a flag or variable says something else than the file, which counts.
    pub(super) fn is_outdone(&self, key: &str) -> bool {
        self.outdone.contains(key)
    }

    /// What a person should know about the file.
    pub(super) fn warnings(&self) -> Vec<String> {
        let names: Vec<String> = self.outdone.iter().map(|key| self.variable(key)).collect();
        if names.is_empty() {
            return Vec::new();
        }
        vec![format!("without effect, since {} says something else: {}", self.file, names.join(", "))]
    }

    /// The variable that sets the option.
    pub(super) fn variable(&self, key: &str) -> String {
        format!("{}{}", self.prefix, key.to_uppercase())
    }

    /// The known options as pairs for envy: variable and value.
    pub(super) fn pairs(&self, known: &[&[&str]]) -> Vec<(String, String)> {
        let wanted = |key: &str| known.iter().any(|table| table.contains(&key));
        let known = self.values.iter().filter(|(key, _)| wanted(key));
        known.map(|(key, (value, _))| (self.variable(key), value.clone())).collect()
    }
}

fn flag_of(prefix: &str) -> &'static str {
    if prefix == crate::contract::env::REMOTE_PREFIX { "-p" } else { "-e" }
}

/// Variables that a Service whose name begins like our prefix leaves in every Pod of its namespace (`remote`,
/// `remote-api`: REMOTE_PORT, REMOTE_API_SERVICE_HOST, REMOTE_PORT_80_TCP_ADDR …), and what devcontainers set.
fn set_by_others(rest: &str, value: &str) -> bool {
    // A bare number is somebody's port of an FTP server; Kubernetes writes an address.
    if (rest == "PORT" && !is_number(value)) || rest.starts_with("CONTAINERS") {
        return true;
    }
    let address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    if address && rest.ends_with("_PORT") {
        return true;
    }
    let parts: Vec<&str> = rest.split('_').collect();
    let service = parts.windows(2).any(|pair| pair == ["SERVICE", "HOST"] || pair == ["SERVICE", "PORT"]);
    let port = parts.windows(3).any(|three| match three {
        ["PORT", number, protocol] => is_number(number) && ["TCP", "UDP", "SCTP"].contains(protocol),
        _ => false,
    });
    service || port
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::{Environment, Mistakes};
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn variables_of_kubernetes_services_are_not_options() {
        let environment: Environment = [
            ("REMOTE_PORT", "tcp://10.0.0.1:80"),
            ("REMOTE_SERVICE_HOST", "10.0.0.1"),
            ("REMOTE_SERVICE_PORT", "80"),
            ("REMOTE_SERVICE_PORT_HTTP", "80"),
            ("REMOTE_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("REMOTE_PORT_80_TCP_PROTO", "tcp"),
            ("REMOTE_PORT_53_UDP_ADDR", "10.0.0.1"),
            ("REMOTE_API_SERVICE_HOST", "10.0.0.2"),
            ("REMOTE_API_PORT", "tcp://10.0.0.2:80"),
            ("REMOTE_CONTAINERS_IPC", "/tmp/x"),
            ("REMOTE_TYPE", "s3"),
        ]
        .into_iter()
        .collect();
        let options = environment.options("REMOTE_", &[], &mut Mistakes::default(), &[]);
        assert_eq!(options.keys().collect::<Vec<_>>(), ["type"]);
    }

    #[test]
    fn the_environment_wins_over_a_parameter() {
        let environment: Environment = [("REMOTE_REGION", "from-environment")].into_iter().collect();
        let params = ["region = by-flag ".to_string(), "Endpoint= e ".to_string()];
        let options = environment.options("REMOTE_", &params, &mut Mistakes::default(), &[]);
        assert_eq!(options.name("region"), "REMOTE_REGION");
        assert_eq!(options.name("endpoint"), "-p endpoint");
        assert_eq!(options.pairs(&[&["endpoint"]]), [("REMOTE_ENDPOINT".to_string(), "e".to_string())]);
    }

    #[test]
    fn an_rclone_configuration_wins_and_what_it_does_not_say_is_left_to_the_others() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[remote]\ntype = webdav\nurl = ` u `\nuser = same\n").unwrap();
        let environment: Environment =
            [("REMOTE_TYPE", "s3"), ("REMOTE_VENDOR", "v"), ("REMOTE_USER", "same")].into_iter().collect();
        let environment = environment.with_rclone_file(file.path()).unwrap();
        let params = ["url=hunter2".to_string(), "pass=p".to_string()];
        let options = environment.options("REMOTE_", &params, &mut Mistakes::default(), &[]);
        let values = ["type", "url", "user", "vendor", "pass"].map(|key| options.value(key).unwrap());
        assert_eq!(values, ["webdav", " u ", "same", "v", "p"]);
        let place = format!("in [remote] of {}", file.path().display());
        assert_eq!(options.name("type"), format!("type {place}"));
        assert_eq!(options.name("pass"), "-p pass");
        let [warning] = &options.warnings()[..] else { panic!("one warning") };
        assert!(warning.contains("says something else: REMOTE_TYPE, REMOTE_URL"), "{warning}");
        assert!(!warning.contains("hunter2"), "{warning}");
        assert!(environment.options("ENCRYPTED_", &[], &mut Mistakes::default(), &[]).keys().next().is_none());
    }

    #[test]
    fn a_value_that_is_not_text_is_named_and_not_shown() {
        let odd = OsString::from_vec(b"hunter\xff".to_vec());
        let environment: Environment = [(OsString::from("REMOTE_REGION"), odd)].into_iter().collect();
        let mut mistakes = Mistakes::default();
        environment.options("REMOTE_", &["nothing".to_string()], &mut mistakes, &[]);
        let report = mistakes.into_result(()).unwrap_err().to_string();
        assert!(report.contains("REMOTE_REGION") && report.contains("-p number 1"), "{report}");
        assert!(!report.contains("hunter") && !report.contains("nothing"), "{report}");
    }
}

//! What opens the vault: `ENCRYPTED_*` and `-e`.

use super::check::{Check, read_secret, shown_path};
use super::environment::Environment;
use super::mistakes::{ConfigError, Mistake, Mistakes};
use super::raw;
use crate::contract::env;
use crate::secret::Secret;
use std::fmt;
use std::path::PathBuf;

/// Where the key or passphrase comes from. `Debug` tells no more than [`KeySource::describe`].
#[derive(Clone)]
pub enum KeySource {
    /// It stands in the environment.
    Inline(Secret<String>),
    /// It lies in a file, usually a mounted Secret.
    File(PathBuf),
}

impl KeySource {
    /// The text itself, without the white space around it, so that a file and a variable mean the same key.
    pub fn read(&self) -> Result<Secret<String>, ConfigError> {
        match self {
            KeySource::Inline(secret) => Ok(secret.clone()),
            KeySource::File(path) => read_secret(path).map_err(|problem| {
                let name = format!("{}PASSWORD_FILE", env::ENCRYPTED_PREFIX);
                let hint = "name a readable file that holds only the key or passphrase".to_string();
                ConfigError { mistakes: vec![Mistake { name, problem, hint }] }
            }),
        }
    }

    /// Where it comes from, in words; never what it is.
    pub fn describe(&self) -> String {
        match self {
            KeySource::Inline(_) => "<set>".to_string(),
            KeySource::File(path) => format!("from {}", shown_path(path)),
        }
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.describe())
    }
}

/// The checked encryption options.
#[derive(Debug, Clone)]
pub struct Unlock {
    /// The key or passphrase; none means the plain layout.
    pub secret: Option<KeySource>,
    /// What was accepted without effect.
    pub warnings: Vec<String>,
}

/// Reads `ENCRYPTED_*` and the `-e` parameters.
pub fn read_unlock(environment: &Environment, params: &[String]) -> Result<Unlock, ConfigError> {
    read(environment, params, env::ENCRYPTED_PREFIX)
}

/// Reads `NEW_ENCRYPTED_PASSWORD` or `NEW_ENCRYPTED_PASSWORD_FILE`: the secret of a slot to be added.
pub fn read_new_key(environment: &Environment) -> Result<Unlock, ConfigError> {
    read(environment, &[], env::NEW_ENCRYPTED_PREFIX)
}

fn read(environment: &Environment, params: &[String], prefix: &str) -> Result<Unlock, ConfigError> {
    let mut mistakes = Mistakes::default();
    let options = environment.options(prefix, params, &mut mistakes, &[env::ENCRYPTED, env::ENCRYPTED_IDLE]);
    let mut check = Check { environment, options: &options, mistakes, warnings: options.warnings(), secrets: Vec::new() };
    check.no_secret_flags(&["password", "password2"]);
    let idle = check.unknown(&[env::ENCRYPTED], env::ENCRYPTED_IDLE, &[]);
    if !idle.is_empty() {
        check.warnings.push(format!("options of rclone crypt, without effect on a vault: {}", idle.join(", ")));
    }
    let secret = raw::unlock(&options, prefix).and_then(|raw| match (raw.password, raw.password_file) {
        (Some(_), Some(_)) => {
            check.wrong("password_file", format!("is given together with {}", options.name("password")), "keep one of them");
            None
        }
        (Some(text), None) => Some(KeySource::Inline(Secret::new(text))),
        (None, file) => file.map(|path| KeySource::File(PathBuf::from(path))),
    });
    // Which of two keys a vault is made with is not left to a rule that nobody remembers.
    if options.is_outdone("password") {
        let problem = format!("is another password than {}", options.name("password"));
        check.mistakes.add(options.variable("password"), problem, "keep one of them");
    }
    // Whoever names any of these believes that the data is encrypted: never fall back to the plain layout.
    let wanted = !idle.is_empty() || options.has("remote") || options.is_empty("password") || options.is_empty("password_file");
    if wanted && !options.has("password") && !options.has("password_file") {
        let hint = format!("set it, or {}_FILE; for no encryption remove every {prefix}* option", options.variable("password"));
        check.mistakes.add(options.variable("password"), "is empty or missing although encryption is asked for", hint);
    }
    check.finish(|warnings| Unlock { secret, warnings })
}

#[cfg(test)]
mod tests {
    use super::{Environment, KeySource, read_new_key, read_unlock};

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        pairs.iter().copied().collect()
    }

    fn mistakes(pairs: &[(&str, &str)], params: &[&str]) -> String {
        let params: Vec<String> = params.iter().map(|param| param.to_string()).collect();
        read_unlock(&environment(pairs), &params).unwrap_err().to_string()
    }

    #[test]
    fn a_password_comes_from_the_environment_or_a_file() {
        let unlock = read_unlock(&environment(&[("ENCRYPTED_PASSWORD", "made-up\n")]), &[]).unwrap();
        assert_eq!(unlock.secret.unwrap().read().unwrap().expose(), "made-up");

        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "made-up\n").unwrap();
        let path = file.path().to_str().unwrap();
        let unlock = read_new_key(&environment(&[("NEW_ENCRYPTED_PASSWORD_FILE", path)])).unwrap();
        let source = unlock.secret.unwrap();
        assert!(matches!(source, KeySource::File(_)));
        assert_eq!(source.read().unwrap().expose(), "made-up");
    }

    #[test]
    fn nothing_given_is_no_encryption() {
        assert!(read_unlock(&environment(&[]), &[]).unwrap().secret.is_none());
    }

    #[test]
    fn encryption_that_was_asked_for_is_never_switched_off() {
        for pairs in [
            [("ENCRYPTED_PASSWORD", "")],
            [("ENCRYPTED_PASSWORD_FILE", " ")],
            [("ENCRYPTED_FILENAME_ENCRYPTION", "obfuscate")],
            [("ENCRYPTED_REMOTE", "remote:/bucket")],
        ] {
            let text = mistakes(&pairs, &[]);
            assert!(text.contains("ENCRYPTED_PASSWORD is empty or missing"), "{text}");
        }
    }

    #[test]
    fn a_password_by_flag_is_refused_and_not_shown() {
        let text = mistakes(&[("ENCRYPTED_PASSWORD", "other-text")], &["password=hunter2"]);
        assert!(text.contains("-e password is a secret") && text.contains("ENCRYPTED_PASSWORD_FILE"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("other-text"), "{text}");
    }

    #[test]
    fn a_password_beside_another_one_in_the_rclone_configuration_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "[remote]\ntype = s3\n[remote_encrypted]\ntype = crypt\nremote = remote:b\npassword = hunter3\n";
        std::fs::write(file.path(), text).unwrap();
        let read = |pairs: &[(&str, &str)]| {
            let unlock = read_unlock(&environment(pairs).with_rclone_file(file.path()).unwrap(), &[])?;
            unlock.secret.unwrap().read()
        };
        for pairs in [&[][..], &[("ENCRYPTED_PASSWORD", "hunter3")]] {
            assert_eq!(read(pairs).unwrap().expose(), "hunter3");
        }
        for (name, value) in [("ENCRYPTED_PASSWORD", "hunter2"), ("ENCRYPTED_PASSWORD_FILE", "/run/hunter2")] {
            let text = read(&[(name, value)]).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains("password in [remote_encrypted] of"), "{text}");
            assert!(text.contains("keep one of them") && !text.contains("hunter"), "{text}");
        }
    }

    #[test]
    fn a_password_given_twice_is_refused() {
        let text = mistakes(&[("ENCRYPTED_PASSWORD", "hunter2"), ("ENCRYPTED_PASSWORD_FILE", "/k")], &[]);
        assert!(text.contains("ENCRYPTED_PASSWORD_FILE is given together with ENCRYPTED_PASSWORD"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn options_of_rclone_crypt_are_accepted_with_a_warning() {
        let pairs =
            [("ENCRYPTED_PASSWORD", "p"), ("ENCRYPTED_PASSWORD2", "salt"), ("ENCRYPTED_DIRECTORY_NAME_ENCRYPTION", "false")];
        let unlock = read_unlock(&environment(&pairs), &[]).unwrap();
        let [warning] = &unlock.warnings[..] else { panic!("one warning") };
        assert!(warning.contains("ENCRYPTED_PASSWORD2") && warning.contains("rclone crypt"), "{warning}");
        assert!(!format!("{unlock:?}").contains("salt"));
    }

    #[test]
    fn an_unknown_option_names_the_one_that_was_meant() {
        let text = mistakes(&[("ENCRYPTED_PASSWROD", "hunter2")], &[]);
        assert!(text.contains("did you mean ENCRYPTED_PASSWORD?") && !text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_missing_password_file_is_named_unless_it_may_be_the_password() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("vault").display().to_string();
        for (value, is_shown) in [(missing.as_str(), true), ("/hunter2", false), ("hunter2", false), ("/hun/ter2", false)] {
            let unlock = read_unlock(&environment(&[("ENCRYPTED_PASSWORD_FILE", value)]), &[]).unwrap();
            let text = format!("{unlock:?} {}", unlock.secret.as_ref().unwrap().read().unwrap_err());
            assert!(text.contains("ENCRYPTED_PASSWORD_FILE (") && text.contains("cannot be read"), "{text}");
            assert_eq!(text.contains(value), is_shown, "{text}");
        }
    }
}

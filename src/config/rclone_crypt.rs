//! How the data at an rclone crypt remote was encrypted: the same `ENCRYPTED_*` and `-e` as for a vault, in rclone's
//! meaning.

use super::check::Check;
use super::environment::Environment;
use super::local;
use super::mistakes::{ConfigError, Mistakes, nearest};
use super::raw::{self, RawRcloneCrypt};
use crate::contract::env::{self, SECTION_REMOTE};
use crate::rclone_crypt::{FilenameEncoding, FilenameEncryption, Options};
use crate::seal::reveal;
use crate::secret::Secret;

/// The suffix that stands for none.
const NO_SUFFIX: &str = "none";

/// The checked options of an rclone crypt remote.
#[derive(Debug, Clone)]
pub struct RcloneCryptOptions {
    /// What its reader needs.
    pub crypt: Options,
    /// Where it lies at the remote, as rclone wrote it: it then counts instead of the path given by flag.
    pub remote_path: Option<String>,
    /// Whether `ENCRYPTED_TYPE=crypt` says that the data is rclone's. Otherwise it may as well be a vault's.
    pub is_named: bool,
    /// What was accepted without effect.
    pub warnings: Vec<String>,
}

/// Reads `ENCRYPTED_*` and the `-e` parameters as rclone does; `None` if there are none. All mistakes are reported together.
pub fn read_rclone_crypt(environment: &Environment, params: &[String]) -> Result<Option<RcloneCryptOptions>, ConfigError> {
    let mut mistakes = Mistakes::default();
    let tables = [env::RCLONE_CRYPT, env::RCLONE_CRYPT_IDLE];
    let options = environment.options(env::ENCRYPTED_PREFIX, params, &mut mistakes, &tables);
    // An empty password is one that somebody forgot, not encryption that nobody wants.
    let is_given = options.keys().next().is_some() || options.is_empty("password") || options.is_empty("password_file");
    let Some(raw) = raw::rclone_crypt(&options).filter(|_| is_given) else {
        return mistakes.into_result(None);
    };
    let secrets = [&raw.password, &raw.password2].into_iter().flatten().cloned().collect();
    let mut check = Check { environment, options: &options, mistakes, warnings: Vec::new(), secrets };
    check.no_secret_flags(env::RCLONE_CRYPT_SECRETS);
    let idle = check.unknown(&[env::RCLONE_CRYPT], env::RCLONE_CRYPT_IDLE, &[]);
    if !idle.is_empty() {
        check.warnings.push(format!("options of rclone crypt, without effect on reading: {}", idle.join(", ")));
    }
    let is_named = kind(&raw, &mut check);
    let remote_path = remote_path(raw.remote.as_deref(), &mut check);
    let crypt = crypt(&raw, &mut check);
    check.finish(|warnings| Some(RcloneCryptOptions { crypt, remote_path, is_named, warnings }))
}

/// Whether a flag or variable says that rclone crypt wrote the data; a vault is not looked for then.
pub fn names_rclone_crypt(environment: &Environment, params: &[String]) -> bool {
    environment.options(env::ENCRYPTED_PREFIX, params, &mut Mistakes::default(), &[env::RCLONE_CRYPT]).has("type")
}

/// The path in `ENCRYPTED_REMOTE`, for a command line that names none: the predecessor took it from there.
pub fn read_encrypted_path(environment: &Environment, params: &[String]) -> Result<Option<String>, ConfigError> {
    let mut mistakes = Mistakes::default();
    let options = environment.options(env::ENCRYPTED_PREFIX, params, &mut mistakes, &[env::RCLONE_CRYPT]);
    let mut check = Check { environment, options: &options, mistakes, warnings: Vec::new(), secrets: Vec::new() };
    let path = remote_path(options.value("remote"), &mut check);
    check.finish(|_| path)
}

fn kind(raw: &RawRcloneCrypt, check: &mut Check<'_>) -> bool {
    let Some(kind) = raw.kind.as_deref() else { return false };
    if !kind.eq_ignore_ascii_case("crypt") {
        check.wrong("type", format!("is {}", check.shown(kind)), "only crypt can be read: set that, or remove it for a vault");
    }
    true
}

/// The path behind `remote:`, the name that upstream gives the remote of `REMOTE_*`.
fn remote_path(given: Option<&str>, check: &mut Check<'_>) -> Option<String> {
    let given = given?;
    let hint = format!("write {SECTION_REMOTE}:BUCKET/PATH; the rest of the remote is set by REMOTE_*");
    let Some((SECTION_REMOTE, path)) = given.split_once(':') else {
        check.wrong("remote", format!("is {}, which does not begin with {SECTION_REMOTE}:", check.shown(given)), hint);
        return None;
    };
    let names = local::names(path);
    if names.is_none() {
        check.wrong("remote", "must not hold '..' or control characters", hint);
    }
    // In a folder of this machine, rclone tells paths from the root from others.
    let start = if path.starts_with('/') { "/" } else { "" };
    names.map(|names| format!("{start}{}", names.join("/")))
}

/// The reader's options; what is wrong is noted in `check` and its value is rclone's default.
fn crypt(raw: &RawRcloneCrypt, check: &mut Check<'_>) -> Options {
    let password = obscured("password", raw.password.as_deref(), raw.password_file.as_deref(), check);
    if raw.password.is_none() && raw.password_file.is_none() {
        let name = check.options.variable("password");
        let hint = format!("set it, or {name}_FILE, to the obscured password of rclone's configuration");
        check.mistakes.add(name, "is empty or missing", hint);
    }
    let mut options = Options::new(password.unwrap_or_else(|| Secret::new(String::new())));
    options.password2 = obscured("password2", raw.password2.as_deref(), raw.password2_file.as_deref(), check);
    if let Some(encryption) = chosen("filename_encryption", raw.filename_encryption.as_deref(), &ENCRYPTIONS, check) {
        options.filename_encryption = encryption;
    }
    if let Some(encoding) = chosen("filename_encoding", raw.filename_encoding.as_deref(), &ENCODINGS, check) {
        options.filename_encoding = encoding;
    }
    let directories = raw.directory_name_encryption.as_deref();
    options.directory_name_encryption = check.boolean("directory_name_encryption", directories, true);
    options.no_data_encryption = check.boolean("no_data_encryption", raw.no_data_encryption.as_deref(), false);
    if let Some(given) = raw.suffix.as_deref() {
        options.suffix = suffix(given, check);
    }
    options
}

fn suffix(given: &str, check: &mut Check<'_>) -> String {
    if given.contains('/') || given.chars().any(char::is_control) {
        check.wrong("suffix", "has a slash or control characters", "write what names end in, such as .bin, or none");
    }
    if given.eq_ignore_ascii_case(NO_SUFFIX) {
        return String::new();
    }
    if given.starts_with('.') {
        return given.to_string();
    }
    // rclone puts the dot there itself, except in the first releases that had the option.
    check.warnings.push(format!("{} does not begin with a dot, taken as .{given}, as rclone does", check.options.name("suffix")));
    format!(".{given}")
}

const ENCRYPTIONS: [(&str, FilenameEncryption); 3] =
    [("standard", FilenameEncryption::Standard), ("obfuscate", FilenameEncryption::Obfuscate), ("off", FilenameEncryption::Off)];
const ENCODINGS: [(&str, FilenameEncoding); 3] =
    [("base32", FilenameEncoding::Base32), ("base64", FilenameEncoding::Base64), ("base32768", FilenameEncoding::Base32768)];

/// One of a few words, in any case.
fn chosen<T: Copy>(key: &str, given: Option<&str>, known: &[(&str, T)], check: &mut Check<'_>) -> Option<T> {
    let given = given?;
    let found = known.iter().find(|(word, _)| word.eq_ignore_ascii_case(given));
    if found.is_none() {
        let words = || known.iter().map(|(word, _)| *word);
        let meant = nearest(&given.to_lowercase(), words()).map(|word| format!("did you mean {word}? ")).unwrap_or_default();
        let known = words().collect::<Vec<_>>().join(", ");
        check.wrong(key, format!("is {}, which is not known", check.shown(given)), format!("{meant}known: {known}"));
    }
    found.map(|(_, value)| *value)
}

/// A password as rclone's configuration holds it. rclone takes no other, so none is guessed to be in clear.
fn obscured(key: &str, inline: Option<&str>, file: Option<&str>, check: &mut Check<'_>) -> Option<Secret<String>> {
    let secret = check.secret(key, inline, file)?;
    if let Err(error) = reveal(&secret) {
        let given = if inline.is_some() { key.to_string() } else { format!("{key}_file") };
        check.wrong(&given, error.to_string(), "give it as rclone's configuration holds it, or as `rclone obscure` prints it");
        return None;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::{Environment, FilenameEncoding, FilenameEncryption, RcloneCryptOptions, env, read_rclone_crypt};
    use crate::rclone_crypt::RcloneCrypt;

    const POTATO: &str = "YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ";
    const OTHER: &str = "YmJiYmJiYmJiYmJiYmJiYp3gcEWbAw";

    fn read(pairs: &[(&str, &str)]) -> RcloneCryptOptions {
        read_rclone_crypt(&pairs.iter().copied().collect(), &[]).unwrap().expect("options are given")
    }

    /// The report of mistakes; checks that it holds no secret.
    fn mistakes(pairs: &[(&str, &str)], params: &[&str]) -> String {
        let params: Vec<String> = params.iter().map(|param| param.to_string()).collect();
        let text = read_rclone_crypt(&pairs.iter().copied().collect(), &params).unwrap_err().to_string();
        assert!(!text.contains("hunter2") && !text.contains(POTATO), "{text}");
        text
    }

    #[test]
    fn nothing_given_is_no_rclone_crypt() {
        let environment: Environment = [("REMOTE_TYPE", "s3")].into_iter().collect();
        assert!(read_rclone_crypt(&environment, &[]).unwrap().is_none());
    }

    #[test]
    fn rclones_defaults_hold() {
        let options = read(&[("ENCRYPTED_PASSWORD", POTATO)]);
        assert_eq!(options.crypt.filename_encryption, FilenameEncryption::Standard);
        assert_eq!(options.crypt.filename_encoding, FilenameEncoding::Base32);
        assert!(options.crypt.directory_name_encryption && !options.crypt.no_data_encryption);
        assert_eq!((options.crypt.suffix.as_str(), options.crypt.password2.is_none()), (".bin", true));
        assert_eq!((options.remote_path, options.is_named), (None, false));
    }

    /// What the predecessor's operator puts into a Pod: three variables and its Secret.
    #[test]
    fn the_variables_of_an_injected_pod_are_enough() {
        let options = read(&[
            ("ENCRYPTED_REMOTE", "remote:/bucket//some/path/"),
            ("ENCRYPTED_FILENAME_ENCRYPTION", "obfuscate"),
            ("ENCRYPTED_PASSWORD", POTATO),
        ]);
        assert_eq!(options.remote_path.as_deref(), Some("/bucket/some/path"));
        let path = RcloneCrypt::new(&options.crypt).unwrap().path("!.made up").unwrap();
        assert_eq!(path.to_string(), "made up");
    }

    #[test]
    fn every_option_is_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{OTHER}\n")).unwrap();
        let options = read(&[
            ("ENCRYPTED_TYPE", "Crypt"),
            ("ENCRYPTED_REMOTE", "remote:"),
            ("ENCRYPTED_PASSWORD", POTATO),
            ("ENCRYPTED_PASSWORD2_FILE", file.path().to_str().unwrap()),
            ("ENCRYPTED_FILENAME_ENCRYPTION", "OFF"),
            ("ENCRYPTED_DIRECTORY_NAME_ENCRYPTION", "no"),
            ("ENCRYPTED_FILENAME_ENCODING", "base32768"),
            ("ENCRYPTED_SUFFIX", "None"),
            ("ENCRYPTED_NO_DATA_ENCRYPTION", "true"),
            ("ENCRYPTED_SHOW_MAPPING", "true"),
        ]);
        assert!(options.is_named);
        assert_eq!(options.remote_path.as_deref(), Some(""));
        assert_eq!(options.crypt.password.expose(), POTATO);
        assert_eq!(options.crypt.password2.as_ref().unwrap().expose(), OTHER);
        assert_eq!(options.crypt.filename_encryption, FilenameEncryption::Off);
        assert_eq!(options.crypt.filename_encoding, FilenameEncoding::Base32768);
        assert!(!options.crypt.directory_name_encryption && options.crypt.no_data_encryption);
        assert_eq!(options.crypt.suffix, "");
        assert!(options.warnings.len() == 1 && options.warnings[0].contains("ENCRYPTED_SHOW_MAPPING"), "{:?}", options.warnings);
        assert!(!format!("{options:?}").contains(POTATO));
    }

    #[test]
    fn a_suffix_has_a_dot_or_is_none() {
        for (given, suffix, warnings) in [(".jpg", ".jpg", 0), ("jpg", ".jpg", 1), ("none", "", 0)] {
            let options = read(&[("ENCRYPTED_PASSWORD", POTATO), ("ENCRYPTED_SUFFIX", given)]);
            assert_eq!((options.crypt.suffix.as_str(), options.warnings.len()), (suffix, warnings), "{given}");
        }
    }

    #[test]
    fn a_password_that_was_never_obscured_is_told() {
        let text = mistakes(&[("ENCRYPTED_PASSWORD", "hunter2 hunter2"), ("ENCRYPTED_PASSWORD2", "hunter2")], &[]);
        assert!(text.contains("ENCRYPTED_PASSWORD is not a password that rclone obscured"), "{text}");
        assert!(text.contains("ENCRYPTED_PASSWORD2 is not") && text.contains("rclone obscure"), "{text}");
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hunter2").unwrap();
        let text = mistakes(&[("ENCRYPTED_PASSWORD_FILE", file.path().to_str().unwrap())], &[]);
        assert!(text.contains("ENCRYPTED_PASSWORD_FILE is not"), "{text}");
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let text = mistakes(
            &[
                ("ENCRYPTED_TYPE", "cache"),
                ("ENCRYPTED_REMOTE", "other:bucket"),
                ("ENCRYPTED_FILENAME_ENCRYPTION", "obfuscated"),
                ("ENCRYPTED_FILENAME_ENCODING", "base16"),
                ("ENCRYPTED_DIRECTORY_NAME_ENCRYPTION", "perhaps"),
                ("ENCRYPTED_SUFFIX", "a/b"),
                ("ENCRYPTED_PASWORD", "hunter2"),
            ],
            &["password2=hunter2"],
        );
        for part in [
            "ENCRYPTED_TYPE is 'cache'",
            "ENCRYPTED_REMOTE is 'other:bucket', which does not begin with remote:",
            "did you mean obfuscate?",
            "known: base32, base64, base32768",
            "ENCRYPTED_DIRECTORY_NAME_ENCRYPTION is 'perhaps'",
            "ENCRYPTED_SUFFIX has a slash",
            "did you mean ENCRYPTED_PASSWORD?",
            "-e password2 is a secret",
            "ENCRYPTED_PASSWORD is empty or missing",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let text = mistakes(&[("ENCRYPTED_PASSWORD", "")], &[]);
        assert!(text.contains("ENCRYPTED_PASSWORD is empty or missing"), "{text}");
        let text = mistakes(&[("ENCRYPTED_PASSWORD", POTATO), ("ENCRYPTED_REMOTE", "remote:a/../b")], &[]);
        assert!(text.contains("ENCRYPTED_REMOTE must not hold '..'"), "{text}");
    }

    /// Otherwise a variable that is right for one would be refused by the other.
    #[test]
    fn a_vault_accepts_every_option_that_is_read_here() {
        let vault = [env::ENCRYPTED, env::ENCRYPTED_IDLE].concat();
        let here = [env::RCLONE_CRYPT, env::RCLONE_CRYPT_IDLE].concat();
        assert!(here.iter().all(|key| vault.contains(key)) && vault.iter().all(|key| here.contains(key)));
    }
}

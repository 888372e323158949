//! What the real rclone writes to a crypt remote is read back: names, contents, and what lies beside them.

use crate::machine::{Machine, assert_same, noise, told};
use crate::tools::tool;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use volume_syncing_controller::fault::Fault;
use volume_syncing_controller::rclone_crypt::{Ending, FilenameEncoding, FilenameEncryption, NameProblem, Options, RcloneCrypt};
use volume_syncing_controller::secret::Secret;

const PASSWORD: &str = "a made-up password, longer than a block of sixteen bytes";

/// rclone with an empty configuration.
struct Rclone {
    program: OsString,
    home: tempfile::TempDir,
}

impl Rclone {
    fn given() -> Rclone {
        Rclone { program: tool("IT_RCLONE"), home: tempfile::tempdir().expect("a folder") }
    }

    fn run(&self, args: &[&str], remote: &[(&str, &str)]) -> String {
        let mut command = Command::new(&self.program);
        command.args(args).env_clear().env("HOME", self.home.path()).env("RCLONE_CONFIG", self.home.path().join("none"));
        command.envs(remote.iter().map(|(key, value)| (format!("RCLONE_CONFIG_CRYPT_{}", key.to_uppercase()), value)));
        let output = command.output().expect("rclone starts");
        assert!(output.status.success(), "rclone {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_string()
    }

    fn obscure(&self, password: &str) -> String {
        self.run(&["obscure", password], &[])
    }

    /// Lets rclone copy a folder into a crypt remote that lies in another folder.
    fn encrypt(&self, source: &Path, target: &Path, options: &[(&str, &str)]) {
        let remote = [&[("type", "crypt"), ("remote", text(target))], options].concat();
        self.run(&["copy", "--create-empty-src-dirs", text(source), "crypt:"], &remote);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

/// A folder to be encrypted. Its many names meet every way in which characters are rotated, quoted and encoded.
fn volume(odd_bytes: bool) -> tempfile::TempDir {
    let volume = tempfile::tempdir().expect("a folder");
    let write = |name: &Path, bytes: &[u8]| {
        let path = volume.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, bytes).expect("a file");
    };
    for size in [0, 1, 65_535, 65_536, 65_537, 131_072, 200_000] {
        write(Path::new(&format!("sizes/of bytes/{size}")), &noise(size as u64, size));
    }
    for number in 0..300u32 {
        let varied = char::from_u32(0x4e00 + number).expect("a character");
        write(Path::new(&format!("many/{varied}{number}’s “naïve” №ⓩ＃.txt")), b"");
    }
    let long = "l".repeat(140);
    for name in [
        "dir.with.dots/.hidden",
        "ünïcode/日本語 — ☃/😀.txt",
        "a!b!!c 0189 AZaz",
        "line\nbreak\x7f\x01",
        "pictures ␊␡␀ ／ ．",
        "wide／slash/x",
        "page-v2001-02-03-040506-123.html",
        "-v2001-02-03-040506-123",
        "not a mark-v2001-02-30-040506-123.html",
        " spaces ",
        long.as_str(),
    ] {
        write(Path::new(name), name.as_bytes());
    }
    if odd_bytes {
        write(Path::new(&OsString::from_vec(b"odd\xff\xfe".to_vec())), b"no text");
    }
    fs::create_dir_all(volume.path().join("empty/inner")).expect("folders");
    volume
}

/// Files with their bytes, and directories, by their path below the root.
fn tree(root: &Path) -> (BTreeMap<PathBuf, Vec<u8>>, BTreeSet<PathBuf>) {
    let (mut files, mut directories) = (BTreeMap::new(), BTreeSet::new());
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            let name = path.strip_prefix(root).expect("below").to_path_buf();
            if path.is_dir() {
                directories.insert(name);
                folders.push(path);
            } else {
                files.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    (files, directories)
}

fn decrypt(crypt: &RcloneCrypt, stored: &[u8]) -> (Vec<u8>, Ending) {
    let mut plain = Vec::new();
    let mut decryptor = crypt.decryptor();
    for piece in stored.chunks(10_007) {
        decryptor.push(piece, &mut |bytes| plain.extend_from_slice(bytes)).expect("it opens");
    }
    let ending = decryptor.finish(&mut |bytes| plain.extend_from_slice(bytes)).expect("it ends well");
    (plain, ending)
}

/// The encrypted folder holds the other one, and nothing else.
fn assert_holds(crypt: &RcloneCrypt, encrypted: &Path, volume: &Path) {
    let (files, directories) = tree(volume);
    let (stored_files, stored_directories) = tree(encrypted);
    for (key, stored) in &stored_files {
        let path = crypt.path(text(key)).unwrap_or_else(|error| panic!("{error}"));
        let plain = files.get(path.as_path()).unwrap_or_else(|| panic!("{path:?} was never there"));
        assert_eq!(crypt.plain_size(stored.len() as u64), Ok(plain.len() as u64), "{path:?}");
        let (found, ending) = decrypt(crypt, stored);
        assert!(found == *plain, "{path:?} has another content");
        let at_an_edge = plain.len().is_multiple_of(65_536) || stored == plain;
        assert_eq!(ending == Ending::Unproven, at_an_edge, "{path:?}");
    }
    assert_eq!(stored_files.len(), files.len());
    let found: BTreeSet<PathBuf> = stored_directories
        .iter()
        .map(|key| crypt.directory(text(key)).unwrap_or_else(|error| panic!("{error}")).as_path().to_path_buf())
        .collect();
    assert_eq!(found, directories);
}

/// Encrypts with rclone under these options, and reads it here under the same.
fn check(given: &[(&str, &str)], change: impl Fn(&mut Options)) {
    let rclone = Rclone::given();
    let mut options = Options::new(Secret::new(rclone.obscure(PASSWORD)));
    change(&mut options);
    // A key that is no text can only lie in a folder, and only where names are not encrypted.
    let volume = volume(options.filename_encryption == FilenameEncryption::Standard);
    let encrypted = tempfile::tempdir().expect("a folder");
    let mut remote = given.to_vec();
    remote.push(("password", options.password.expose().as_str()));
    if let Some(password2) = &options.password2 {
        remote.push(("password2", password2.expose().as_str()));
    }
    rclone.encrypt(volume.path(), encrypted.path(), &remote);
    assert_holds(&RcloneCrypt::new(&options).expect("options"), encrypted.path(), volume.path());
}

#[test]
fn what_rclone_encrypted_in_its_usual_way_is_read() {
    check(&[], |_| {});
    check(&[("directory_name_encryption", "false")], |options| options.directory_name_encryption = false);
}

#[test]
fn a_second_password_is_the_salt() {
    let rclone = Rclone::given();
    let password2 = rclone.obscure("made-up salt");
    check(&[], |options| options.password2 = Some(Secret::new(password2.clone())));
}

#[test]
fn every_encoding_of_names_is_read() {
    check(&[("filename_encoding", "base64")], |options| options.filename_encoding = FilenameEncoding::Base64);
    check(&[("filename_encoding", "base32768")], |options| options.filename_encoding = FilenameEncoding::Base32768);
}

#[test]
fn obfuscated_names_are_read() {
    for directories in [true, false] {
        let given =
            [("filename_encryption", "obfuscate"), ("directory_name_encryption", if directories { "true" } else { "false" })];
        check(&given, |options| {
            options.filename_encryption = FilenameEncryption::Obfuscate;
            options.directory_name_encryption = directories;
        });
    }
}

#[test]
fn names_and_contents_in_clear_are_read() {
    check(&[("filename_encryption", "off")], |options| options.filename_encryption = FilenameEncryption::Off);
    check(&[("no_data_encryption", "true")], |options| options.no_data_encryption = true);
}

#[test]
fn a_wrong_password_and_foreign_objects_are_told_by_name() {
    let rclone = Rclone::given();
    let (volume, encrypted) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    fs::write(volume.path().join("file"), b"made up").expect("a file");
    let password = rclone.obscure(PASSWORD);
    rclone.encrypt(volume.path(), encrypted.path(), &[("password", &password)]);
    let right = RcloneCrypt::new(&Options::new(Secret::new(password))).expect("options");
    let wrong = RcloneCrypt::new(&Options::new(Secret::new(rclone.obscure("another one")))).expect("options");
    let (files, _) = tree(encrypted.path());
    let (key, stored) = files.first_key_value().expect("one file");

    assert_eq!(right.path(text(key)).expect("a path").as_path().as_os_str().as_bytes(), b"file");
    assert_eq!(wrong.path(text(key)).expect_err("another key").problem, NameProblem::Padding);
    let mut decryptor = wrong.decryptor();
    decryptor.push(stored, &mut |_| panic!("nothing unauthenticated is handed out")).expect("less than a block");
    let error = decryptor.finish(&mut |_| panic!("nothing unauthenticated is handed out")).expect_err("another key");
    assert!(error.hint().is_some_and(|hint| hint.contains("ENCRYPTED_PASSWORD")), "{error}");
    let error = right.path("notes/README.md").expect_err("a foreign object").to_string();
    assert!(error.contains("'notes/README.md'"), "{error}");
}

/// A machine whose remote holds what rclone encrypted, with its options.
fn machine_with(rclone: &Rclone, source: &Path, options: &[(&str, &str)]) -> (Machine, Vec<(String, String)>) {
    let machine = Machine::local().without_key();
    let obscured = rclone.obscure(PASSWORD);
    let given: Vec<(&str, &str)> = [("password", obscured.as_str())].into_iter().chain(options.iter().copied()).collect();
    rclone.encrypt(source, &machine.at("remote/demo"), &given);
    let named = given.iter().map(|(key, value)| (format!("ENCRYPTED_{}", key.to_uppercase()), value.to_string()));
    (machine, named.collect())
}

fn restore(machine: &Machine, target: &str, environment: &[(String, String)]) -> (i32, String) {
    let mut command = machine.command(&["remote-to-local-sync", "-s", machine.path, "-d", target]);
    told(&command.envs(environment.iter().cloned()).output().expect("the program runs"))
}

#[test]
fn what_rclone_encrypted_is_restored_and_goes_on_as_a_vault() {
    let rclone = Rclone::given();
    let source = volume(false);
    for options in [
        &[][..],
        &[("filename_encryption", "obfuscate")],
        &[("filename_encryption", "off"), ("directory_name_encryption", "false")],
    ] {
        let (mut machine, environment) = machine_with(&rclone, source.path(), options);
        let (code, text) = restore(&machine, "volume", &environment);
        assert_eq!(code, 0, "{options:?}: {text}");
        let (mut files, _) = tree(&machine.at("volume"));
        files.retain(|path, _| !path.starts_with(".vsc"));
        let expected = tree(source.path()).0;
        let missing: Vec<_> = expected.keys().filter(|path| files.get(*path) != expected.get(*path)).collect();
        assert!(files == expected, "{options:?}: {missing:?} did not come out, or other: {text}");
        assert!(text.contains("64 KiB"), "a content that ends with a whole block is said to prove nothing: {text}");
        // The first push makes a vault elsewhere; rclone's remote is never written to.
        let before = tree(&machine.at("remote/demo")).0;
        machine.path = "vault";
        machine.remote.extend(environment.iter().cloned());
        let (code, text) = machine.push(&[]);
        assert_eq!(code, 0, "{text}");
        let (code, text) = machine.restore("again", &[]);
        assert_eq!(code, 0, "{text}");
        assert_same(&machine, "again");
        assert_eq!(tree(&machine.at("remote/demo")).0, before);
    }
}

#[test]
fn a_wrong_password_and_damage_restore_nothing_wrong() {
    let rclone = Rclone::given();
    let source = tempfile::tempdir().expect("a folder");
    fs::write(source.path().join("file"), noise(1, 200_000)).expect("a file");
    let (machine, mut environment) = machine_with(&rclone, source.path(), &[]);
    let wrong = rclone.obscure("another made-up password");
    let right = std::mem::replace(&mut environment[0].1, wrong);
    let (code, text) = restore(&machine, "wrong", &environment);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("holds no vault, but it is not empty"), "{text}");
    let named = [environment.clone(), vec![("ENCRYPTED_TYPE".to_string(), "crypt".to_string())]].concat();
    let (code, text) = restore(&machine, "wrong", &named);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("no object there has a name that rclone crypt made"), "{text}");
    environment[0].1 = right;
    let object = tree(&machine.at("remote/demo")).0.into_keys().next().expect("an object");
    let path = machine.at("remote/demo").join(object);
    let mut bytes = fs::read(&path).expect("an object");
    bytes[100_000] ^= 1;
    fs::write(&path, &bytes).expect("written");
    let (code, text) = restore(&machine, "damaged", &environment);
    assert_eq!(code, 7, "{text}");
    assert!(!machine.at("damaged/file").exists());
    bytes[100_000] ^= 1;
    bytes.truncate(bytes.len() - 10);
    fs::write(&path, &bytes).expect("written");
    let (code, text) = restore(&machine, "short", &environment);
    assert_eq!(code, 7, "{text}");
}

use super::{FilenameEncryption, NameProblem};
use crate::rclone_crypt::{FilenameEncoding, Options, RcloneCrypt};
use crate::seal::RcloneKeys;
use crate::secret::Secret;
use crate::tree::PathError;
use data_encoding::BASE32HEX_NOPAD;
use proptest::prelude::{ProptestConfig, any, prop, prop_oneof, proptest};

/// An obscured empty password, which gives keys of zeros: those of rclone's own tests.
const EMPTY: &str = "YWFhYWFhYWFhYWFhYWFhYQ";

fn crypt(change: impl Fn(&mut Options)) -> RcloneCrypt {
    let mut options = Options::new(Secret::new(EMPTY.to_string()));
    change(&mut options);
    RcloneCrypt::new(&options).unwrap()
}

fn path(crypt: &RcloneCrypt, key: &str) -> Result<String, NameProblem> {
    crypt.path(key).map(|path| path.to_string()).map_err(|error| error.problem)
}

/// A name as rclone would have encrypted it.
fn sealed(plain: &[u8]) -> String {
    let mut bytes = plain.to_vec();
    let padding = 16 - plain.len() % 16;
    bytes.resize(plain.len() + padding, u8::try_from(padding).unwrap());
    sealed_blocks(bytes)
}

fn sealed_blocks(mut bytes: Vec<u8>) -> String {
    RcloneKeys::derive(&Secret::new(Vec::new()), None).seal_name(&mut bytes);
    BASE32HEX_NOPAD.encode(&bytes).to_lowercase()
}

#[test]
fn standard_names_decrypt() {
    let all = crypt(|_| {});
    for (key, plain) in [
        ("p0e52nreeaj0a5ea7s64m4j72s", "1"),
        ("p0e52nreeaj0a5ea7s64m4j72s/l42g6771hnv3an9cgc8cr2n1ng/qgm4avr35m5loi1th53ato71v0", "1/12/123"),
        ("P0E52NREEAJ0A5EA7S64M4J72S/l42g6771hnv3an9cgc8cr2n1ng", "1/12"),
        ("mijbj0frqf6ms7frcr6bd9h0env53jv96pjaaoirk7forcgpt70g", "1234567890123456"),
        ("p0e52nreeaj0a5ea7s64m4j72s-v2001-02-03-040506-123", "1-v2001-02-03-040506-123"),
        ("-v2001-02-03-040506-123", "-v2001-02-03-040506-123"),
    ] {
        assert_eq!(path(&all, key).as_deref(), Ok(plain));
    }
    let files = crypt(|options| options.directory_name_encryption = false);
    assert_eq!(path(&files, "1/12/qgm4avr35m5loi1th53ato71v0").as_deref(), Ok("1/12/123"));
    assert_eq!(path(&files, "1/l42g6771hnv3an9cgc8cr2n1ng-v2001-02-03-040506-123").as_deref(), Ok("1/12-v2001-02-03-040506-123"));
    for (encoding, key) in [
        (FilenameEncoding::Base64, "yBxRX25ypgUVyj8MSxJnFw/tKa5gfvTzW4d-2bMtqYgdf5Rz-k2ZqViW6HfjbIZ6cE"),
        (FilenameEncoding::Base32768, "詮㪗鐮僀伎作㻖㢧⪟/肳哀旚挶靏鏻㾭䱠慟㪳ꏆ賊兲铧敻塹魀ʟ"),
    ] {
        let crypt = crypt(|options| options.filename_encoding = encoding);
        assert_eq!(path(&crypt, key).as_deref(), Ok("1/1234567890123456"));
    }
}

#[test]
fn a_mark_goes_before_the_extension_that_was_encrypted() {
    let key = format!("{}-v2001-02-03-040506-123", sealed(b"page.html"));
    assert_eq!(path(&crypt(|_| {}), &key).as_deref(), Ok("page-v2001-02-03-040506-123.html"));
    let in_a_directory = format!("{key}/{}", sealed(b"x"));
    assert_eq!(path(&crypt(|_| {}), &in_a_directory), Err(NameProblem::Encoding), "only the last name has one");
}

#[test]
fn names_that_do_not_decrypt_say_why() {
    let standard = crypt(|_| {});
    for (key, problem) in [
        ("64=", NameProblem::Encoding),
        ("!", NameProblem::Encoding),
        ("README.md", NameProblem::Encoding),
        ("c4", NameProblem::Length),
        ("64p36d1l6orjge9g64p36d1l", NameProblem::Length),
        ("64p36d1l6orjge9g64p36d1l60", NameProblem::Padding),
        ("p0e52nreeaj0a5ea7s64m4j72s/64p36d1l6orjge9g64p36d1l60", NameProblem::Padding),
        ("", NameProblem::Length),
        ("/p0e52nreeaj0a5ea7s64m4j72s", NameProblem::Length),
        ("p0e52nreeaj0a5ea7s64m4j72s/", NameProblem::Length),
    ] {
        assert_eq!(path(&standard, key), Err(problem), "{key}");
    }
    for blocks in [b"padding of two\x01\x02", b"padding of none\0", b"seventeen of it\x11"] {
        assert_eq!(path(&standard, &sealed_blocks(blocks.to_vec())), Err(NameProblem::Padding));
    }
    let longest = |bytes: usize| BASE32HEX_NOPAD.encode(&vec![0; bytes]);
    assert_eq!(path(&standard, &longest(2064)), Err(NameProblem::Length));
    assert_eq!(path(&standard, &longest(2048)), Err(NameProblem::Padding));
    let obscured = "YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ";
    let other = crypt(|options| options.password = Secret::new(obscured.to_string()));
    assert_eq!(path(&other, "p0e52nreeaj0a5ea7s64m4j72s"), Err(NameProblem::Padding));
    let text = other.path("p0e52\nforged").unwrap_err().to_string();
    assert!(text.contains("'p0e52\\nforged'"), "{text}");
}

#[test]
fn no_name_leads_out_of_the_volume() {
    let standard = crypt(|_| {});
    for plain in [&b".."[..], b".", b"../../etc/passwd", b"/etc/passwd", b"a/b", b"a\0b", b"/"] {
        let key = format!("{}/{}", sealed(plain), sealed(b"file"));
        assert_eq!(path(&standard, &key), Err(NameProblem::Escape), "{plain:?}");
        assert_eq!(path(&standard, &sealed(plain)), Err(NameProblem::Escape), "{plain:?}");
        assert_eq!(standard.directory(&sealed(plain)).unwrap_err().problem, NameProblem::Escape, "{plain:?}");
    }
    assert_eq!(path(&standard, &sealed(b"")), Err(NameProblem::Path(PathError::Empty)));
    assert_eq!(path(&standard, &sealed(&[b'n'; 256])), Err(NameProblem::Path(PathError::NameTooLong)));
    assert_eq!(path(&standard, &sealed("．．".as_bytes())).as_deref(), Ok("．．"));

    let clear = crypt(|options| options.filename_encryption = FilenameEncryption::Off);
    let files = crypt(|options| options.directory_name_encryption = false);
    for parent in ["..", ".", "a/../.."] {
        assert!(path(&clear, &format!("{parent}/x.bin")).is_err(), "{parent}");
        assert!(path(&files, &format!("{parent}/p0e52nreeaj0a5ea7s64m4j72s")).is_err(), "{parent}");
        assert!(clear.directory(parent).is_err(), "{parent}");
    }
    assert!(path(&clear, "...bin").is_err() && path(&clear, "a//b.bin").is_err() && path(&clear, "/a.bin").is_err());
    let obfuscated = crypt(|options| options.filename_encryption = FilenameEncryption::Obfuscate);
    for key in ["!...", "!..", "92...", "!.a／b/!..."] {
        assert!(path(&obfuscated, key).is_err(), "{key}");
    }
}

#[test]
fn obfuscated_names_are_rotated_back() {
    let all = crypt(|options| options.filename_encryption = FilenameEncryption::Obfuscate);
    for (key, plain) in [
        ("49.6/99.23/150.890/53.!!lipps", "1/12/123/!hello"),
        ("49.6/99.23/150.890/53-v2001-02-03-040506-123.!!lipps", "1/12/123/!hello-v2001-02-03-040506-123"),
        ("49.6/99.23/150.890/162.uryyB-v2001-02-03-040506-123.GKG", "1/12/123/hello-v2001-02-03-040506-123.txt"),
        ("!.odd‛FF", "odd\\xff"),
        // Rotated into a quotation mark; rclone itself reads two characters here.
        ("128.‛‛k", "’g"),
        ("255.‛‛m‛‛l", "’g’f"),
    ] {
        assert_eq!(path(&all, key).as_deref(), Ok(plain));
    }
    assert_eq!(path(&all, "hello"), Err(NameProblem::NotObfuscated));
    let files = crypt(|options| {
        options.filename_encryption = FilenameEncryption::Obfuscate;
        options.directory_name_encryption = false;
    });
    assert_eq!(path(&files, "1/12/123/53.!!lipps").as_deref(), Ok("1/12/123/!hello"));
}

#[test]
fn names_in_clear_lose_their_suffix() {
    let with = |suffix: &str| {
        crypt(|options| {
            options.filename_encryption = FilenameEncryption::Off;
            options.suffix = suffix.to_string();
        })
    };
    for (suffix, key, plain) in [
        (".bin", "1/12/123.bin", Ok("1/12/123")),
        (".bin", "1/12/123-v2001-02-03-040506-123.txt.bin", Ok("1/12/123-v2001-02-03-040506-123.txt")),
        (".bin", "1/12/123.bix", Err(NameProblem::Suffix)),
        (".bin", "1/12/.bin", Err(NameProblem::Suffix)),
        (".jpg", "1/12/123.jpg", Ok("1/12/123")),
        ("", "1/12/123", Ok("1/12/123")),
    ] {
        assert_eq!(path(&with(suffix), key).as_deref().map_err(|problem| *problem), plain, "{key}");
    }
}

#[test]
fn directories_are_named_apart_from_files() {
    let directory = |crypt: &RcloneCrypt, key: &str| crypt.directory(key).map(|path| path.to_string()).ok();
    let all = crypt(|_| {});
    let key = "p0e52nreeaj0a5ea7s64m4j72s/l42g6771hnv3an9cgc8cr2n1ng";
    assert_eq!(directory(&all, &format!("{key}/")).as_deref(), Some("1/12"));
    assert_eq!(directory(&all, key).as_deref(), Some("1/12"));
    let files = crypt(|options| options.directory_name_encryption = false);
    assert_eq!(directory(&files, "1/12/").as_deref(), Some("1/12"));
    let clear = crypt(|options| options.filename_encryption = FilenameEncryption::Off);
    assert_eq!(directory(&clear, "1/a.bin").as_deref(), Some("1/a.bin"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    /// Whatever lies at the remote: no panic, and no path that leaves the volume.
    #[test]
    fn any_key_is_a_path_inside_or_an_error(
        key in prop_oneof![
            any::<String>(),
            prop::string::string_regex("([0-9]{1,3}|!)[.][!./\u{2018}-\u{201f}\u{2400}-\u{2421}a-z0-9]{0,12}").unwrap(),
            prop::string::string_regex("[.／‛．2EF/]{0,9}([.]bin)?").unwrap(),
        ]
    ) {
        thread_local! {
            static ALL: Vec<RcloneCrypt> = [FilenameEncryption::Standard, FilenameEncryption::Obfuscate, FilenameEncryption::Off]
                .into_iter()
                .flat_map(|encryption| {
                    [FilenameEncoding::Base32, FilenameEncoding::Base64, FilenameEncoding::Base32768].map(|encoding| {
                        crypt(|options| {
                            options.filename_encryption = encryption;
                            options.filename_encoding = encoding;
                            options.directory_name_encryption = encoding != FilenameEncoding::Base64;
                        })
                    })
                })
                .collect();
        }
        ALL.with(|all| {
            for path in all.iter().flat_map(|crypt| [crypt.path(&key), crypt.directory(&key)]).flatten() {
                let mut names = path.as_bytes().split(|byte| *byte == b'/');
                assert!(!names.any(|name| matches!(name, b"" | b"." | b"..") || name.contains(&0)), "{path}");
            }
        });
    }
}

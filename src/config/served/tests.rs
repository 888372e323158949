use super::super::environment::Environment;
use super::super::mistakes::ConfigError;
use super::super::remote::{RemoteOptions, read_remote};
use crate::store::{RemoteConfig, ServedConfig};

const PASSWORD: &str = "made-up-password";
/// `potato`, as rclone obscures it.
const OBSCURED: &str = "YWFhYWFhYWFhYWFhYWFhYXMaGgIlEQ";

fn options(pairs: &[(&str, &str)], params: &[&str]) -> Result<RemoteOptions, ConfigError> {
    let environment: Environment = pairs.iter().copied().collect();
    let params: Vec<String> = params.iter().map(|param| param.to_string()).collect();
    read_remote(&environment, &params)
}

fn served(pairs: &[(&str, &str)], path: &str) -> ServedConfig {
    match options(pairs, &[]).unwrap().at(path).unwrap() {
        RemoteConfig::Served(config) => *config,
        other => panic!("{other:?}"),
    }
}

/// The report of mistakes; checks that it holds no secret.
fn mistake(pairs: &[(&str, &str)], params: &[&str]) -> String {
    let text = options(pairs, params).unwrap_err().to_string();
    assert!(!text.contains(PASSWORD), "{text}");
    text
}

fn option(config: &ServedConfig, name: &str) -> Option<String> {
    config.options.get(name).map(|value| value.expose().clone())
}

const WEBDAV: [(&str, &str); 2] = [("REMOTE_TYPE", "WebDAV"), ("REMOTE_URL", "https://host/dav/")];

const SFTP: [(&str, &str); 3] = [("REMOTE_TYPE", "sftp"), ("REMOTE_HOST", "host"), ("REMOTE_USER", "me")];

#[test]
fn a_path_of_sftp_begins_at_the_root_or_where_a_log_in_ends() {
    let pairs = [&SFTP[..], &[("REMOTE_PASS", OBSCURED), ("REMOTE_DISABLE_HASHCHECK", "true")]].concat();
    for (path, is_absolute) in [("/srv/backup/", true), ("srv//backup", false)] {
        let config = served(&pairs, path);
        assert_eq!((config.is_absolute, config.prefix.as_str()), (is_absolute, "srv/backup"));
        assert_eq!(option(&config, "pass").as_deref(), Some("potato"));
    }
    assert!(!served(&WEBDAV, "/srv/backup").is_absolute);
    let warnings = options(&pairs, &[]).unwrap().warnings;
    assert_eq!(warnings, ["options of rclone, without effect here: REMOTE_DISABLE_HASHCHECK"]);
    // An agent is credentials enough.
    let agent = served(&[&SFTP[..], &[("SSH_AUTH_SOCK", "/run/agent")]].concat(), "x");
    assert_eq!(option(&agent, "agent_socket").as_deref(), Some("/run/agent"));
}

#[test]
fn rclones_names_reach_the_store() {
    let config = served(&[&WEBDAV[..], &[("REMOTE_USER", "me"), ("REMOTE_PASS", OBSCURED)]].concat(), "/a//b/");
    assert_eq!((config.kind.name, config.container.as_str(), config.prefix.as_str()), ("webdav", "", "a/b"));
    assert_eq!(option(&config, "url").as_deref(), Some("https://host/dav/"));
    assert_eq!(option(&config, "pass").as_deref(), Some("potato"));
    for spelling in ["gcs", "Google Cloud Storage"] {
        let pairs = [("REMOTE_TYPE", spelling), ("REMOTE_ANONYMOUS", "yes")];
        let config = served(&pairs, "bucket/a/b");
        assert_eq!((config.container.as_str(), config.prefix.as_str()), ("bucket", "a/b"));
        assert_eq!(option(&config, "anonymous").as_deref(), Some("true"));
        let text = options(&pairs, &[]).unwrap().at("/").unwrap_err().to_string();
        assert!(text.contains("must name the bucket or container"), "{text}");
    }
}

#[test]
fn a_port_is_told_from_what_kubernetes_sets() {
    for (port, expected) in [("2121", Some("2121")), ("tcp://10.0.0.1:80", None)] {
        let config = served(&[("REMOTE_TYPE", "ftp"), ("REMOTE_HOST", "h"), ("REMOTE_PORT", port)], "x");
        assert_eq!(option(&config, "port").as_deref(), expected);
    }
}

#[test]
fn a_password_is_taken_obscured_in_clear_and_from_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{OBSCURED}\n")).unwrap();
    let path = file.path().to_str().unwrap();
    for (name, value, expected) in [
        ("REMOTE_PASS", OBSCURED, "potato"),
        ("REMOTE_PASS", PASSWORD, PASSWORD),
        ("REMOTE_PASS", "short", "short"),
        // Long enough to be obscured, and of the right letters; what comes out is nothing that people type.
        ("REMOTE_PASS", "0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef"),
        ("REMOTE_PASS_FILE", path, "potato"),
    ] {
        let pairs = [&WEBDAV[..], &[("REMOTE_USER", "me"), (name, value)]].concat();
        assert_eq!(option(&served(&pairs, "x"), "pass").as_deref(), Some(expected), "{value}");
        let shown = format!("{:?} {:?}", options(&pairs, &[]).unwrap().describe(), served(&pairs, "x"));
        assert!(!shown.contains("potato") && !shown.contains(value) || value == path, "{shown}");
    }
}

#[test]
fn a_token_is_rclones_json_or_an_access_token() {
    let json = r#"{"access_token":"a","token_type":"Bearer","refresh_token":"r","expiry":"2026-01-01T00:00:00Z"}"#;
    let application = [("REMOTE_CLIENT_ID", "id"), ("REMOTE_CLIENT_SECRET", "s")];
    let with = |token: &'static str, more: &[(&'static str, &'static str)]| {
        served(&[&[("REMOTE_TYPE", "drive"), ("REMOTE_TOKEN", token)], more].concat(), "x")
    };
    let renewable = with(json, &application);
    assert_eq!((option(&renewable, "refresh_token").as_deref(), option(&renewable, "access_token")), (Some("r"), None));
    for token in [json, "a"] {
        let lasting = with(token, &[]);
        assert_eq!((option(&lasting, "access_token").as_deref(), option(&lasting, "refresh_token")), (Some("a"), None));
    }
    let text = mistake(&[("REMOTE_TYPE", "drive"), ("REMOTE_TOKEN", "{\"made-up-password")], &[]);
    assert!(text.contains("REMOTE_TOKEN is not a token as rclone prints it"), "{text}");
}

#[test]
fn each_mistake_is_named_with_a_way_out() {
    for (pairs, params, expected) in [
        (vec![("REMOTE_TYPE", "webdav")], vec![], "REMOTE_URL is needed for type webdav"),
        (WEBDAV.to_vec(), vec!["pass=made-up-password"], "-p pass is a secret"),
        (
            [&WEBDAV[..], &[("REMOTE_USR", "x")]].concat(),
            vec![],
            "REMOTE_USR is not a known option of type webdav\n    -> did you mean",
        ),
        ([&WEBDAV[..], &[("REMOTE_COLOUR", "x")]].concat(), vec![], "-> known: URL, USER, PASS"),
        (
            vec![("REMOTE_TYPE", "webdav"), ("REMOTE_URL", "http://me:made-up-password@h")],
            vec![],
            "holds a user name or password",
        ),
        (vec![("REMOTE_TYPE", "webdav"), ("REMOTE_URL", "ftp://h")], vec![], "does not begin with http:// or https://"),
        (vec![("REMOTE_TYPE", "azureblob"), ("REMOTE_ACCOUNT", "a")], vec![], "REMOTE_KEY is missing: there are no credentials"),
        (vec![("REMOTE_TYPE", "gcs")], vec![], "REMOTE_SERVICE_ACCOUNT_FILE is missing: there are no credentials"),
        (vec![("REMOTE_TYPE", "b2"), ("REMOTE_ACCOUNT", "a"), ("REMOTE_KEY", "k")], vec![], "REMOTE_BUCKET_ID is needed"),
        (
            vec![("REMOTE_TYPE", "pcloud")],
            vec![],
            "REMOTE_PASSWORD is needed for type pcloud\n    -> set it: the user's password, or REMOTE_PASSWORD_FILE",
        ),
        (vec![("REMOTE_TYPE", "swift")], vec![], "REMOTE_AUTH is missing: there are no credentials"),
        (
            vec![("REMOTE_TYPE", "swift"), ("REMOTE_AUTH", "https://h/v3"), ("REMOTE_USER", "me")],
            vec![],
            "REMOTE_KEY is missing: there are no credentials",
        ),
        (SFTP.to_vec(), vec![], "REMOTE_KEY_FILE is missing: there are no credentials"),
        ([&SFTP[..], &[("REMOTE_SOCKS_PROXY", "h:1")]].concat(), vec![], "REMOTE_SOCKS_PROXY is not a known option of type sftp"),
        (
            vec![("REMOTE_TYPE", "ftp"), ("REMOTE_HOST", "h"), ("REMOTE_PORT", "99999")],
            vec![],
            "REMOTE_PORT is not a port's number",
        ),
        (vec![("REMOTE_TYPE", "mega")], vec![], "is 'mega', which is not served\n    -> use s3 with Mega's S4 storage"),
        (vec![("REMOTE_TYPE", "webdaw")], vec![], "did you mean webdav?"),
        (
            [&WEBDAV[..], &[("REMOTE_CA_FILE", "/nowhere/x")]].concat(),
            vec![],
            "REMOTE_CA_FILE (path not shown, no such directory) is not a file",
        ),
    ] {
        let text = mistake(&pairs, &params);
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn what_only_steers_rclone_is_accepted_with_a_warning() {
    let options = options(
        &[&WEBDAV[..], &[("REMOTE_ENCODING", "x"), ("REMOTE_PACER_MIN_SLEEP", "1ms"), ("REMOTE_REGION", "x")]].concat(),
        &[],
    )
    .unwrap();
    assert!(options.warnings.len() == 2 && options.warnings[0].contains("REMOTE_PACER_MIN_SLEEP"), "{:?}", options.warnings);
    assert_eq!(options.warnings[1], "without effect on a remote of type webdav: REMOTE_REGION");
}

#[test]
fn what_came_from_files_is_read_from_them_again() {
    let (file, token) = (tempfile::NamedTempFile::new().unwrap(), tempfile::NamedTempFile::new().unwrap());
    let paths = [&file, &token].map(|file| file.path().to_str().unwrap().to_string());
    let again = |config: &ServedConfig| (config.secret_files.as_ref().unwrap().read)(config);
    std::fs::write(file.path(), "first\n").unwrap();
    let config = served(&[&WEBDAV[..], &[("REMOTE_USER", "me"), ("REMOTE_PASS_FILE", &paths[0])]].concat(), "x");
    assert_eq!(option(&config, "pass").as_deref(), Some("first"));
    std::fs::write(file.path(), OBSCURED).unwrap();
    let options = again(&config).unwrap();
    assert_eq!((options["pass"].expose().as_str(), options["user"].expose().as_str()), ("potato", "me"));
    std::fs::write(file.path(), "").unwrap();
    assert!(again(&config).unwrap_err().starts_with("the file of PASS ("));

    let drive = [("REMOTE_TYPE", "drive"), ("REMOTE_CLIENT_ID", "us"), ("REMOTE_CLIENT_SECRET_FILE", paths[0].as_str())];
    std::fs::write(file.path(), OBSCURED).unwrap();
    std::fs::write(token.path(), "plain").unwrap();
    let config = served(&[&drive[..], &[("REMOTE_TOKEN_FILE", &paths[1])]].concat(), "x");
    assert_eq!(option(&config, "access_token").as_deref(), Some("plain"));
    std::fs::write(token.path(), r#"{"access_token":"a","refresh_token":"r"}"#).unwrap();
    let options = again(&config).unwrap();
    assert_eq!(options["refresh_token"].expose(), "r");
    assert_eq!(options["client_secret"].expose(), OBSCURED, "what is no password was never obscured");
    assert!(!options.contains_key("access_token"), "what is renewed does not stay beside what was");
    std::fs::write(token.path(), format!("{{{PASSWORD}")).unwrap();
    let problem = again(&config).unwrap_err();
    assert!(problem.contains("TOKEN") && !problem.contains(PASSWORD), "{problem}");
    assert!(served(&[&WEBDAV[..], &[("REMOTE_PASS", PASSWORD)]].concat(), "x").secret_files.is_none());
}

use super::{Environment, RemoteOptions, read_remote};
use crate::fault::{Kind, Report};
use crate::store::{RemoteConfig, S3Config};
use std::path::Path;

const KEYS: [(&str, &str); 2] = [("REMOTE_ACCESS_KEY_ID", "minio"), ("REMOTE_SECRET_ACCESS_KEY", "made-up-secret")];

fn read(pairs: &[(&str, &str)], params: &[&str]) -> Result<RemoteOptions, super::ConfigError> {
    let environment: Environment = pairs.iter().copied().collect();
    let params: Vec<String> = params.iter().map(|param| param.to_string()).collect();
    read_remote(&environment, &params)
}

fn with_keys(pairs: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    [&KEYS[..], &[("REMOTE_TYPE", "s3")], pairs].concat()
}

fn s3(pairs: &[(&'static str, &'static str)]) -> S3Config {
    match read(&with_keys(pairs), &[]).unwrap().at("bucket/a").unwrap() {
        RemoteConfig::S3(config) => *config,
        other => panic!("{other:?}"),
    }
}

/// The report of a mistake; checks that it holds no secret.
fn mistake(pairs: &[(&'static str, &'static str)]) -> String {
    let text = read(&with_keys(pairs), &[]).unwrap_err().to_string();
    assert!(!text.contains("made-up-secret"), "{text}");
    text
}

#[test]
fn nothing_given_is_the_embedded_remote() {
    for (pairs, folder) in [
        (vec![("HOME", "/home/a")], "/home/a/.local/share/volume-syncing-controller"),
        (vec![("HOME", "/home/a"), ("XDG_DATA_HOME", "/data")], "/data/volume-syncing-controller"),
        (vec![("HOME", "/home/a"), ("XDG_DATA_HOME", "relative")], "/home/a/.local/share/volume-syncing-controller"),
        (vec![("REMOTE_TYPE", "local"), ("REMOTE_ROOT", "/r")], "/r"),
    ] {
        let options = read(&pairs, &[]).unwrap();
        for (remote_path, part) in [("/", "default"), ("./", "default"), ("a//b/", "a/b")] {
            let RemoteConfig::Local { folder: found, path } = options.at(remote_path).unwrap() else { panic!("local") };
            assert_eq!((found.as_path(), path.as_str()), (Path::new(folder), part));
        }
        let RemoteConfig::Local { folder: found, .. } = options.at("/backup/x/").unwrap() else { panic!("local") };
        assert_eq!(found, Path::new("/backup/x"));
    }
    let text = read(&[], &[]).unwrap_err().to_string();
    assert!(text.contains("REMOTE_ROOT is needed: there is no HOME"), "{text}");
}

#[test]
fn a_remote_path_cannot_climb_out() {
    for pairs in [vec![("HOME", "/h")], vec![("REMOTE_TYPE", "memory")], with_keys(&[])] {
        let text = read(&pairs, &[]).unwrap().at("bucket/../other").unwrap_err().to_string();
        assert!(text.contains("must not hold '..'"), "{text}");
    }
}

#[test]
fn the_first_name_of_a_remote_path_is_the_bucket() {
    let options = read(&with_keys(&[]), &[]).unwrap();
    for (remote_path, bucket, prefix) in [("/b/p/q/", "b", "p/q"), ("b", "b", ""), ("//b//p", "b", "p")] {
        let RemoteConfig::S3(config) = options.at(remote_path).unwrap() else { panic!("s3") };
        assert_eq!((config.bucket.as_str(), config.prefix.as_str()), (bucket, prefix));
    }
    for remote_path in ["/", "", "./"] {
        let text = options.at(remote_path).unwrap_err().to_string();
        assert!(text.contains("-d/--dst") && text.contains("must name the bucket") && text.contains("BUCKET/PATH"), "{text}");
    }
}

#[test]
fn the_provider_sets_only_defaults() {
    let minio = s3(&[("REMOTE_PROVIDER", "Minio"), ("REMOTE_ENDPOINT", "http://minio:9000/")]);
    assert_eq!(minio.endpoint.as_deref(), Some("http://minio:9000"));
    assert_eq!((minio.virtual_host_style, minio.region.as_deref()), (false, Some("us-east-1")));
    let aws = s3(&[("REMOTE_PROVIDER", "aws"), ("REMOTE_REGION", "eu-central-1")]);
    assert_eq!((aws.virtual_host_style, aws.region.as_deref(), aws.endpoint), (true, Some("eu-central-1"), None));
    let aws = s3(&[("AWS_REGION", "eu-west-1"), ("REMOTE_FORCE_PATH_STYLE", "Yes")]);
    assert_eq!((aws.virtual_host_style, aws.region.as_deref()), (false, Some("eu-west-1")));
    let cloudflare = s3(&[("REMOTE_PROVIDER", "Cloudflare"), ("REMOTE_ENDPOINT", "x.r2.cloudflarestorage.com")]);
    assert_eq!(cloudflare.region.as_deref(), Some("auto"));
    assert_eq!(cloudflare.endpoint.as_deref(), Some("https://x.r2.cloudflarestorage.com"));
    let text = mistake(&[("REMOTE_PROVIDER", "Minio")]);
    assert!(text.contains("REMOTE_ENDPOINT is needed for provider Minio"), "{text}");
}

#[test]
fn variables_that_steer_rclone_itself_are_named() {
    let pairs = [("RCLONE_EXCLUDE", "hunter2"), ("RCLONE_TRANSFERS", "8"), ("RCLONE_CONFIG", "/c"), ("RCLONE_BWLIMIT", "")];
    let options = read(&with_keys(&pairs), &[]).unwrap();
    let warning = options.warnings.iter().find(|warning| warning.contains("rclone")).unwrap();
    assert!(warning.contains("RCLONE_EXCLUDE, RCLONE_TRANSFERS; see --bwlimit"), "{warning}");
    assert!(!warning.contains("hunter2"), "{warning}");
    assert!(!read(&with_keys(&[]), &[]).unwrap().warnings.iter().any(|warning| warning.contains("rclone")));
}

#[test]
fn options_of_s3_without_a_type_mean_s3() {
    let options = read(&[&KEYS[..], &[("REMOTE_ENDPOINT", "http://minio:9000")]].concat(), &[]).unwrap();
    assert!(matches!(options.at("b").unwrap(), RemoteConfig::S3(_)));
    assert!(options.describe().iter().any(|(_, value)| value.starts_with("s3 (since REMOTE_ENDPOINT")));
}

#[test]
fn each_wrong_value_is_named_with_a_way_out() {
    for (variable, value, expected) in [
        ("REMOTE_TYPE", "hdfs", "'hdfs', which is not served"),
        ("REMOTE_TYPE", "smb", "mount the share and use local"),
        ("REMOTE_TYPE", "s33", "did you mean s3? served: s3, local, memory, azureblob"),
        ("REMOTE_ENDPOINT", "ftp://x", "is not an http or https URL"),
        ("REMOTE_ENDPOINT", "http://user:made-up-secret@x", "holds a user name or password"),
        ("REMOTE_ENDPOINT", "https://x/bucket", "goes on after host and port"),
        ("REMOTE_ENDPOINT", "https://", "is not a host"),
        ("REMOTE_ENDPOINT", "minio:99999", "is not a host"),
        ("REMOTE_ENDPOINT", "[zz]:1", "is not a host"),
        ("REMOTE_REGION", "eu central", "has spaces"),
        ("REMOTE_ENV_AUTH", "perhaps", "REMOTE_ENV_AUTH is 'perhaps'\n    -> expected true or false"),
        ("REMOTE_ENV_AUTH", "made-up-secret", "is (not shown)"),
        ("REMOTE_FORCE_PATH_STYLE", "2", "REMOTE_FORCE_PATH_STYLE is '2'"),
        ("REMOTE_INSECURE", "maybe", "REMOTE_INSECURE is 'maybe'"),
        ("REMOTE_ACL", "public-read", "never public"),
        ("REMOTE_STORAGE_CLASS", "glacier", "is GLACIER, which a restore could not read"),
        ("REMOTE_STORAGE_CLASS", "DEEP_ARCHIVE", "a restore could not read"),
        ("REMOTE_SERVER_SIDE_ENCRYPTION", "AES", "use AES256 or aws:kms"),
        ("REMOTE_SSE_KMS_KEY_ID", "k", "set REMOTE_SERVER_SIDE_ENCRYPTION=aws:kms"),
        ("REMOTE_ROLE_ARN", "admin", "is not an ARN"),
        ("REMOTE_CA_FILE", "/no/ca.pem", "REMOTE_CA_FILE (/no/ca.pem) is not a readable file"),
        ("AWS_CA_BUNDLE", "/no/ca.pem", "AWS_CA_BUNDLE (/no/ca.pem) is not a readable file"),
        ("REMOTE_SECRET_ACCESS_KEY_FILE", "/k", "is given together with REMOTE_SECRET_ACCESS_KEY"),
        ("REMOTE_SESSION_TOKEN_FILE", "/usr/no-token", "REMOTE_SESSION_TOKEN_FILE (/usr/no-token) cannot be read"),
        ("REMOTE_PROFILE", "x", "an option of rclone that is not supported yet"),
        ("REMOTE_ENDPONT", "x", "did you mean REMOTE_ENDPOINT?"),
        ("REMOTE_COLOUR", "x", "REMOTE_COLOUR is not a known option\n    -> known: TYPE, DESCRIPTION, PROVIDER"),
    ] {
        let text = mistake(&[(variable, value)]);
        assert!(text.contains(expected), "{variable}={value}: {text}");
    }
}

#[test]
fn endpoints_of_every_form_are_accepted() {
    for (given, url) in [
        ("minio", "https://minio"),
        ("HTTP://minio:9000", "http://minio:9000"),
        ("https://s3.eu-west-1.amazonaws.com/", "https://s3.eu-west-1.amazonaws.com"),
        ("http://10.0.0.1:9000", "http://10.0.0.1:9000"),
        ("http://[::1]:9000", "http://[::1]:9000"),
        ("my_service.ns.svc:80", "https://my_service.ns.svc:80"),
    ] {
        assert_eq!(s3(&[("REMOTE_ENDPOINT", given)]).endpoint.as_deref(), Some(url));
    }
}

#[test]
fn credentials_come_in_pairs_or_from_the_workload() {
    for (pairs, expected) in [
        (vec![("REMOTE_TYPE", "s3")], "REMOTE_ACCESS_KEY_ID is missing: there are no credentials"),
        (vec![("REMOTE_ACCESS_KEY_ID", "a")], "REMOTE_SECRET_ACCESS_KEY is missing while REMOTE_ACCESS_KEY_ID is set"),
        (vec![("REMOTE_SECRET_ACCESS_KEY", "a")], "REMOTE_ACCESS_KEY_ID is missing while"),
        (vec![("REMOTE_SESSION_TOKEN", "a")], "is missing while a session token is set"),
    ] {
        let text = read(&pairs, &[]).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
    let workload = |pairs: &[(&str, &str)]| match read(pairs, &["env_auth=yes"]).unwrap().at("b").unwrap() {
        RemoteConfig::S3(config) => (config.env_auth, config.disable_imds),
        other => panic!("{other:?}"),
    };
    assert_eq!(workload(&[]), (true, false));
    assert_eq!(workload(&[("AWS_EC2_METADATA_DISABLED", "true")]), (true, true));
    assert_eq!(workload(&KEYS), (false, false));
    assert!(s3(&[]).disable_imds);
}

#[test]
fn a_secret_is_read_from_its_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "made-up-secret\n").unwrap();
    let path = file.path().to_str().unwrap();
    let pairs = [("REMOTE_ACCESS_KEY_ID", "a"), ("REMOTE_SECRET_ACCESS_KEY_FILE", path)];
    let options = read(&pairs, &[]).unwrap();
    let RemoteConfig::S3(config) = options.at("b").unwrap() else { panic!("s3") };
    assert_eq!(config.secret_access_key.unwrap().expose(), "made-up-secret");
    std::fs::write(file.path(), " \n").unwrap();
    let text = read(&pairs, &[]).unwrap_err().to_string();
    assert!(text.contains("REMOTE_SECRET_ACCESS_KEY_FILE") && text.contains("is empty"), "{text}");
}

#[test]
fn secrets_by_flag_are_refused_and_not_shown() {
    for (param, name) in
        [("secret_access_key=hunter2", "REMOTE_SECRET_ACCESS_KEY_FILE"), ("Session_Token = hunter2", "REMOTE_SESSION_TOKEN_FILE")]
    {
        let text = read(&KEYS, &[param]).unwrap_err().to_string();
        assert!(text.contains("a process list shows flags") && text.contains(name), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn options_without_effect_are_listed_in_one_warning() {
    let pairs = with_keys(&[("REMOTE_CHUNK_SIZE", "5M"), ("REMOTE_NO_CHECK_BUCKET", "true"), ("REMOTE_REGION", "x")]);
    let options = read(&pairs, &["upload_concurrency=4"]).unwrap();
    assert_eq!(
        options.warnings,
        ["options of rclone, without effect here: REMOTE_CHUNK_SIZE, REMOTE_NO_CHECK_BUCKET, -p upload_concurrency"]
    );
    let options = read(&[("HOME", "/h"), ("REMOTE_TYPE", "local"), ("REMOTE_ENDPOINT", "x")], &[]).unwrap();
    assert_eq!(options.warnings, ["without effect on a remote of type local: REMOTE_ENDPOINT"]);
    assert!(read(&with_keys(&[("REMOTE_INSECURE", "1")]), &[]).unwrap().warnings.iter().any(|w| w.contains("not checked")));
    assert!(
        read(&with_keys(&[("REMOTE_PROVIDER", "Minoi"), ("REMOTE_ENDPOINT", "x")]), &[])
            .unwrap()
            .warnings
            .iter()
            .any(|w| w.contains("mean Minio?"))
    );
}

#[test]
fn an_empty_value_counts_as_not_set_and_private_is_private() {
    let config = s3(&[("REMOTE_ACL", "private"), ("REMOTE_SESSION_TOKEN", ""), ("REMOTE_STORAGE_CLASS", " ")]);
    assert!(config.session_token.is_none() && config.storage_class.is_none());
}

#[test]
fn all_mistakes_are_reported_at_once_as_a_usage_error() {
    let error =
        read(&[("REMOTE_TYPE", "s3"), ("REMOTE_ENDPOINT", "ftp://x"), ("REMOTE_ENV_AUTH", "?"), ("REMOTE_X", "")], &["odd"]);
    let error = error.unwrap_err();
    assert_eq!(error.mistakes.len(), 4, "{error}");
    assert_eq!(Report::from(error).kind, Kind::Usage);
}

#[test]
fn neither_debug_nor_the_description_shows_a_secret() {
    let options = read(&with_keys(&[("REMOTE_SESSION_TOKEN", "made-up-token")]), &[]).unwrap();
    let all = format!("{options:?} {:?} {:?}", options.describe(), options.at("b").unwrap());
    assert!(!all.contains("made-up"), "{all}");
    assert!(options.describe().contains(&("REMOTE_SECRET_ACCESS_KEY".to_string(), "<set>".to_string())));
}

#[test]
fn files_of_keys_are_remembered_to_be_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, "made-up\n").unwrap();
        path
    };
    let paths = [path("a"), path("s"), path("t")];
    let names = ["REMOTE_ACCESS_KEY_ID_FILE", "REMOTE_SECRET_ACCESS_KEY_FILE", "REMOTE_SESSION_TOKEN_FILE"];
    let mut pairs: Vec<(&str, &str)> = names.iter().zip(&paths).map(|(name, path)| (*name, path.to_str().unwrap())).collect();
    pairs.push(("REMOTE_TYPE", "s3"));
    let RemoteConfig::S3(config) = read(&pairs, &[]).unwrap().at("bucket").unwrap() else { panic!("s3") };
    let files = config.key_files;
    assert_eq!([files.access_key_id, files.secret_access_key, files.session_token], paths.map(Some));
}

#[test]
fn the_token_service_may_be_another() {
    assert_eq!(s3(&[]).sts_endpoint, None);
    assert_eq!(s3(&[("AWS_ENDPOINT_URL_STS", "http://b:1")]).sts_endpoint.as_deref(), Some("http://b:1"));
    let both = s3(&[("AWS_ENDPOINT_URL_STS", "http://b:1"), ("REMOTE_STS_ENDPOINT", "http://a:1/")]);
    assert_eq!(both.sts_endpoint.as_deref(), Some("http://a:1"));
    assert!(mistake(&[("REMOTE_STS_ENDPOINT", "ftp://a")]).contains("REMOTE_STS_ENDPOINT is not an http or https URL"));
}

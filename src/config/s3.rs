//! The options of `type=s3`, in rclone's words.

use super::check::Check;
use super::environment::Environment;
use super::mistakes::nearest;
use super::raw::RawRemote;
use super::words::parse_boolean;
use crate::contract::env;
use crate::secret::Secret;
use crate::store::{KeyFiles, S3Config};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The region that stands for "none": what every store but AWS accepts.
const ANY_REGION: &str = "us-east-1";
/// Providers that serve buckets as host names only.
const HOST_STYLE: [&str; 4] = ["AWS", "Alibaba", "HuaweiOBS", "TencentCOS"];
/// Storage classes whose objects must be thawed for hours before anyone can read them.
const FROZEN: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

/// Checks the options; what is wrong is noted in `check` and its value is a stand-in. Bucket and prefix stay empty: they
/// come with the remote path.
pub(super) fn read(raw: &RawRemote, check: &mut Check<'_>) -> S3Config {
    let endpoint = address("endpoint", raw.endpoint.as_deref(), check);
    let provider = provider(raw, endpoint.as_deref(), check);
    if endpoint.is_none() && raw.endpoint.is_none() && provider != "AWS" {
        let name = check.options.variable("endpoint");
        check.mistakes.add(
            name,
            format!("is needed for provider {provider}"),
            "set it to the store's URL, such as http://minio:9000",
        );
    }
    let path_style = check.boolean("force_path_style", raw.force_path_style.as_deref(), !HOST_STYLE.contains(&provider));
    let env_auth = check.boolean("env_auth", raw.env_auth.as_deref(), false);
    let insecure_tls = check.boolean("insecure", raw.insecure.as_deref(), false);
    if insecure_tls {
        check.warn_of_insecure();
    }
    check.both_or_neither("client_cert_file", "client_key_file");
    private_only(raw, check);
    let (access_key_id, secret_access_key, session_token) = credentials(raw, env_auth, check);
    let (server_side_encryption, sse_kms_key_id) = server_side_encryption(raw, check);
    let metadata_off = check.environment.get(env::AWS_EC2_METADATA_DISABLED);
    S3Config {
        endpoint,
        bucket: String::new(),
        prefix: String::new(),
        region: Some(region(raw, provider, check)),
        env_auth: env_auth && access_key_id.is_none(),
        access_key_id,
        secret_access_key,
        session_token,
        key_files: KeyFiles {
            access_key_id: raw.access_key_id_file.as_ref().map(PathBuf::from),
            secret_access_key: raw.secret_access_key_file.as_ref().map(PathBuf::from),
            session_token: raw.session_token_file.as_ref().map(PathBuf::from),
        },
        environment: for_credentials(check.environment),
        virtual_host_style: !path_style,
        ca_file: ca_file(raw, check),
        client_cert_file: pem_file("client_cert_file", raw.client_cert_file.as_deref(), check),
        client_key_file: pem_file("client_key_file", raw.client_key_file.as_deref(), check),
        insecure_tls,
        storage_class: storage_class(raw, check),
        server_side_encryption,
        sse_kms_key_id,
        role_arn: role_arn(raw, check),
        sts_endpoint: sts_endpoint(raw, check),
        disable_imds: !env_auth || metadata_off.is_some_and(|text| parse_boolean(text) == Ok(true)),
        bandwidth: None,
    }
}

/// The provider by its table name. Without one, the endpoint tells AWS from the rest.
fn provider(raw: &RawRemote, endpoint: Option<&str>, check: &mut Check<'_>) -> &'static str {
    let Some(given) = raw.provider.as_deref() else {
        let aws = raw.endpoint.is_none() || endpoint.is_some_and(|url| url.contains(".amazonaws.com"));
        return if aws { "AWS" } else { "Other" };
    };
    if let Some(known) = env::PROVIDERS.iter().find(|name| name.eq_ignore_ascii_case(given)) {
        return known;
    }
    // Only defaults depend on it, and rclone learns new ones with every release: not worth an error.
    let meant = nearest(&given.to_lowercase(), env::PROVIDERS.iter().copied());
    let meant = meant.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
    let warning = format!("{} {} is not known, taken as Other{meant}", check.options.name("provider"), check.shown(given));
    check.warnings.push(warning);
    "Other"
}

/// A URL of scheme, host and port. The value is never shown: people write passwords into URLs.
fn address(key: &str, given: Option<&str>, check: &mut Check<'_>) -> Option<String> {
    let given = given?;
    let (scheme, rest) = given.split_once("://").unwrap_or(("https", given));
    let scheme = scheme.to_ascii_lowercase();
    let authority = rest.trim_end_matches('/');
    let problem = if scheme != "http" && scheme != "https" {
        "is not an http or https URL"
    } else if authority.contains('@') {
        "holds a user name or password"
    } else if authority.contains(['/', '?', '#']) {
        "goes on after host and port"
    } else if !is_host_and_port(authority) {
        "is not a host with an optional port"
    } else {
        return Some(format!("{scheme}://{authority}"));
    };
    check.wrong(key, problem, "write scheme, host and port: http://minio:9000 (the bucket belongs into the remote path)");
    None
}

fn is_host_and_port(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, after)) if address.parse::<std::net::Ipv6Addr>().is_ok() => ("v6", after.strip_prefix(':')),
            _ => return false,
        },
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let named = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    named && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number > 0))
}

fn region(raw: &RawRemote, provider: &str, check: &mut Check<'_>) -> String {
    if let Some(region) = check.word("region", raw.region.as_deref()) {
        return region;
    }
    match provider {
        "Cloudflare" => "auto".to_string(),
        "AWS" => {
            let from_workload = env::AWS_REGIONS.iter().find_map(|name| check.environment.get(name));
            if from_workload.is_none() && raw.region.is_none() {
                let name = check.options.variable("region");
                check
                    .warnings
                    .push(format!("{name} is not set, taken as {ANY_REGION}; a bucket elsewhere answers with an error"));
            }
            from_workload.unwrap_or(ANY_REGION).to_string()
        }
        _ => ANY_REGION.to_string(),
    }
}

type Credentials = (Option<Secret<String>>, Option<Secret<String>>, Option<Secret<String>>);

fn credentials(raw: &RawRemote, env_auth: bool, check: &mut Check<'_>) -> Credentials {
    let id = check.secret("access_key_id", raw.access_key_id.as_deref(), raw.access_key_id_file.as_deref());
    let key = check.secret("secret_access_key", raw.secret_access_key.as_deref(), raw.secret_access_key_file.as_deref());
    let token = check.secret("session_token", raw.session_token.as_deref(), raw.session_token_file.as_deref());
    // Whether it was given, not whether it could be read: an unreadable file is reported already.
    let id_given = raw.access_key_id.is_some() || raw.access_key_id_file.is_some();
    let key_given = raw.secret_access_key.is_some() || raw.secret_access_key_file.is_some();
    let token_given = raw.session_token.is_some() || raw.session_token_file.is_some();
    let [id_name, key_name, env_name] = ["access_key_id", "secret_access_key", "env_auth"].map(|key| check.options.variable(key));
    match (id_given, key_given) {
        (true, true) => {}
        (true, false) => check.mistakes.add(key_name, format!("is missing while {id_name} is set"), "set both, or neither"),
        (false, true) => check.mistakes.add(id_name, format!("is missing while {key_name} is set"), "set both, or neither"),
        (false, false) if token_given => {
            let hint = "a session token belongs to a pair of keys: set all three";
            check.mistakes.add(id_name, "is missing while a session token is set", hint);
        }
        (false, false) if !env_auth => {
            let hint = format!(
                "set it with {key_name} (each also as …_FILE), or set {env_name}=true to use the workload's own identity"
            );
            check.mistakes.add(id_name, "is missing: there are no credentials", hint);
        }
        (false, false) => {}
    }
    (id, key, token)
}

/// A vault's objects are never public; saying so explicitly is fine.
fn private_only(raw: &RawRemote, check: &mut Check<'_>) {
    if let Some(acl) = raw.acl.as_deref().filter(|acl| !acl.eq_ignore_ascii_case("private")) {
        check.wrong(
            "acl",
            format!("is {}, but a volume's objects are never public", check.shown(acl)),
            "remove it, or set private",
        );
    }
}

fn storage_class(raw: &RawRemote, check: &mut Check<'_>) -> Option<String> {
    let class = check.word("storage_class", raw.storage_class.as_deref())?.to_ascii_uppercase();
    if FROZEN.contains(&class.as_str()) {
        check.wrong(
            "storage_class",
            format!("is {class}, which a restore could not read"),
            "use STANDARD, STANDARD_IA or GLACIER_IR",
        );
        return None;
    }
    Some(class)
}

fn server_side_encryption(raw: &RawRemote, check: &mut Check<'_>) -> (Option<String>, Option<String>) {
    let method = check.word("server_side_encryption", raw.server_side_encryption.as_deref());
    let key_id = check.word("sse_kms_key_id", raw.sse_kms_key_id.as_deref());
    if let Some(other) = method.as_deref().filter(|method| !["AES256", "aws:kms"].contains(method)) {
        check.wrong("server_side_encryption", format!("is {}", check.shown(other)), "use AES256 or aws:kms");
    } else if key_id.is_some() && method.as_deref() != Some("aws:kms") {
        let hint = format!("set {}=aws:kms", check.options.variable("server_side_encryption"));
        check.wrong("sse_kms_key_id", "has no effect without aws:kms", hint);
    }
    (method, key_id)
}

fn role_arn(raw: &RawRemote, check: &mut Check<'_>) -> Option<String> {
    let arn = check.word("role_arn", raw.role_arn.as_deref())?;
    if !arn.starts_with("arn:") {
        check.wrong("role_arn", "is not an ARN", "write arn:aws:iam::ACCOUNT:role/NAME");
    }
    Some(arn)
}

fn sts_endpoint(raw: &RawRemote, check: &mut Check<'_>) -> Option<String> {
    let given = raw.sts_endpoint.as_deref().or_else(|| check.environment.get(env::AWS_ENDPOINT_URL_STS));
    address("sts_endpoint", given, check)
}

/// What the AWS tools would look at. Any of it may be secret.
fn for_credentials(environment: &Environment) -> BTreeMap<String, Secret<String>> {
    let names = environment.names(env::AWS_PREFIX).chain([env::HOME]);
    let all = names.filter_map(|name| Some((name, environment.get(name)?)));
    all.map(|(name, value)| (name.to_string(), Secret::new(value.to_string()))).collect()
}

fn ca_file(raw: &RawRemote, check: &mut Check<'_>) -> Option<PathBuf> {
    if raw.ca_file.is_some() {
        return pem_file("ca_file", raw.ca_file.as_deref(), check);
    }
    let path = PathBuf::from(check.environment.get(env::AWS_CA_BUNDLE)?);
    if !path.is_file() {
        check.mistakes.add(env::AWS_CA_BUNDLE, unreadable(&path), "name a file of PEM certificates");
    }
    Some(path)
}

fn pem_file(key: &str, given: Option<&str>, check: &mut Check<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(given?);
    if !path.is_file() {
        check.wrong(key, unreadable(&path), "name a file of PEM certificates, or of a key");
    }
    Some(path)
}

fn unreadable(path: &Path) -> String {
    format!("({}) is not a readable file", path.display())
}

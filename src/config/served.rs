//! The options of types that are neither S3 nor a folder, checked by their table.

use super::check::{Check, read_secret, shown_path};
use super::mistakes::nearest;
use crate::contract::env;
use crate::contract::remotes::{Form, REMOTE_TYPES, RemoteOption, RemoteType};
use crate::seal::reveal;
use crate::secret::Secret;
use crate::store::{SecretFiles, ServedConfig};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What `rclone authorize` prints. No `Debug`: it is secret.
#[derive(Deserialize)]
struct RcloneToken {
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    refresh_token: String,
}

/// The names under which stores take what is in a token.
const TOKEN_PARTS: [&str; 2] = ["access_token", "refresh_token"];

/// Checks the options; what is wrong is noted in `check`. Container and prefix stay empty: they come with the remote path.
pub(super) fn read(kind: &'static RemoteType, check: &mut Check<'_>, shown: &mut Vec<(String, String)>) -> ServedConfig {
    let secrets = kind.options.iter().filter(|option| option.form.is_secret());
    check.secrets.extend(secrets.clone().filter_map(|option| check.options.value(option.name)).map(str::to_owned));
    check.no_secret_flags(&secrets.map(|option| option.name).collect::<Vec<_>>());
    unknown(kind, check);
    let mut options = BTreeMap::new();
    for option in kind.options {
        let found = value(option, check);
        let is_given = check.options.has(option.name) || check.options.has(&file_key(option));
        shown.push((format!("{}{}", env::REMOTE_PREFIX, option.name.to_uppercase()), described(option, found.as_ref(), check)));
        if option.is_needed && !is_given {
            let name = check.options.variable(option.name);
            let twin = if option.form.is_secret() { format!(", or {name}_FILE to a file that holds it") } else { String::new() };
            check.mistakes.add(name, format!("is needed for type {}", kind.name), format!("set it: {}{twin}", option.about));
        }
        if let (Form::Token, Some(token)) = (option.form, &found) {
            options.extend(token_of(option, token, check));
        }
        options.extend(found.map(|value| (option.name, value)));
    }
    let socket = check.environment.get(env::SSH_AUTH_SOCK);
    if let ("sftp", Some(socket)) = (kind.name, socket) {
        options.insert("agent_socket", Secret::new(socket.to_string()));
    }
    credentials(kind, &options, check);
    check.both_or_neither("client_cert_file", "client_key_file");
    if options.get("insecure").is_some_and(|value| value.expose() == "true") {
        check.warn_of_insecure();
    }
    let files = kind.options.iter().filter(|option| option.form.is_secret());
    let files = files.filter_map(|option| Some((option.name, PathBuf::from(check.options.value(&file_key(option))?))));
    let paths: BTreeMap<_, _> = files.collect();
    let secret_files = (!paths.is_empty()).then_some(SecretFiles { paths, read: read_again });
    let (container, prefix) = (String::new(), String::new());
    ServedConfig { kind, container, prefix, is_absolute: false, options, secret_files, bandwidth: None }
}

/// The options with what their files hold now.
fn read_again(config: &ServedConfig) -> Result<BTreeMap<&'static str, Secret<String>>, String> {
    let mut options = config.options.clone();
    for (name, path) in config.secret_files.iter().flat_map(|files| &files.paths) {
        let wrong = |problem: &str| format!("the file of {} {problem}", name.to_uppercase());
        let given = read_secret(path).map_err(|problem| wrong(&problem))?;
        let option = config.kind.options.iter().find(|option| option.name == *name);
        let value = match option.map(|option| option.form) {
            Some(Form::Password) => password(given),
            Some(Form::Token) => {
                let part = token_part(&given, options.contains_key("client_id")).map_err(|(problem, _)| wrong(problem))?;
                TOKEN_PARTS.iter().for_each(|other| drop(options.remove(other)));
                options.extend([part]);
                given
            }
            _ => given,
        };
        options.insert(name, value);
    }
    Ok(options)
}

fn file_key(option: &RemoteOption) -> String {
    format!("{}_file", option.name)
}

/// Options of this type, and their files; all others are mistakes, but for those that only steer rclone or are of another
/// type: often the type is what is wrong.
fn unknown(kind: &'static RemoteType, check: &mut Check<'_>) {
    let own = |key: &str| {
        let named = |option: &RemoteOption| option.name == key || (option.form.is_secret() && file_key(option) == key);
        env::REMOTE_COMMON.contains(&key) || kind.options.iter().any(named)
    };
    let of_others = |key: &str| REMOTE_TYPES.iter().any(|other| other.options.iter().any(|option| option.name == key));
    let (mut idle, mut elsewhere) = (Vec::new(), Vec::new());
    for key in check.options.keys().filter(|key| !own(key)) {
        let name = check.options.name(key);
        if env::REMOTE_IDLE.contains(&key) || env::REMOTE_IDLE_ELSEWHERE.contains(&key) {
            idle.push(name);
        } else if of_others(key) {
            elsewhere.push(name);
        } else {
            let names = || kind.options.iter().map(|option| option.name);
            let hint = match nearest(key, names()) {
                Some(meant) => format!("did you mean {}?", check.options.variable(meant)),
                None => format!("known: {}", names().collect::<Vec<_>>().join(", ").to_uppercase()),
            };
            check.mistakes.add(name, format!("is not a known option of type {}", kind.name), hint);
        }
    }
    if !idle.is_empty() {
        check.warnings.push(format!("options of rclone, without effect here: {}", idle.join(", ")));
    }
    if !elsewhere.is_empty() {
        check.warnings.push(format!("without effect on a remote of type {}: {}", kind.name, elsewhere.join(", ")));
    }
}

fn value(option: &RemoteOption, check: &mut Check<'_>) -> Option<Secret<String>> {
    let given = check.options.value(option.name).map(str::to_owned);
    if option.form.is_secret() {
        let file = check.options.value(&file_key(option)).map(str::to_owned);
        let secret = check.secret(option.name, given.as_deref(), file.as_deref())?;
        return Some(if option.form == Form::Password { password(secret) } else { secret });
    }
    let text = given?;
    let text = match option.form {
        Form::Flag => check.boolean(option.name, Some(&text), false).to_string(),
        Form::Url => url(option, &text, check)?,
        Form::Path => {
            if !Path::new(&text).is_file() {
                let shown = shown_path(Path::new(&text));
                check.wrong(option.name, format!("({shown}) is not a file"), "name a file that can be read");
            }
            text
        }
        _ if text.chars().any(char::is_control) => {
            check.wrong(option.name, "has control characters", "look for a line break too many");
            return None;
        }
        _ => text,
    };
    Some(Secret::new(text))
}

/// A password as rclone's configuration holds it, or in clear: what does not reveal a text that people type was never
/// obscured.
fn password(given: Secret<String>) -> Secret<String> {
    let revealed = reveal(&given).ok().and_then(|bytes| String::from_utf8(bytes.expose().clone()).ok());
    let typed = revealed.filter(|text| !text.is_empty() && !text.chars().any(char::is_control));
    typed.map_or(given, Secret::new)
}

/// The value is never shown: people write passwords into URLs.
fn url(option: &RemoteOption, given: &str, check: &mut Check<'_>) -> Option<String> {
    let rest = given.strip_prefix("http://").or_else(|| given.strip_prefix("https://"));
    let problem = match rest {
        None => "does not begin with http:// or https://",
        Some(rest) if rest.split('/').next().is_some_and(|host| host.contains('@')) => "holds a user name or password",
        Some(rest) if rest.contains(['?', '#']) => "goes on after the path",
        Some(rest) if rest.is_empty() || rest.starts_with('/') => "names no host",
        Some(rest) if !rest.chars().all(|letter| letter.is_ascii_graphic()) => "has spaces or characters outside ASCII",
        Some(_) => return Some(given.to_owned()),
    };
    check.wrong(option.name, problem, "write an address such as https://host/folder; user and password are options of their own");
    None
}

/// What is used of a token, by the name under which the store takes it; a warning where that ends.
fn token_of(option: &RemoteOption, token: &Secret<String>, check: &mut Check<'_>) -> Option<(&'static str, Secret<String>)> {
    match token_part(token, check.options.has("client_id")) {
        Ok(part) => {
            if part.0 == "access_token" && is_rclones(token) {
                let name = check.options.name(option.name);
                let hint = "is used until it expires; give client_id and client_secret of the application that it was made for";
                check.warnings.push(format!("{name} {hint}"));
            }
            Some(part)
        }
        Err((problem, hint)) => {
            check.wrong(option.name, problem, hint);
            None
        }
    }
}

/// rclone's token is JSON; anything else is taken for an access token. Beside a problem: what to do.
fn token_part(token: &Secret<String>, has_client: bool) -> Result<(&'static str, Secret<String>), (&'static str, &'static str)> {
    let [access, refresh] = TOKEN_PARTS;
    if !is_rclones(token) {
        return Ok((access, token.clone()));
    }
    let found = serde_json::from_str::<RcloneToken>(token.expose());
    let found = found.map_err(|_| ("is not a token as rclone prints it", "copy the whole of it, from { to }"))?;
    // A token that can be renewed outlives one that cannot; without the application's secret nobody can.
    match (has_client && !found.refresh_token.is_empty(), found.access_token.is_empty()) {
        (true, _) => Ok((refresh, Secret::new(found.refresh_token))),
        (false, false) => Ok((access, Secret::new(found.access_token))),
        (false, true) => Err(("holds no token", "copy the whole of what `rclone authorize` prints")),
    }
}

fn is_rclones(token: &Secret<String>) -> bool {
    token.expose().trim_start().starts_with('{')
}

/// What must be given together, or instead of each other.
fn credentials(kind: &RemoteType, options: &BTreeMap<&'static str, Secret<String>>, check: &mut Check<'_>) {
    let has = |name: &str| options.contains_key(name);
    let is_on = |name: &str| options.get(name).is_some_and(|value| value.expose() == "true");
    let is_no_port = options.get("port").is_some_and(|port| port.expose().parse::<u16>().is_err());
    match kind.name {
        "ftp" | "sftp" if is_no_port => {
            check.wrong("port", "is not a port's number", "write a number such as 21 or 22");
        }
        "ftp" if is_on("tls") && is_on("explicit_tls") => {
            check.wrong("tls", "excludes explicit_tls", "keep explicit_tls, unless the server encrypts from the first byte");
        }
        "sftp" if !["pass", "key_file", "key_pem", "agent_socket"].iter().any(|name| has(name)) => {
            let hint = "set REMOTE_KEY_FILE, REMOTE_KEY_PEM or REMOTE_PASS, or SSH_AUTH_SOCK of an agent";
            check.mistakes.add(check.options.variable("key_file"), "is missing: there are no credentials", hint);
        }
        "azureblob" if !(has("key") || has("sas_url") || is_on("env_auth")) => {
            let hint = "set REMOTE_ACCOUNT and REMOTE_KEY, or REMOTE_SAS_URL, or REMOTE_ENV_AUTH=true";
            check.mistakes.add(check.options.variable("key"), "is missing: there are no credentials", hint);
        }
        "swift" if !(has("auth") || (has("storage_url") && has("auth_token"))) => {
            let hint = "set REMOTE_AUTH to where to log in, or REMOTE_STORAGE_URL and REMOTE_AUTH_TOKEN";
            check.mistakes.add(check.options.variable("auth"), "is missing: there are no credentials", hint);
        }
        "swift" if has("auth") && !(has("key") || has("application_credential_secret")) => {
            let hint =
                "set REMOTE_USER and REMOTE_KEY, or REMOTE_APPLICATION_CREDENTIAL_ID and REMOTE_APPLICATION_CREDENTIAL_SECRET";
            check.mistakes.add(check.options.variable("key"), "is missing: there are no credentials", hint);
        }
        "azureblob" if !(has("account") || has("sas_url")) => {
            check.mistakes.add(check.options.variable("account"), "is needed for type azureblob", "set it to the account's name");
        }
        "google cloud storage" => {
            let given = ["service_account_file", "service_account_credentials", "access_token"].iter().any(|name| has(name));
            if !given && !is_on("env_auth") && !is_on("anonymous") {
                let hint = "set REMOTE_SERVICE_ACCOUNT_FILE, or REMOTE_ENV_AUTH=true, or REMOTE_ANONYMOUS=true";
                check.mistakes.add(check.options.variable("service_account_file"), "is missing: there are no credentials", hint);
            }
        }
        _ => {}
    }
}

fn described(option: &RemoteOption, found: Option<&Secret<String>>, check: &Check<'_>) -> String {
    match (found, option.form.is_secret()) {
        (None, _) => "<not set>".to_string(),
        (Some(_), true) => match check.options.value(&file_key(option)) {
            Some(path) => format!("from {path}"),
            None => "<set>".to_string(),
        },
        (Some(value), false) => value.expose().clone(),
    }
}

#[cfg(test)]
mod tests;

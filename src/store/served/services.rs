//! Which service of OpenDAL serves which type, and what is particular about it.

use super::super::StoreError;
use super::super::config::ServedConfig;
use super::super::http::Page;
use data_encoding::BASE64;
use opendal::{Operator, services};

/// What is particular about a service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    pub(super) page: Page,
    /// Everything below a folder is listed at once, sorted by path.
    pub(super) ordered: bool,
    /// A read is one request, and its answer is the object.
    pub(super) direct: bool,
    /// The server may keep half of a write that broke off: objects are written under a hidden name and moved.
    pub(super) moves: bool,
    /// Folders are pages of links.
    pub(super) index: bool,
    /// An object keeps the file's time as metadata, as rclone writes it there.
    pub(super) times: bool,
    /// An object of several parts is listed with the tag of its manifest, and itself has that of its parts, in quotes. The
    /// parts lie below [`super::segments::SEGMENTS`].
    pub(super) segments: bool,
}

const FOLDERS: Manner =
    Manner { page: Page::Other, ordered: false, direct: false, moves: false, index: false, times: false, segments: false };
const KEYS: Manner = Manner { ordered: true, direct: true, ..FOLDERS };

pub(super) fn manner(kind: &str) -> Manner {
    match kind {
        "azureblob" | "google cloud storage" => Manner { times: true, ..KEYS },
        "b2" => KEYS,
        "swift" => Manner { segments: true, ..KEYS },
        "webdav" => Manner { page: Page::Multistatus, direct: true, moves: true, ..FOLDERS },
        "http" => Manner { direct: true, index: true, ..FOLDERS },
        _ => FOLDERS,
    }
}

/// The address that is asked, for messages.
pub(super) fn address(config: &ServedConfig) -> String {
    let given = |name: &str| config.get(name).map(str::to_owned);
    match config.kind.name {
        "azureblob" => azure_endpoint(config).unwrap_or_default(),
        "google cloud storage" => given("endpoint").unwrap_or_else(|| "https://storage.googleapis.com".into()),
        "b2" => "https://api.backblazeb2.com".into(),
        "swift" => given("storage_url").or_else(|| given("auth")).unwrap_or_default(),
        "drive" => "https://www.googleapis.com".into(),
        "dropbox" => "https://api.dropboxapi.com".into(),
        "onedrive" => "https://graph.microsoft.com".into(),
        "pcloud" => format!("https://{}", config.get("hostname").unwrap_or("api.pcloud.com")),
        "koofr" => given("endpoint").unwrap_or_else(|| "https://app.koofr.net".into()),
        "yandex" => "https://cloud-api.yandex.net".into(),
        _ => given("url").unwrap_or_default().trim_end_matches('/').to_owned(),
    }
}

/// A builder with an option, where it is given.
macro_rules! with {
    ($builder:expr, $config:expr, $($method:ident = $name:literal),+ $(,)?) => {{
        let mut builder = $builder;
        $(if let Some(value) = $config.get($name) { builder = builder.$method(value); })+
        builder
    }};
}

/// The same for services that know tokens.
macro_rules! tokens {
    ($builder:expr, $config:expr) => {
        match $config.get("refresh_token") {
            Some(token) => {
                with!($builder.refresh_token(token), $config, client_id = "client_id", client_secret = "client_secret")
            }
            None => with!($builder, $config, access_token = "access_token"),
        }
    };
}

/// Makes no request.
pub(super) fn operator(config: &ServedConfig) -> Result<Operator, StoreError> {
    let (at, container) = (address(config), config.container.as_str());
    let made = match config.kind.name {
        "azureblob" => Operator::new(azblob(config)?),
        "google cloud storage" => Operator::new(gcs(config)),
        "b2" => {
            let builder = services::B2::default().bucket(container);
            Operator::new(with!(
                builder,
                config,
                bucket_id = "bucket_id",
                application_key_id = "account",
                application_key = "key"
            ))
        }
        "swift" => {
            Operator::new(with!(services::Swift::default().endpoint(&at).container(container), config, token = "auth_token"))
        }
        "webdav" => {
            let builder = services::Webdav::default().endpoint(&at);
            Operator::new(with!(builder, config, username = "user", password = "pass", token = "bearer_token"))
        }
        "http" => Operator::new(with!(services::Http::default().endpoint(&at), config, username = "user", password = "pass")),
        "drive" => Operator::new(tokens!(services::Gdrive::default(), config)),
        "dropbox" => Operator::new(tokens!(services::Dropbox::default(), config)),
        "onedrive" => Operator::new(tokens!(services::Onedrive::default(), config)),
        "pcloud" => {
            Operator::new(with!(services::Pcloud::default().endpoint(&at), config, username = "username", password = "password"))
        }
        "koofr" => Operator::new(with!(services::Koofr::default().endpoint(&at), config, email = "user", password = "password")),
        "yandex" => Operator::new(with!(services::YandexDisk::default(), config, access_token = "access_token")),
        "seafile" => {
            let builder = services::Seafile::default().endpoint(&at);
            Operator::new(with!(builder, config, username = "user", password = "pass", repo_name = "library"))
        }
        other => return Err(StoreError::usage(format!("remotes of type {other} are not served this way"), "use another type")),
    };
    // What OpenDAL says may quote a value.
    made.map_err(|_| {
        let message = format!("the options of the {} remote do not fit together", config.kind.name);
        StoreError::usage(message, "check the address, and that keys are whole")
    })
}

/// The blob service's address. A signed address brings its own.
fn azure_endpoint(config: &ServedConfig) -> Option<String> {
    let given = config.get("endpoint").map(|endpoint| endpoint.trim_end_matches('/').to_owned());
    let account = || config.get("account").map(|account| format!("https://{account}.blob.core.windows.net"));
    given.or_else(|| sas(config).map(|(endpoint, _)| endpoint)).or_else(account)
}

/// Address without the container, and the signature.
fn sas(config: &ServedConfig) -> Option<(String, String)> {
    let (address, signature) = config.get("sas_url")?.split_once('?')?;
    let address = address.trim_end_matches('/');
    let address = address.strip_suffix(&format!("/{}", config.container)).unwrap_or(address);
    Some((address.to_owned(), signature.to_owned()))
}

fn azblob(config: &ServedConfig) -> Result<services::Azblob, StoreError> {
    let missing = || StoreError::usage("the azureblob remote has no address", "give account, endpoint or sas_url");
    let endpoint = azure_endpoint(config).ok_or_else(missing)?;
    let mut builder = services::Azblob::default().container(&config.container).endpoint(&endpoint);
    if let Some((_, signature)) = sas(config) {
        builder = builder.sas_token(&signature);
    }
    Ok(with!(builder, config, account_name = "account", account_key = "key"))
}

fn gcs(config: &ServedConfig) -> services::Gcs {
    let builder = services::Gcs::default().bucket(&config.container);
    let mut builder = with!(builder, config, default_storage_class = "storage_class", predefined_acl = "object_acl");
    if let Some(endpoint) = config.get("endpoint") {
        builder = builder.endpoint(endpoint.trim_end_matches('/'));
    }
    if config.flag("anonymous") {
        return builder.skip_signature();
    }
    if !config.flag("env_auth") {
        // Nothing of the environment may replace what was given.
        builder = builder.disable_config_load().disable_vm_metadata();
    }
    if let Some(json) = config.get("service_account_credentials") {
        builder = builder.credential(&BASE64.encode(json.as_bytes()));
    }
    if let Some(file) = config.get("service_account_file") {
        builder = builder.credential_path(file);
    }
    match config.get("access_token") {
        Some(token) => builder.token(token.to_owned()),
        None => builder,
    }
}

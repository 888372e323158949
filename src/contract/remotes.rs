//! The types of remotes, under rclone's names: what each is given, and what it can do. `docs/remotes.md` is made from
//! these tables.

/// How the value of an option is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Text,
    /// `true` or `false`.
    Flag,
    /// An address with `http://` or `https://`.
    Url,
    /// The path of a file of this machine.
    Path,
    /// A secret; `<name>_file` names a file that holds it.
    Secret,
    /// A password, in clear or as `rclone obscure` prints it; `<name>_file` names a file that holds it.
    Password,
    /// The token that `rclone authorize` prints, or an access token; `<name>_file` names a file that holds it.
    Token,
}

impl Form {
    /// Whether the value is never shown and never comes by flag.
    pub const fn is_secret(self) -> bool {
        matches!(self, Form::Secret | Form::Password | Form::Token)
    }
}

/// One option of a type.
#[derive(Debug, Clone, Copy)]
pub struct RemoteOption {
    /// rclone's name, in lower case.
    pub name: &'static str,
    /// How it is written.
    pub form: Form,
    /// Whether nothing works without it.
    pub is_needed: bool,
    /// What it says, in one line.
    pub about: &'static str,
}

const fn option(name: &'static str, form: Form, about: &'static str) -> RemoteOption {
    RemoteOption { name, form, is_needed: false, about }
}

const fn needed(name: &'static str, form: Form, about: &'static str) -> RemoteOption {
    RemoteOption { name, form, is_needed: true, about }
}

/// What the first name of a remote path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// The bucket or container; it must exist.
    Container,
    /// A folder like all others; it is made when it is missing.
    Folder,
}

/// What keeps a second writer from a remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fences {
    /// Nothing is written through it.
    ReadOnly,
    /// This program creates each object at most once.
    Strict,
    /// The store has a conditional create, and a probe tells whether it keeps to it.
    Probed,
    /// A second writer is noticed afterwards, not refused: make sure that there is one only.
    Detect,
}

/// One type of remotes.
#[derive(Debug, Clone, Copy)]
pub struct RemoteType {
    /// rclone's name.
    pub name: &'static str,
    /// Further spellings.
    pub aliases: &'static [&'static str],
    /// What the remote path begins with.
    pub first: First,
    /// What it is given, besides `type` and `description`.
    pub options: &'static [RemoteOption],
    /// What keeps a second writer away.
    pub fences: Fences,
    /// How files of the plain layout are sent that do not fit into memory.
    pub large: &'static str,
    /// What it was tried with.
    pub tested: &'static str,
    /// What else a person should know; may be empty.
    pub note: &'static str,
}

const IN_PARTS: &str = "in parts";
const IN_ONE: &str = "in one piece, up to 256 MiB";
const CONTRACT: &str = "contract only";

const CA_FILE: RemoteOption = option("ca_file", Form::Path, "further certificate authorities, as PEM");
const CLIENT_CERT_FILE: RemoteOption =
    option("client_cert_file", Form::Path, "our certificate, as PEM, where the server asks for one");
const CLIENT_KEY_FILE: RemoteOption = option("client_key_file", Form::Path, "the key of that certificate, as PEM");
const INSECURE: RemoteOption = option("insecure", Form::Flag, "accept any certificate");
const CLIENT_ID: RemoteOption = option("client_id", Form::Text, "the application that the token was made for");
const CLIENT_SECRET: RemoteOption = option("client_secret", Form::Secret, "that application's secret");
const TOKEN: RemoteOption = needed("token", Form::Token, "the token: rclone's JSON, or an access token");

/// The types that are served. The options of `s3` and `local` have more to them and are checked on their own.
pub const REMOTE_TYPES: &[RemoteType] = &[
    RemoteType {
        name: "s3",
        aliases: &[],
        first: First::Container,
        options: &[
            option("provider", Form::Text, "sets defaults only: Minio, AWS, Ceph, Cloudflare, …"),
            option("endpoint", Form::Url, "the store's address; AWS when absent"),
            option("region", Form::Text, "the region requests are signed for"),
            option("access_key_id", Form::Secret, "the access key"),
            option("secret_access_key", Form::Secret, "the secret key"),
            option("session_token", Form::Secret, "the token of temporary keys"),
            option("env_auth", Form::Flag, "credentials from the environment"),
            option("force_path_style", Form::Flag, "the bucket in the path instead of the host name"),
            option("storage_class", Form::Text, "the storage class of new objects"),
            option("server_side_encryption", Form::Text, "AES256 or aws:kms"),
            option("sse_kms_key_id", Form::Text, "the key of that encryption"),
            option("role_arn", Form::Text, "a role to assume"),
            option("sts_endpoint", Form::Url, "the token service that gives sessions, such as MinIO itself; AWS when absent"),
            option("acl", Form::Text, "private is the only one"),
            CA_FILE,
            CLIENT_CERT_FILE,
            CLIENT_KEY_FILE,
            INSECURE,
        ],
        fences: Fences::Probed,
        large: IN_PARTS,
        tested: "MinIO, and an in-process store with faults",
        note: "Also Wasabi, Ceph, R2, Storj, IDrive and whatever else speaks S3.",
    },
    RemoteType {
        name: "local",
        aliases: &[],
        first: First::Folder,
        options: &[option("root", Form::Path, "the folder below which relative remote paths lie")],
        fences: Fences::Strict,
        large: "streamed",
        tested: "a folder",
        note: "",
    },
    RemoteType {
        name: "memory",
        aliases: &[],
        first: First::Folder,
        options: &[],
        fences: Fences::Strict,
        large: "held in memory, up to 256 MiB",
        tested: "itself",
        note: "For tests: it ends with the process.",
    },
    RemoteType {
        name: "azureblob",
        aliases: &[],
        first: First::Container,
        options: &[
            option("account", Form::Text, "the storage account"),
            option("key", Form::Secret, "the account's key"),
            option("sas_url", Form::Secret, "the address of the account or container with its signature, instead of a key"),
            option("endpoint", Form::Url, "the blob service's address; of the account at Azure when absent"),
            option("env_auth", Form::Flag, "credentials from the environment: workload or managed identity"),
            CA_FILE,
            CLIENT_CERT_FILE,
            CLIENT_KEY_FILE,
            INSECURE,
        ],
        fences: Fences::Probed,
        large: IN_PARTS,
        tested: "Azurite",
        note: "",
    },
    RemoteType {
        name: "google cloud storage",
        aliases: &["gcs"],
        first: First::Container,
        options: &[
            option("service_account_file", Form::Path, "the JSON file of a service account or of an external account"),
            option("service_account_credentials", Form::Secret, "the content of such a file"),
            option("env_auth", Form::Flag, "credentials from the environment: workload identity, metadata"),
            option("anonymous", Form::Flag, "no credentials at all"),
            option("access_token", Form::Secret, "an access token"),
            option("endpoint", Form::Url, "another address than Google's"),
            option("storage_class", Form::Text, "the storage class of new objects"),
            option("object_acl", Form::Text, "the predefined access list of new objects"),
            CA_FILE,
            CLIENT_CERT_FILE,
            CLIENT_KEY_FILE,
            INSECURE,
        ],
        fences: Fences::Probed,
        large: IN_PARTS,
        tested: "fake-gcs-server, without uploads in parts",
        note: "The file may be that of an external account (workload identity); its credential source must say its `format`.",
    },
    RemoteType {
        name: "b2",
        aliases: &[],
        first: First::Container,
        options: &[
            needed("account", Form::Text, "the id of the application key"),
            needed("key", Form::Secret, "the application key"),
            needed("bucket_id", Form::Text, "the bucket's id; rclone looks it up"),
            CA_FILE,
        ],
        fences: Fences::Detect,
        large: IN_PARTS,
        tested: CONTRACT,
        note: "B2 also speaks S3, which is preferable: `s3` with its S3 endpoint.",
    },
    RemoteType {
        name: "swift",
        aliases: &[],
        first: First::Container,
        options: &[
            option("auth", Form::Url, "where to log in, such as https://host:5000/v3 (Keystone 3 or 2, or Swift's own v1)"),
            option("user", Form::Text, "the user"),
            option("user_id", Form::Text, "the user's id instead"),
            option("key", Form::Secret, "the user's password or key"),
            option("domain", Form::Text, "the user's domain; Default when absent"),
            option("tenant", Form::Text, "the project"),
            option("tenant_id", Form::Text, "the project's id instead"),
            option("tenant_domain", Form::Text, "the project's domain; the user's when absent"),
            option("region", Form::Text, "the region whose store is meant, where there are several"),
            option("endpoint_type", Form::Text, "public, internal or admin"),
            option("auth_version", Form::Text, "1, 2 or 3; read from `auth` when absent"),
            option("application_credential_id", Form::Text, "an application credential, instead of user and key"),
            option("application_credential_name", Form::Text, "its name instead, with the user"),
            option("application_credential_secret", Form::Secret, "its secret"),
            option(
                "storage_url",
                Form::Url,
                "the account's address, such as https://host/v1/AUTH_project, if not the one of the log-in",
            ),
            option("auth_token", Form::Secret, "a token instead of a log-in, with `storage_url`; it is not renewed"),
            CA_FILE,
            CLIENT_CERT_FILE,
            CLIENT_KEY_FILE,
            INSECURE,
        ],
        fences: Fences::Detect,
        large: IN_PARTS,
        tested: CONTRACT,
        note: "Tokens are renewed before they end, and when the store refuses one that it took before. Most Swift stores also speak S3.",
    },
    RemoteType {
        name: "webdav",
        aliases: &[],
        first: First::Folder,
        options: &[
            needed("url", Form::Url, "the folder of the server below which remote paths lie"),
            option("user", Form::Text, "the user"),
            option("pass", Form::Password, "the user's password"),
            option("bearer_token", Form::Secret, "a token instead of user and password"),
            option("vendor", Form::Text, "read and not needed"),
            CA_FILE,
            CLIENT_CERT_FILE,
            CLIENT_KEY_FILE,
            INSECURE,
        ],
        fences: Fences::Detect,
        large: IN_ONE,
        tested: "WsgiDAV and rclone serve webdav",
        note: "An object is sent under a hidden name and then moved to its place: that is six requests for each.",
    },
    RemoteType {
        name: "ftp",
        aliases: &[],
        first: First::Folder,
        options: &[
            needed("host", Form::Text, "the server, as HOST or HOST:PORT"),
            option("port", Form::Text, "the port, if not 21 and not given with the host"),
            option("user", Form::Text, "the user; anonymous when absent"),
            option("pass", Form::Password, "the user's password"),
            option("explicit_tls", Form::Flag, "encrypt after AUTH TLS"),
            option("tls", Form::Flag, "encrypt from the first byte; such servers mostly have port 990"),
            CA_FILE,
        ],
        fences: Fences::Detect,
        large: IN_ONE,
        tested: "pyftpdlib, without TLS and with both kinds",
        note: "Paths lie below the folder in which a log-in ends. Without TLS everybody on the way reads the password.",
    },
    RemoteType {
        name: "sftp",
        aliases: &[],
        first: First::Folder,
        options: &[
            needed("host", Form::Text, "the server, as HOST or HOST:PORT"),
            option("port", Form::Text, "the port, if not 22 and not given with the host"),
            needed("user", Form::Text, "the user"),
            option("known_hosts_file", Form::Path, "the keys that servers may show, as ssh-keyscan writes them"),
            option("key_file", Form::Path, "the user's private key"),
            option("key_pem", Form::Secret, "its text instead; `\\n` may stand for a line break"),
            option("key_file_pass", Form::Password, "the passphrase of that key"),
            option("pubkey_file", Form::Path, "the certificate of that key"),
            option("pubkey", Form::Text, "its text instead"),
            option("pass", Form::Password, "the user's password, also where the server asks for it in its own words"),
            option(
                "key_use_agent",
                Form::Flag,
                "ask the agent at SSH_AUTH_SOCK, also beside a key or password; with `key_file` for that key only",
            ),
            option("subsystem", Form::Text, "the server's name for its file service, if not sftp"),
        ],
        fences: Fences::Probed,
        large: "streamed",
        tested: "OpenSSH and rclone serve sftp",
        note: "A path that begins with `/` begins at the server's root, others in the folder in which a log-in ends. A server is \
               logged in to only if its key, or the authority of its certificate (`@cert-authority`), is in \
               `known_hosts_file`; otherwise the message shows the key and the line that is missing. A second writer is refused where the server knows hard links (`hardlink@openssh.com`, as OpenSSH does) \
               on a file system that has them, and only detected elsewhere. The modification times of plain files are kept to \
               the second.",
    },
    RemoteType {
        name: "http",
        aliases: &[],
        first: First::Folder,
        options: &[
            needed("url", Form::Url, "the address below which remote paths lie"),
            option("user", Form::Text, "the user"),
            option("pass", Form::Password, "the user's password"),
            CA_FILE,
            CLIENT_CERT_FILE,
            CLIENT_KEY_FILE,
            INSECURE,
        ],
        fences: Fences::ReadOnly,
        large: "streamed",
        tested: "Python's http.server",
        note: "For restoring only. Folders are read from the server's index pages; plain files come with the times that the server shows.",
    },
    RemoteType {
        name: "drive",
        aliases: &[],
        first: First::Folder,
        options: &[TOKEN, CLIENT_ID, CLIENT_SECRET],
        fences: Fences::Detect,
        large: IN_ONE,
        tested: CONTRACT,
        note: "My Drive only: no shared drives and no service accounts.",
    },
    RemoteType {
        name: "dropbox",
        aliases: &[],
        first: First::Folder,
        options: &[TOKEN, CLIENT_ID, CLIENT_SECRET],
        fences: Fences::Detect,
        large: "in one piece, up to 150 MiB",
        tested: CONTRACT,
        note: "",
    },
    RemoteType {
        name: "onedrive",
        aliases: &[],
        first: First::Folder,
        options: &[TOKEN, CLIENT_ID, CLIENT_SECRET],
        fences: Fences::Detect,
        large: IN_ONE,
        tested: CONTRACT,
        note: "The account's own drive only.",
    },
    RemoteType {
        name: "pcloud",
        aliases: &[],
        first: First::Folder,
        options: &[
            needed("username", Form::Text, "the user"),
            needed("password", Form::Password, "the user's password"),
            option("hostname", Form::Text, "api.pcloud.com, or eapi.pcloud.com for accounts in Europe"),
        ],
        fences: Fences::Detect,
        large: IN_ONE,
        tested: CONTRACT,
        note: "rclone's token is not served.",
    },
    RemoteType {
        name: "koofr",
        aliases: &[],
        first: First::Folder,
        options: &[
            needed("user", Form::Text, "the user's mail address"),
            needed("password", Form::Password, "a password for applications"),
            option("endpoint", Form::Url, "another address than https://app.koofr.net"),
        ],
        fences: Fences::Detect,
        large: IN_ONE,
        tested: CONTRACT,
        note: "",
    },
    RemoteType {
        name: "yandex",
        aliases: &[],
        first: First::Folder,
        options: &[TOKEN],
        fences: Fences::Detect,
        large: IN_ONE,
        tested: CONTRACT,
        note: "The token is not renewed.",
    },
    RemoteType {
        name: "seafile",
        aliases: &[],
        first: First::Folder,
        options: &[
            needed("url", Form::Url, "the server's address"),
            needed("user", Form::Text, "the user's mail address"),
            needed("pass", Form::Password, "the user's password"),
            needed("library", Form::Text, "the library; encrypted ones are not served"),
            CA_FILE,
            CLIENT_CERT_FILE,
            CLIENT_KEY_FILE,
            INSECURE,
        ],
        fences: Fences::Detect,
        large: IN_ONE,
        tested: CONTRACT,
        note: "",
    },
];

/// What all types take.
pub const COMMON_OPTIONS: &[&str] = &["type", "description"];

/// rclone's types that are not served, and what to do instead.
pub const REMOTE_TYPES_UNSERVED: &[(&str, &str)] = &[
    ("azurefiles", "use azureblob, or mount the share and use local"),
    ("box", "use webdav: Box serves it for some plans"),
    ("fichier", "mount it with rclone and use local"),
    ("filefabric", "use its S3 or WebDAV gateway"),
    (
        "hdfs",
        "use the cluster's S3 gateway (Ozone), or mount it with rclone and use local: the client in Rust takes Kerberos, \
         by which clusters know their users, from a library that a static binary cannot load",
    ),
    ("hidrive", "use webdav with https://webdav.hidrive.strato.com"),
    ("iclouddrive", "mount it with rclone and use local"),
    ("internetarchive", "use s3 with https://s3.us.archive.org"),
    ("jottacloud", "mount it with rclone and use local"),
    ("mailru", "use webdav with https://webdav.cloud.mail.ru"),
    ("mega", "use s3 with Mega's S4 storage, or mount it with rclone and use local"),
    ("netstorage", "mount it with rclone and use local"),
    ("opendrive", "use webdav with https://webdav.opendrive.com"),
    ("oracleobjectstorage", "use s3 with Oracle's S3 endpoint"),
    ("pikpak", "mount it with rclone and use local"),
    ("premiumizeme", "use webdav with https://webdav.premiumize.me"),
    ("protondrive", "mount it with rclone and use local"),
    ("putio", "mount it with rclone and use local"),
    ("qingstor", "use s3 with its S3 endpoint"),
    ("quatrix", "mount it with rclone and use local"),
    ("sharefile", "mount it with rclone and use local"),
    ("sia", "use s3 with renterd's S3 gateway"),
    ("smb", "mount the share and use local"),
    ("storj", "use s3 with https://gateway.storjshare.io"),
    ("sugarsync", "mount it with rclone and use local"),
    ("uptobox", "mount it with rclone and use local"),
    ("zoho", "mount it with rclone and use local"),
];

/// The type of a name or alias in lower case.
pub fn remote_type(name: &str) -> Option<&'static RemoteType> {
    REMOTE_TYPES.iter().find(|kind| kind.name == name || kind.aliases.contains(&name))
}

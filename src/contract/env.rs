//! Environment variables and the option keys behind their prefixes.
//!
//! `REMOTE_ACCESS_KEY_ID=…` and `-p access_key_id=…` are two spellings of one option, in rclone's vocabulary; keys
//! here are in lower case.

/// Options of the remote.
pub const REMOTE_PREFIX: &str = "REMOTE_";
/// Options of the encryption.
pub const ENCRYPTED_PREFIX: &str = "ENCRYPTED_";
/// The section of an rclone configuration that stands for the options of the remote.
pub const SECTION_REMOTE: &str = "remote";
/// The section that stands for those of the encryption.
pub const SECTION_ENCRYPTED: &str = "remote_encrypted";
/// Where the rclone configuration lies that `--no-template` reads.
pub const CONFIG_PATH: &str = "CONFIG_PATH";
/// Variables that are meant for rclone itself.
pub const RCLONE_PREFIX: &str = "RCLONE_";
/// rclone's own configuration file.
pub const RCLONE_CONFIG: &str = "RCLONE_CONFIG";
/// The folder in which rclone keeps it.
pub const RCLONE_CONFIG_DIR: &str = "RCLONE_CONFIG_DIR";
/// The password that rclone opens it with.
pub const RCLONE_CONFIG_PASS: &str = "RCLONE_CONFIG_PASS";
/// The secret of a slot that `key add` writes.
pub const NEW_ENCRYPTED_PREFIX: &str = "NEW_ENCRYPTED_";
/// Where this program remembers between two runs.
pub const STATE_DIR: &str = "STATE_DIR";
/// Where the control socket of a sidecar lies.
pub const VSC_SOCKET: &str = "VSC_SOCKET";
/// The heartbeat: `HEARTBEAT_URL`, `HEARTBEAT_URL_FILE`.
pub const HEARTBEAT_PREFIX: &str = "HEARTBEAT_";
/// Called before a push.
pub const BEFORE_PUSH: &str = "BEFORE_PUSH";
/// Called after a push.
pub const AFTER_PUSH: &str = "AFTER_PUSH";
/// How long each of the two may take.
pub const HOOK_TIMEOUT: &str = "HOOK_TIMEOUT";
/// The Pod's grace period, which only the Pod's author knows.
pub const VSC_TERMINATION_GRACE_SECONDS: &str = "VSC_TERMINATION_GRACE_SECONDS";
/// Where probes and Prometheus are answered.
pub const VSC_HEALTH_ADDR: &str = "VSC_HEALTH_ADDR";
/// The Pod's name, as the kubelet tells it.
pub const POD_NAME: &str = "POD_NAME";
/// The PodFilesystemSync to which the Pod belongs.
pub const VSC_SYNC: &str = "VSC_SYNC";
/// Where the controller listens for reports.
pub const VSC_PROGRESS_URL: &str = "VSC_PROGRESS_URL";
/// Whose word is taken for who the controller is: certificates in PEM, all of it in base64.
pub const VSC_PROGRESS_CA: &str = "VSC_PROGRESS_CA";
/// The token that says which Pod a report is from.
pub const VSC_PROGRESS_TOKEN_FILE: &str = "VSC_PROGRESS_TOKEN_FILE";
/// Log lines as JSON.
pub const LOG_JSON: &str = "LOG_JSON";
/// The least level that is logged.
pub const LOG_LEVEL: &str = "LOG_LEVEL";
/// The data directory of the desktop convention: the parent of the embedded remote.
pub const XDG_DATA_HOME: &str = "XDG_DATA_HOME";
/// The home directory.
pub const HOME: &str = "HOME";
/// Where an agent that keeps keys for ssh listens.
pub const SSH_AUTH_SOCK: &str = "SSH_AUTH_SOCK";
/// The AWS tools' name for a file of trusted certificates.
pub const AWS_CA_BUNDLE: &str = "AWS_CA_BUNDLE";
/// The AWS tools' names for the region, in their order; set by workload identity.
pub const AWS_REGIONS: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
/// What the AWS tools' variables begin with: credentials are among them.
pub const AWS_PREFIX: &str = "AWS_";
/// Those that are credentials themselves.
pub const AWS_CREDENTIALS: [&str; 4] =
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"];
/// The AWS tools' name for the address of the token service.
pub const AWS_ENDPOINT_URL_STS: &str = "AWS_ENDPOINT_URL_STS";
/// The AWS tools' switch against instance metadata.
pub const AWS_EC2_METADATA_DISABLED: &str = "AWS_EC2_METADATA_DISABLED";

/// Options of every remote.
pub const REMOTE_COMMON: &[&str] = &["type", "description"];
/// Options of `type=s3` that have an effect.
pub const REMOTE_S3: &[&str] = &[
    "provider",
    "endpoint",
    "region",
    "access_key_id",
    "access_key_id_file",
    "secret_access_key",
    "secret_access_key_file",
    "session_token",
    "session_token_file",
    "env_auth",
    "force_path_style",
    "acl",
    "storage_class",
    "server_side_encryption",
    "sse_kms_key_id",
    "role_arn",
    "sts_endpoint",
    "ca_file",
    "client_cert_file",
    "client_key_file",
    "insecure",
];
/// Options of `type=local` that have an effect.
pub const REMOTE_LOCAL: &[&str] = &["root"];
/// rclone's options that change how rclone works and mean nothing here; accepted with a warning.
pub const REMOTE_IDLE: &[&str] = &[
    "bucket_acl",
    "case_insensitive",
    "case_sensitive",
    "chunk_size",
    "copy_cutoff",
    "copy_links",
    "decompress",
    "directory_markers",
    "disable_checksum",
    "disable_http2",
    "download_url",
    "encoding",
    "leave_parts_on_error",
    "links",
    "list_chunk",
    "list_url_encode",
    "list_version",
    "location_constraint",
    "max_upload_parts",
    "memory_pool_flush_time",
    "memory_pool_use_mmap",
    "might_gzip",
    "no_check_bucket",
    "no_check_updated",
    "no_clone",
    "no_head",
    "no_head_object",
    "no_preallocate",
    "no_set_modtime",
    "no_sparse",
    "no_system_metadata",
    "nounc",
    "one_file_system",
    "role_session_duration",
    "role_session_name",
    "sdk_log_mode",
    "sign_accept_encoding",
    "skip_links",
    "time_type",
    "unicode_normalization",
    "upload_concurrency",
    "upload_cutoff",
    "use_accept_encoding_gzip",
    "use_already_exists",
    "use_arn_region",
    "use_data_integrity_protections",
    "use_multipart_etag",
    "use_multipart_uploads",
    "use_presigned_request",
    "use_unsigned_payload",
    "use_x_id",
    "zero_size_links",
];
/// The same for types other than S3.
pub const REMOTE_IDLE_ELSEWHERE: &[&str] = &[
    "access_tier",
    "acknowledge_abuse",
    "allow_import_name_change",
    "archive_tier_delete",
    "ask_password",
    "auth_url",
    "auto_confirm",
    "batch_mode",
    "batch_size",
    "batch_timeout",
    "blake3sum_command",
    "bucket_policy_only",
    "ciphers",
    "concurrency",
    "connections",
    "copy_is_hardlink",
    "crc32sum_command",
    "create_library",
    "delete_snapshots",
    "disable_concurrent_reads",
    "disable_concurrent_writes",
    "disable_hashcheck",
    "drive_id",
    "drive_type",
    "expose_onenote_notebooks",
    "fetch_until_empty_page",
    "hard_delete",
    "hashes",
    "host_key_algorithms",
    "idle_timeout",
    "key_exchange",
    "location",
    "macs",
    "md5sum_command",
    "mountid",
    "nextcloud_chunk_size",
    "no_chunk",
    "no_large_objects",
    "no_slash",
    "owncloud_exclude_mounts",
    "owncloud_exclude_shares",
    "pacer_burst",
    "pacer_min_sleep",
    "partial_page_fetch_threshold",
    "path_override",
    "project_number",
    "scope",
    "set_modtime",
    "setmtime",
    "sha1sum_command",
    "sha256sum_command",
    "shell_type",
    "size_as_quota",
    "skip_gdocs",
    "skip_shortcuts",
    "token_url",
    "use_fstat",
    "use_insecure_cipher",
    "use_segments_container",
    "use_trash",
    "xxh128sum_command",
    "xxh3sum_command",
];
/// rclone's options that would change where or as whom we store, and that are not served: an error when given.
pub const REMOTE_UNSERVED: &[&str] = &[
    "directory_bucket",
    "ibm_api_key",
    "ibm_resource_instance_id",
    "profile",
    "requester_pays",
    "role_external_id",
    "shared_credentials_file",
    "sse_customer_algorithm",
    "sse_customer_key",
    "sse_customer_key_base64",
    "sse_customer_key_md5",
    "use_accelerate_endpoint",
    "use_dual_stack",
    "v2_auth",
    "version_at",
    "version_deleted",
    "versions",
];
/// Options of `type=s3` whose value never comes by flag, where a process list would show it.
pub const REMOTE_SECRETS: &[&str] = &["secret_access_key", "session_token"];

/// Values of `provider` that rclone knows.
pub const PROVIDERS: &[&str] = &[
    "AWS",
    "Alibaba",
    "ArvanCloud",
    "BackBlaze",
    "Ceph",
    "ChinaMobile",
    "Cloudflare",
    "DigitalOcean",
    "Dreamhost",
    "Exaba",
    "FlashBlade",
    "GCS",
    "Hetzner",
    "HuaweiOBS",
    "IBMCOS",
    "IDrive",
    "IONOS",
    "LyveCloud",
    "Leviia",
    "Liara",
    "Linode",
    "Magalu",
    "Mega",
    "Minio",
    "Netease",
    "OVHcloud",
    "Outscale",
    "Petabox",
    "Qiniu",
    "Rabata",
    "RackCorp",
    "Rclone",
    "Scaleway",
    "SeaweedFS",
    "Selectel",
    "StackPath",
    "Storj",
    "Synology",
    "TencentCOS",
    "Wasabi",
    "Zata",
    "Other",
];

/// Options of the encryption that have an effect.
pub const ENCRYPTED: &[&str] = &["password", "password_file", "remote"];
/// Options of rclone crypt: accepted with a warning, without effect on a vault.
pub const ENCRYPTED_IDLE: &[&str] = &[
    "description",
    "directory_name_encryption",
    "filename_encoding",
    "filename_encryption",
    "no_data_encryption",
    "pass_bad_blocks",
    "password2",
    "password2_file",
    "server_side_across_configs",
    "show_mapping",
    "strict_names",
    "suffix",
    "type",
];

/// Options of the encryption that have an effect on reading what rclone crypt wrote.
pub const RCLONE_CRYPT: &[&str] = &[
    "directory_name_encryption",
    "filename_encoding",
    "filename_encryption",
    "no_data_encryption",
    "password",
    "password_file",
    "password2",
    "password2_file",
    "remote",
    "suffix",
    "type",
];
/// Options of rclone crypt that mean nothing to a reader; accepted with a warning.
pub const RCLONE_CRYPT_IDLE: &[&str] =
    &["description", "pass_bad_blocks", "server_side_across_configs", "show_mapping", "strict_names"];
/// Options of rclone crypt whose value never comes by flag.
pub const RCLONE_CRYPT_SECRETS: &[&str] = &["password", "password2"];

//! `key export-kit`: all that is needed to restore without the cluster, on paper or in a safe.

use super::Verdict;
use super::args::Place;
use super::frame::{Frame, Target};
use super::key::hand_over;
use crate::contract::remotes::REMOTE_TYPES;
use crate::runtime::clock;
use crate::seal::{RawKey, Unlocker};
use crate::store::RemoteConfig;
use crate::telemetry::moment;
use crate::tree::Shown;
use crate::vault::open::Vault;
use crate::vault::slot::{SlotFile, add_slot, list_slots};
use data_encoding::HEXLOWER;
use std::fmt::Write;

/// The label of a kit's slot.
const LABEL: &str = "recovery kit";

/// Adds a new key to the vault and prints it with everything else that a restore needs.
pub async fn export(args: &Place, frame: &Frame) -> Verdict {
    let target = frame.target(&args.access, &args.dst)?;
    let vault = frame.vault_only(&target).await?;
    // Before there is a new slot: what fails here leaves none.
    let slots = list_slots(&vault, &frame.stop).await?;
    let key = RawKey::generate();
    let (slot, _) = add_slot(&vault, &Unlocker::Raw(key.clone()), LABEL, &frame.stop).await?;
    let text = Kit { target: &target, vault: &vault, key: &key, slot: &slot, others: &slots }.text();
    hand_over(&text, &slot, &vault, &frame.stop).await?;
    tracing::warn!("the kit holds a key: keep it apart from the bucket and from this machine, like the data itself");
    Ok(0)
}

/// What a kit is made of.
struct Kit<'a> {
    target: &'a Target,
    vault: &'a Vault,
    key: &'a RawKey,
    slot: &'a SlotFile,
    others: &'a [SlotFile],
}

impl Kit<'_> {
    fn text(&self) -> String {
        let settings = self.settings();
        let path = quoted(&self.path());
        let exports: String = settings.iter().fold(String::new(), |mut text, (name, value)| {
            // Writing to memory cannot fail.
            let _ = writeln!(text, "  export {name}={value}");
            text
        });
        let passed: Vec<String> = settings.iter().map(|(name, _)| format!("-e {name}")).collect();
        let mount = match &self.target.config {
            RemoteConfig::Local { folder, .. } => format!(" -v {0}:{0}:ro", quoted(&folder.display().to_string())),
            _ => String::new(),
        };
        let slots: String = self.others.iter().chain([self.slot]).fold(String::new(), |mut text, slot| {
            let label = Shown(slot.json.label.as_bytes()).to_string();
            let _ = writeln!(text, "  {}  {:<8}  {label}", slot.name, Shown(slot.json.r#type.as_bytes()).to_string());
            text
        });
        format!(
            "RECOVERY KIT for a vault of volume-syncing-controller

THIS PAGE IS SECRET. Whoever has it, and may read the remote, can read all data in the vault.
Keep it apart from the remote and from the machines that use it. If it gets lost or known, take its key away:
  volume-syncing-controller key remove {slot} -d {path}

WHAT IT OPENS
  remote:    {place}
  path:      {path}
  vault id:  {id}
  made:      {now}, by version {version}
  slots that open the vault:
{slots}  The key below is that of slot {slot}.

THE KEY
  {key}

1. RESTORE WITH THE PROGRAM
  Credentials of the remote are not in this kit: get them from whoever runs it. Where a value is empty, fill it in.

{exports}  export ENCRYPTED_PASSWORD={key}
  volume-syncing-controller snapshots -s {path}
  volume-syncing-controller remote-to-local-sync -s {path} -d ./restored
  An earlier state: add --at with an ID of `snapshots`, or with a time such as 2026-11-20T18:00:00Z.

2. RESTORE WITH A CONTAINER, after the exports of 1 (`make image` in the sources builds it)
  mkdir -p restored && docker run --rm --user \"$(id -u):$(id -g)\" -v \"$PWD/restored:/mnt/data\"{mount} \\
    {passed} -e ENCRYPTED_PASSWORD \\
    volume-syncing-controller:dev remote-to-local-sync -s {path} -d /mnt/data

3. RESTORE WITHOUT THE PROGRAM, with Python 3.11 or later
  Copy the vault to a folder with any tool, for instance: mc mirror store/{plain} ./vault
  (`vault.json` lies at the top of that folder). From the program's sources take tests/format, then:
  pip install blake3 cryptography zstandard argon2-cffi
  ENCRYPTED_PASSWORD={key} python3 tests/format/read_vault.py ./vault ./restored
  The format itself is described in src/vault/FORMAT.md.

Try this page now, on another machine: a kit that was never tried is a hope.
",
            slot = self.slot.name,
            place = self.vault.bucket.describe(),
            id = HEXLOWER.encode(&self.vault.id),
            now = moment(clock::wall_ms()),
            version = env!("CARGO_PKG_VERSION"),
            key = self.key.to_text().expose(),
            passed = passed.join(" "),
            plain = self.path().trim_start_matches('/'),
        )
    }

    /// The remote path as it is found elsewhere: the embedded remote's default is written out.
    fn path(&self) -> String {
        match &self.target.config {
            RemoteConfig::S3(config) if config.prefix.is_empty() => config.bucket.clone(),
            RemoteConfig::S3(config) => format!("{}/{}", config.bucket, config.prefix),
            RemoteConfig::Served(config) => {
                let names = [config.container.as_str(), config.prefix.as_str()];
                names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join("/")
            }
            RemoteConfig::Local { folder, path } if path.is_empty() => folder.display().to_string(),
            RemoteConfig::Local { path, .. } => path.clone(),
            RemoteConfig::Memory { name } => name.clone(),
        }
    }

    /// `REMOTE_*` without secrets: what was not set is left out, and secrets are left to be filled in.
    fn settings(&self) -> Vec<(String, String)> {
        let options = || REMOTE_TYPES.iter().flat_map(|kind| kind.options);
        let is_secret = |name: &str| options().any(|option| option.form.is_secret() && option.name.to_uppercase() == name);
        let mut settings = Vec::new();
        for (name, value) in self.target.options.describe() {
            let secret = is_secret(name.trim_start_matches("REMOTE_"));
            match value.as_str() {
                "<not set>" => {}
                // Off is the default of these; of the others it need not be.
                "false" if name == "REMOTE_ENV_AUTH" || name == "REMOTE_INSECURE" => {}
                _ if secret => settings.push((name, String::new())),
                value if value.starts_with('<') => {}
                // The type is followed by the reason for it.
                value if name == "REMOTE_TYPE" => {
                    let kind = value.split(" (").next().unwrap_or(value);
                    settings.push((name, quoted(kind)));
                }
                value => settings.push((name, quoted(value))),
            }
        }
        settings
    }
}

/// A word as a shell takes it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_string() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_survive_a_shell() {
        for (word, text) in [("a/b.c", "a/b.c"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''"), ("$x", "'$x'")] {
            assert_eq!(quoted(word), text);
        }
    }
}

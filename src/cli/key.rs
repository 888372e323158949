//! `key`: the slots that open a vault.

use super::Verdict;
use super::args::{KeyAdd, KeyList, KeyRemove};
use super::frame::{Frame, both, unlocker};
use super::out::stdout;
use crate::config::read_new_key;
use crate::contract::env;
use crate::fault::{Kind, Report};
use crate::runtime::Stop;
use crate::seal::{RawKey, Unlocker};
use crate::tree::Shown;
use crate::vault::error::VaultError;
use crate::vault::open::{Vault, slot_names};
use crate::vault::slot::{SlotFile, add_slot, read_slot, remove_slot};
use serde::Serialize;

/// Prints a new key and nothing else, so that its output can be a file.
pub fn generate() -> Verdict {
    let mut out = stdout();
    out.line(RawKey::generate().to_text().expose())?;
    out.finish()?;
    Ok(0)
}

/// Lets a further key open the vault.
pub async fn add(args: &KeyAdd, frame: &Frame) -> Verdict {
    let given = read_new_key(&frame.environment).and_then(|new| {
        let prefix = env::NEW_ENCRYPTED_PREFIX;
        new.secret.map(|source| unlocker(&source.read()?, prefix)).transpose()
    });
    let (target, given) = both(frame.target(&args.place.access, &args.place.dst), given)?;
    let made = args.generate.then(RawKey::generate);
    let new = match (given, &made) {
        (Some(given), None) => given,
        (None, Some(key)) => Unlocker::Raw(key.clone()),
        (Some(_), Some(_)) => {
            return Err(Report::new(Kind::Usage, "a new key is given, and --generate asks for another")
                .hint("leave out --generate, or unset NEW_ENCRYPTED_PASSWORD and NEW_ENCRYPTED_PASSWORD_FILE"));
        }
        (None, None) => {
            return Err(Report::new(Kind::Usage, "no new key is given")
                .hint("set NEW_ENCRYPTED_PASSWORD, or NEW_ENCRYPTED_PASSWORD_FILE to a file that holds it, or use --generate"));
        }
    };
    let vault = frame.vault_only(&target).await?;
    let (slot, is_new) = add_slot(&vault, &new, &args.label, &frame.stop).await?;
    if let Some(key) = made {
        // Only the key, as `key generate` prints it.
        hand_over(&format!("{}\n", key.to_text().expose()), &slot, &vault, &frame.stop).await?;
        tracing::info!(slot = %slot.name, "added a slot; its key is on standard output");
        return Ok(0);
    }
    let mut out = stdout();
    match is_new {
        true => out.line(format_args!("added slot {}", slot.name))?,
        false => out.line(format_args!("slot {} is there already: this key opens the vault", slot.name))?,
    }
    out.finish()?;
    Ok(0)
}

/// Prints a text with the key of a slot that was just made. A key that nobody read must not open anything: if the text
/// cannot be printed, the slot is removed.
pub async fn hand_over(text: &str, slot: &SlotFile, vault: &Vault, stop: &Stop) -> Result<(), Report> {
    let Err(report) = print_whole(text) else { return Ok(()) };
    match remove_slot(vault, &slot.name, stop).await {
        Ok(()) => Err(report.hint("its slot was removed: run it again")),
        Err(error) => {
            let message = format!("{report}; slot {} stays, though nobody has its key: {error}", slot.name);
            Err(Report::new(report.kind, message).hint("remove it with `key remove`"))
        }
    }
}

fn print_whole(text: &str) -> Result<(), Report> {
    let mut out = stdout();
    out.put(text)?;
    out.finish()?;
    match out.is_closed() {
        true => Err(Report::new(Kind::Volume, "standard output was closed before the key was written")),
        false => Ok(()),
    }
}

/// A slot as it is listed.
#[derive(Debug, Serialize)]
struct Line {
    slot: String,
    r#type: String,
    label: String,
    opened_by_your_key: bool,
}

/// Lists the slots.
pub async fn list(args: &KeyList, frame: &Frame) -> Verdict {
    let target = frame.target(&args.place.access, &args.place.dst)?;
    let vault = frame.vault_only(&target).await?;
    let (slots, damaged) = slots(&vault, &frame.stop).await?;
    let lines: Vec<Line> = slots
        .into_iter()
        .map(|slot| Line {
            opened_by_your_key: slot.name == vault.slot,
            r#type: slot.json.r#type,
            label: slot.json.label,
            slot: slot.name,
        })
        .collect();
    let mut out = stdout();
    if args.json {
        for (index, line) in lines.iter().enumerate() {
            let text = serde_json::to_string(line).map_err(|error| Report::new(Kind::Bug, error.to_string()))?;
            out.put(format_args!("{}{text}", if index == 0 { "[\n" } else { ",\n" }))?;
        }
        out.line(if lines.is_empty() { "[]" } else { "\n]" })?;
    } else {
        out.line(format_args!("{:<17}  {:<8}  {:<12}  LABEL", "SLOT", "TYPE", "YOURS"))?;
        for line in &lines {
            let yours = if line.opened_by_your_key { "your key" } else { "" };
            let label = Shown(line.label.as_bytes());
            let row = format!("{:<17}  {:<8}  {yours:<12}  {label}", line.slot, Shown(line.r#type.as_bytes()).to_string());
            out.line(row.trim_end())?;
        }
    }
    out.finish()?;
    if lines.len() == 1 {
        tracing::warn!("one key alone opens this vault: whoever loses it loses the data (`key add` or `key export-kit`)");
    }
    match damaged.into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(0),
    }
}

/// Takes a slot away, unless nobody could open the vault afterwards.
pub async fn remove(args: &KeyRemove, frame: &Frame) -> Verdict {
    let target = frame.target(&args.place.access, &args.place.dst)?;
    let vault = frame.vault_only(&target).await?;
    if !slot_names(&vault.bucket, &frame.stop).await?.contains(&args.slot) {
        let message = format!("the vault has no slot '{}'", Shown(args.slot.as_bytes()));
        return Err(Report::new(Kind::Usage, message).hint("`key list` lists the slots"));
    }
    // A damaged slot opens nothing: it does not count as one that remains.
    let (slots, _) = slots(&vault, &frame.stop).await?;
    let remaining: Vec<&str> = slots.iter().map(|slot| slot.name.as_str()).filter(|name| *name != args.slot).collect();
    if remaining.is_empty() {
        let message = format!("slot {} is the last one: without it nobody could open the vault", args.slot);
        return Err(Report::new(Kind::Refused, message).hint("add another key first, with `key add`"));
    }
    let remaining = remaining.join(", ");
    if args.slot == vault.slot {
        // That another key is still in somebody's hands is proven by opening the vault with it.
        let message = format!("slot {} is that of the key you are using", args.slot);
        return Err(Report::new(Kind::Refused, message)
            .hint(format!("open the vault with a key that shall stay, and remove it then; the others are {remaining}")));
    }
    remove_slot(&vault, &args.slot, &frame.stop).await?;
    tracing::warn!(
        "whoever kept the removed key together with a copy of the slot, as a bucket with versions keeps one, can still read, \
         also what is pushed from now on"
    );
    let mut out = stdout();
    out.line(format_args!("removed slot {}; left: {remaining}", args.slot))?;
    out.finish()?;
    Ok(0)
}

/// The slots that can be read, and what is wrong with the others.
async fn slots(vault: &Vault, stop: &Stop) -> Result<(Vec<SlotFile>, Vec<VaultError>), Report> {
    let (mut slots, mut damaged) = (Vec::new(), Vec::new());
    for name in slot_names(&vault.bucket, stop).await? {
        match read_slot(&vault.bucket, &name, stop).await {
            Ok(slot) => slots.push(slot),
            Err(error @ VaultError::Corrupt { .. }) => damaged.push(error),
            // Removed since it was listed.
            Err(VaultError::Store(error)) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok((slots, damaged))
}

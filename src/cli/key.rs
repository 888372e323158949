//! `key`: who can open the vault.

use super::args::{KeyAdd, KeyExportKit, KeyList, KeyRemove};
use super::frame::{Frame, print};
use crate::config::read_new_key;
use crate::fault::{Kind, Report};
use crate::seal::{RawKey, Unlocker};
use crate::secret::Secret;
use crate::vault::open::Vault;
use crate::vault::slot::{add_slot, list_slots, remove_slot};
use data_encoding::HEXLOWER;
use serde_json::json;

/// A new raw key as text.
pub fn generate() -> Secret<String> {
    RawKey::generate().to_text()
}

/// Adds a slot for the key in `NEW_ENCRYPTED_PASSWORD`, or for one made here.
pub async fn add(args: &KeyAdd, frame: &Frame) -> Result<u8, Report> {
    let given = read_new_key(&frame.environment)?;
    let (unlocker, made) = match (given.secret, args.generate) {
        (Some(_), true) => {
            return Err(
                Report::new(Kind::Usage, "--generate and NEW_ENCRYPTED_PASSWORD exclude each other").hint("use one of them")
            );
        }
        (Some(source), false) => {
            let text = source.read()?;
            (Unlocker::parse(&text).map_err(|error| Report::new(Kind::Usage, format!("NEW_ENCRYPTED_PASSWORD: {error}")))?, None)
        }
        (None, true) => {
            let key = RawKey::generate();
            let text = key.to_text();
            (Unlocker::Raw(key), Some(text))
        }
        (None, false) => {
            return Err(Report::new(Kind::Usage, "no new key was given")
                .hint("set NEW_ENCRYPTED_PASSWORD or NEW_ENCRYPTED_PASSWORD_FILE, or use --generate"));
        }
    };
    let (vault, _) = frame.vault(&args.access, &args.dst).await?;
    let (slot, new) = add_slot(&vault, &unlocker, &args.label, &frame.stop).await?;
    tracing::info!(slot = %slot.name, "{}", if new { "added a key slot" } else { "this key had its slot already" });
    match made {
        Some(text) => print(text.expose()).map(|()| 0),
        None => Ok(0),
    }
}

/// Lists the slots.
pub async fn list(args: &KeyList, frame: &Frame) -> Result<u8, Report> {
    let (vault, _) = frame.vault(&args.access, &args.dst).await?;
    let slots = list_slots(&vault, &frame.stop).await?;
    if args.json {
        let list: Vec<serde_json::Value> = slots
            .iter()
            .map(|slot| json!({"slot": slot.name, "type": slot.json.r#type, "label": slot.json.label, "yours": slot.name == vault.slot}))
            .collect();
        print(&serde_json::to_string_pretty(&list).map_err(|error| Report::new(Kind::Bug, error.to_string()))?)?;
        return Ok(0);
    }
    for slot in slots {
        let yours = if slot.name == vault.slot { "  (yours)" } else { "" };
        let label: String = slot.json.label.chars().filter(|c| !c.is_control()).collect();
        print(&format!("{:<18} {:<9} {label}{yours}", slot.name, slot.json.r#type))?;
    }
    Ok(0)
}

/// Takes a slot away; never the last one, and never the one in use.
pub async fn remove(args: &KeyRemove, frame: &Frame) -> Result<u8, Report> {
    let (vault, _) = frame.vault(&args.access, &args.dst).await?;
    let slots = list_slots(&vault, &frame.stop).await?;
    if !slots.iter().any(|slot| slot.name == args.slot) {
        let known: Vec<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
        return Err(Report::new(Kind::Usage, format!("there is no slot '{}': the vault has {}", args.slot, known.join(", "))));
    }
    if slots.len() == 1 {
        return Err(Report::new(Kind::Refused, "this is the last key: without it nobody could open the vault")
            .hint("add another one first: `key add`"));
    }
    if args.slot == vault.slot {
        return Err(Report::new(Kind::Refused, "this is the slot of the key in use")
            .hint("open the vault with the key that shall stay, and remove it then"));
    }
    remove_slot(&vault, &args.slot, &frame.stop).await?;
    tracing::info!(slot = %args.slot, "removed a key slot; who held its key may have read the vault's master key before");
    Ok(0)
}

/// Makes a key for keeping offline and prints all that a restore elsewhere needs.
pub async fn export_kit(args: &KeyExportKit, frame: &Frame) -> Result<u8, Report> {
    let (vault, _) = frame.vault(&args.access, &args.dst).await?;
    let key = RawKey::generate();
    let text = key.to_text();
    let (slot, _) = add_slot(&vault, &Unlocker::Raw(key), "recovery kit", &frame.stop).await?;
    tracing::warn!("the recovery kit opens the vault: keep it offline, for instance on paper");
    print(&kit(&vault, &slot.name, text.expose(), &args.dst))?;
    Ok(0)
}

fn kit(vault: &Vault, slot: &str, key: &str, path: &str) -> String {
    format!(
        "Recovery kit of an encrypted vault\n\
         \n\
         Keep this page secret and away from the machines it protects. Who has it and can read the remote can read\n\
         everything in the vault.\n\
         \n\
         Remote      {place}\n\
         Vault       {id}\n\
         Key slot    {slot}\n\
         Key         {key}\n\
         \n\
         To restore: set the REMOTE_* variables of the remote (REMOTE_TYPE, REMOTE_ENDPOINT, REMOTE_ACCESS_KEY_ID,\n\
         REMOTE_SECRET_ACCESS_KEY: not part of this page), then\n\
         \n\
         \x20   ENCRYPTED_PASSWORD={key} \\\n\
         \x20   volume-syncing-controller remote-to-local-sync -s '{path}' -d ./restored\n\
         \n\
         Without that program: copy the remote's files to a folder and run tests/format/read_vault.py of its source\n\
         (Python; written from src/vault/FORMAT.md):\n\
         \n\
         \x20   ENCRYPTED_PASSWORD={key} python3 read_vault.py FOLDER ./restored\n\
         \n\
         To take this kit's right away: volume-syncing-controller key remove {slot} -d '{path}'",
        place = vault.bucket.describe(),
        id = HEXLOWER.encode(&vault.id),
    )
}

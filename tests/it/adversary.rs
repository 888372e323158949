//! Somebody who may change all that is stored: whatever is changed, cut, lengthened, exchanged or brought back is
//! refused, with the object's name.

mod readable;
mod restored;
mod shelf;

use shelf::{FORK, KEY, PASSPHRASE, Shelf};

/// Does `work` for each item, on as many threads as help.
fn each<T: Sync>(items: &[T], work: impl Fn(&Shelf, &T) + Sync) {
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(4);
    std::thread::scope(|scope| {
        for part in items.chunks(items.len().div_ceil(threads).max(1)) {
            scope.spawn(|| {
                let shelf = Shelf::new();
                part.iter().for_each(|item| work(&shelf, item));
            });
        }
    });
}

/// One sealed object of each kind: a claim, a commit with data of its own, one that announces a run, a run part, a pack,
/// a fork.
const SEALED: [&str; 6] = [
    "log/fffffffffffffffe",
    "log/fffffffffffffffd",
    "log/fffffffffffffffb",
    "obj/00000001-deadbeef/r00000002",
    "obj/00000001-deadbeef/p00000001",
    FORK,
];
/// Names that nothing has yet: the next commit, further packs, parts and forks.
const NEW_NAMES: [&str; 4] = [
    "log/fffffffffffffff9",
    "obj/00000001-deadbeef/p00000009",
    "obj/00000001-deadbeef/r00000009",
    "fork/00000001-deadbeef/00000009",
];
const RAW_SLOT: &str = "keys/rf801a11e8c905c83.json";
const PASSPHRASE_SLOT: &str = "keys/p0123456789abcdef.json";

#[test]
fn every_changed_byte_of_a_sealed_object_is_found_and_the_object_is_named() {
    let shelf = Shelf::new();
    assert_eq!(shelf.damage(KEY), "", "the vault is sound before it is damaged");
    let bytes: Vec<(&str, usize)> =
        SEALED.iter().flat_map(|key| (0..shelf.files[*key].len()).map(move |byte| (*key, byte))).collect();
    each(&bytes, |shelf, (key, byte)| {
        let mut damaged = shelf.files[*key].to_vec();
        damaged[*byte] ^= 1 << (byte % 8);
        shelf.put(key, damaged);
        let said = shelf.damage(KEY);
        assert!(said.contains(key), "{key} at {byte}: {said}");
        shelf.heal(key);
    });
}

/// The byte with one bit changed.
fn flipped(shelf: &Shelf, key: &str, bit: usize) -> Vec<u8> {
    let mut damaged = shelf.files[key].to_vec();
    damaged[bit / 8] ^= 1 << (bit % 8);
    damaged
}

#[test]
fn every_changed_bit_of_the_public_parameters_is_refused() {
    let shelf = Shelf::new();
    for bit in 0..shelf.files["vault.json"].len() * 8 {
        shelf.put("vault.json", flipped(&shelf, "vault.json", bit));
        let said = shelf.damage(KEY);
        // Another vault's identity and a newer version are what they seem; the rest is damage.
        let named = ["vault.json", "wrong key for the vault", "feature this program does not know: version"];
        assert!(named.iter().any(|words| said.contains(words)), "bit {bit}: {said}");
    }
}

#[test]
fn every_changed_bit_of_a_slot_is_refused_and_the_slot_is_named() {
    let shelf = Shelf::new();
    for bit in 0..shelf.files[RAW_SLOT].len() * 8 {
        let damaged = flipped(&shelf, RAW_SLOT, bit);
        shelf.put(RAW_SLOT, damaged.clone());
        refused_or_only_relabelled(&shelf, RAW_SLOT, KEY, &damaged, bit);
    }
    // One bit of each byte: each try costs a derivation.
    let bits: Vec<usize> = (0..shelf.files[PASSPHRASE_SLOT].len()).map(|byte| byte * 8 + byte % 8).collect();
    each(&bits, |shelf, bit| {
        let damaged = flipped(shelf, PASSPHRASE_SLOT, *bit);
        shelf.put(PASSPHRASE_SLOT, damaged.clone());
        refused_or_only_relabelled(shelf, PASSPHRASE_SLOT, PASSPHRASE, &damaged, *bit);
    });
}

/// A label is for people, and the one thing in a slot that nothing seals.
fn refused_or_only_relabelled(shelf: &Shelf, slot: &str, secret: &str, damaged: &[u8], bit: usize) {
    let name = slot.trim_start_matches("keys/").trim_end_matches(".json");
    match shelf.open(secret) {
        Err(said) => assert!(said.contains(name), "{slot} at bit {bit}: {said}"),
        Ok(_) => {
            let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).expect("JSON");
            let (mut before, mut after) = (value(&shelf.files[slot]), value(damaged));
            [&mut before, &mut after].into_iter().for_each(|value| value["label"] = "any".into());
            assert_eq!(before, after, "{slot} opened with bit {bit} changed");
        }
    }
}

#[test]
fn an_object_that_is_cut_or_lengthened_is_named() {
    let shelf = Shelf::new();
    let mut tried = Vec::new();
    for key in shelf.files.keys().filter(|key| ["log/", "obj/", "fork/"].iter().any(|top| key.starts_with(top))) {
        let length = shelf.files[key].len();
        let near = |edge: usize| [edge.saturating_sub(1), edge, edge + 1];
        let mut lengths: Vec<usize> = shelf.edges(key).into_iter().flat_map(near).collect();
        lengths.extend([length - 16, length + 15, length + 512, 2 * length]);
        lengths.extend((0..length).step_by(11));
        lengths.sort_unstable();
        lengths.dedup();
        tried.extend(lengths.into_iter().filter(|wanted| *wanted != length).map(|wanted| (key.clone(), wanted)));
    }
    assert!(tried.len() > 2000, "{} lengths", tried.len());
    each(&tried, |shelf, (key, length)| {
        let mut bytes = shelf.files[key].to_vec();
        bytes.resize(*length, 0);
        shelf.put(key, bytes);
        let said = shelf.damage(KEY);
        assert!(said.contains(key.as_str()), "{key} with {length} bytes: {said}");
        shelf.heal(key);
    });
    for key in ["vault.json", RAW_SLOT, PASSPHRASE_SLOT] {
        let whole = &shelf.files[key];
        let secret = if key == PASSPHRASE_SLOT { PASSPHRASE } else { KEY };
        let longer = [whole, &b"}"[..]].concat();
        for bytes in (0..whole.len()).step_by(9).chain([whole.len() - 1]).map(|end| whole[..end].to_vec()).chain([longer]) {
            let length = bytes.len();
            shelf.put(key, bytes);
            let said = shelf.open(secret).expect_err("it is not whole");
            assert!(said.contains(key), "{key} with {length} bytes: {said}");
        }
        shelf.heal(key);
    }
}

#[test]
fn an_object_under_another_ones_name_is_refused() {
    let shelf = Shelf::new();
    let names: Vec<&String> = shelf.files.keys().collect();
    let mut pairs: Vec<(String, String)> = Vec::new();
    for from in &names {
        pairs.extend(names.iter().filter(|to| *to != from).map(|to| (from.to_string(), to.to_string())));
    }
    for from in &names {
        for to in NEW_NAMES {
            pairs.push((from.to_string(), to.to_string()));
        }
    }
    each(&pairs, |shelf, (from, to)| {
        shelf.put(to, shelf.files[from].clone());
        let secret = if to == PASSPHRASE_SLOT { PASSPHRASE } else { KEY };
        let said = shelf.damage(secret);
        assert!(said.contains(to.as_str()), "{from} under the name {to}: {said}");
        shelf.heal(to);
    });
}

#[test]
fn the_public_parameters_of_another_vault_open_nothing() {
    let shelf = Shelf::new();
    let other = shelf.another_vaults_parameters();
    shelf.put("vault.json", other);
    for (secret, words) in [(KEY, "wrong key for the vault"), (PASSPHRASE, "wrong passphrase for the vault")] {
        let said = shelf.open(secret).expect_err("another vault");
        assert!(said.contains(words) && said.contains("rf801a11e8c905c83"), "{said}");
    }
}

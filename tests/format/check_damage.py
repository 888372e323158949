#!/usr/bin/env python3
"""Damages every object of a vault in many places and expects read_vault to refuse and to name it: check_damage.py FOLDER."""
import os, sys, tempfile
from read_vault import Destination, Vault
from vault_format import Damage, Entry


def read_all(folder, secret):
    """Reads the newest tree and every content."""
    vault = Vault(folder, secret)
    newest = max((1 << 64) - 1 - int(name, 16) for name in os.listdir(os.path.join(folder, "log")))
    for path, entry in vault.tree(newest).items():
        if entry.kind == "f":
            for _ in vault.chunks(entry):
                pass


def refusal(folder, secret):
    try:
        read_all(folder, secret)
    except Damage as damage:
        return str(damage)
    return None


def main(folder, secret):
    names = [os.path.relpath(os.path.join(at, name), folder) for at, _, files in os.walk(folder) for name in files]
    unneeded, damaged = not_needed(folder, names, secret), 0
    for name in sorted(set(names) - unneeded):
        path = os.path.join(folder, name)
        with open(path, "rb") as file:
            whole = file.read()
        places = set(range(0, min(len(whole), 128), 5)) if name.startswith(("log/", "obj/", "fork/")) else {len(whole) // 2}
        for cut in (0, 1, 127, 128, len(whole) // 2, len(whole) - 1):
            expect(folder, secret, name, whole[:cut])
        for place in places:
            expect(folder, secret, name, whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            damaged += 1
        with open(path, "wb") as file:
            file.write(whole)
    assert damaged > 100 and len(unneeded) < 4, (damaged, unneeded)
    swapped(folder, secret)
    nothing_leaves_the_destination()
    assert refusal(folder, secret) is None


def expect(folder, secret, name, content):
    with open(os.path.join(folder, name), "wb") as file:
        file.write(content)
    said = refusal(folder, secret)
    assert said is not None, f"damage of {name} went unseen"
    assert name in said or name.startswith("keys/") or name == "vault.json", f"damage of {name} is reported as: {said}"


def not_needed(folder, names, secret):
    """The names without which all is read still: another key's slot, a commit from before the merge."""
    spare = set()
    newest = min(name for name in names if name.startswith("log/"))  # without it, the one before is the newest
    for name in set(names) - {newest}:
        path = os.path.join(folder, name)
        os.rename(path, folder + ".away")
        said = refusal(folder, secret)
        os.rename(folder + ".away", path)
        if said is None:
            spare.add(name)
        else:
            assert name in said or name.startswith("keys/"), f"without {name}: {said}"
    return spare


def swapped(folder, secret):
    """Two objects of one kind under each other's names."""
    for below in ("log", *(f"obj/{claim}" for claim in os.listdir(os.path.join(folder, "obj")))):
        one, two = (os.path.join(folder, below, name) for name in sorted(os.listdir(os.path.join(folder, below)))[:2])
        for way in "there", "back":
            os.rename(one, folder + ".away")
            os.rename(two, one)
            os.rename(folder + ".away", two)
            said = refusal(folder, secret)
            assert way == "back" or (said and "another object" in said), f"swapped {one} and {two}: {said}"


def nothing_leaves_the_destination():
    """A tree in which a link stands where a directory should be."""
    with tempfile.TemporaryDirectory() as work:
        outside = os.path.join(work, "outside")
        os.mkdir(outside)
        destination = Destination(os.path.join(work, "inside"))
        link, file = Entry("l", 0o777, 0, 0, 0, 0), Entry("d", 0o700, 0, 0, 0, 0)
        link.target = os.fsencode(outside)
        destination.put(None, b"a", link)
        for path in b"a/b", b"a/b/c", b"a":
            try:
                destination.put(None, path, file)
            except OSError:
                continue
            raise AssertionError(f"{path} was written through a link")
        assert not os.listdir(outside)


if __name__ == "__main__":
    main(sys.argv[1], os.environb[b"ENCRYPTED_PASSWORD"])

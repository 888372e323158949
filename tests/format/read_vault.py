#!/usr/bin/env python3
"""Reads an encrypted vault without the program that wrote it: the last resort, and a second opinion on the format.

    ENCRYPTED_PASSWORD=... read_vault.py FOLDER DESTINATION [--at POINT]
    ENCRYPTED_PASSWORD=... read_vault.py FOLDER --list [--at POINT]

FOLDER is the vault as plain files, as `mc mirror` or `rclone copy` leave it. DESTINATION must be empty or not exist.
POINT is the number of a commit, or a rescue: the name of an object below fork/, with or without fork/ or rescue: before it.
Written from src/vault/FORMAT.md. Needs vault_format.py beside it, Python 3.11 and: pip install blake3 cryptography
zstandard argon2-cffi (the last one for passphrases only). What is read is verified: commitments, seals, the chain of
commits, totals, the state sum and the hash of each file. What does not fit is an error that names the object.
"""
import argparse, datetime, functools, hmac, json, os, re, struct, sys
from blake3 import blake3
from vault_format import COMMIT, DATA, FORK, RUN_PART, U64, Damage, Naming, Object, Reader
from vault_format import derive, keyed, need, object_name, open_slot, order, raw_key

CONTEXTS = {"obj": "object key", "id": "chunk id", "chain": "commit chain", "state": "state sum", "cfg": "vault.json mac"}


class Vault:
    def __init__(self, folder, secret):
        self.folder = folder
        with Naming("vault.json"):
            try:
                text = open(os.path.join(folder, "vault.json"), "rb").read()
            except FileNotFoundError:
                raise Damage("it is missing: this is not the top folder of a vault") from None
            config = json.loads(text)
            need(config["format"] == "svault" and config["version"] == 1 and not config["incompat"], "another or a newer format")
            self.id, self.digest = bytes.fromhex(config["vault_id"]), blake3(text).digest()
        master = self.unlock(secret)
        self.keys = {name: derive(context, master + self.id) for name, context in CONTEXTS.items()}
        covered = b"svault\0" + struct.pack("<I", 1) + config["vault_id"].encode()
        covered += struct.pack("<QI", config["created"], config["t_fence_h"])
        mac = keyed(self.keys["cfg"], covered).hex()
        need(hmac.compare_digest(mac, config["mac"]), "vault.json: its MAC does not fit: it was changed")
        self.object = functools.lru_cache(64)(lambda kind, a, b: Object(self, kind, a, b))
        self.body = functools.lru_cache(8)(self.body_uncached)

    def unlock(self, secret):
        key = raw_key(secret.strip())
        slots = sorted(name for name in os.listdir(os.path.join(self.folder, "keys")) if name.endswith(".json"))
        wanted = "p" if key is None else "r" + derive("slot name", key + self.id)[:8].hex() + ".json"
        for name in slots:
            if name.startswith(wanted):
                with Naming("keys/" + name):
                    slot = json.load(open(os.path.join(self.folder, "keys", name), "rb"))
                    kind = "argon2id" if key is None else "raw32"
                    need(slot["slot"] + ".json" == name and slot["type"] == kind, "it is another slot than its name says")
                    master = open_slot(slot, self.id, secret, key)
                    if master is not None:
                        return master
        raise Damage(f"keys: the key or passphrase opens none of {', '.join(slots) or 'no slots'}")

    def commit(self, seq):
        commit = self.object(COMMIT, seq, 0)
        with commit.naming():
            need(commit.directory[14][2] == self.digest, "it was written under another vault.json")
        return commit

    def body_uncached(self, place):
        (kind, a, b), offset, length = place
        data = self.object(kind, a, b)
        with data.naming():
            return data.frame(offset, length, DATA)

    def parts(self, parts, upserts_only):
        for kind, a, b, length, tag, first, count in parts:
            part, paths = self.object(kind, a, b), 0
            with part.naming():
                need(kind == RUN_PART and part.total_len == length and part.commitment[:16] == tag, "another part is referred to")
                for path, op, entry in part.records():
                    need(paths or path == first, "it begins with another path than its reference says")
                    need(op == 1 or not upserts_only, "a run holds more than upserts")
                    paths += 1
                    yield path, op, entry
                need(paths == count, "it has another number of records than its reference says")

    def fork(self, name):
        """A rescue by its name."""
        found = re.fullmatch("(?:rescue:)?(?:fork/)?([0-9a-f]{8})-([0-9a-f]{8})/([0-9a-f]{8})", name)
        need(found, f"{name} is neither the number of a commit nor the name of a rescue")
        epoch, nonce, counter = (int(part, 16) for part in found.groups())
        fork = self.object(FORK, epoch, nonce << 32 | counter)
        with fork.naming():
            need(fork.directory[14][2] == self.digest, "it was written under another vault.json")
        return fork

    def tree(self, seq, fork=None):
        """The live entries as of a commit, and a fork that follows it, in path order, verified against the totals."""
        head = self.commit(seq)
        carrier = head if 12 in head.directory else self.commit(head.directory[13]) if head.directory.get(13) else None
        runs = carrier.directory[12][1] if carrier else []
        tree, done, before, epoch = {}, 0, bytes(32), 0
        for start, to, before_next, parts in runs:
            with carrier.naming():
                need(start == done < to < seq, "its plan's runs do not follow each other")
            self.fold(tree, self.parts(parts, True))
            done, before = to, before_next
        for number in range(done + 1, seq + 1):
            commit = self.commit(number)
            with commit.naming():
                need(commit.directory[6] == before, "it does not continue the commit before it")
                need(commit.directory[3] >= epoch, "its epoch is lower than that of the commit before it")
                before, epoch = keyed(self.keys["chain"], commit.read(0, commit.head_len)), commit.directory[3]
                self.fold(tree, commit.records(), self.parts(commit.directory.get(17, []), False))
        if fork:
            with fork.naming():
                need(fork.directory[6] == before, "it follows another commit than the one that is there")
                self.fold(tree, fork.records(), self.parts(fork.directory.get(17, []), False))
            head = fork
        tree = {path: tree[path] for path in sorted(tree, key=order)}
        with head.naming():
            total = sum(int.from_bytes(keyed(self.keys["state"], e.logical(p)), "little") for p, e in tree.items())
            dirs = sum(entry.kind == "d" for entry in tree.values())
            size = sum(entry.size for entry in tree.values())
            found = [len(tree) - dirs, dirs, size, (total % (1 << 256)).to_bytes(32, "little")]
            said = head.directory[11]
            need(said == found, f"it says {said[:3]} files, directories, bytes; the tree has {found[:3]}; or the sums differ")
        return tree

    def fold(self, tree, *sources):
        last = None
        for path, op, entry in (record for source in sources for record in source):
            need(last is None or order(last) < order(path), "its records are not in order")
            last = path
            if op == 0:
                tree.pop(path, None)
            else:
                tree[path] = entry.patched(tree.get(path)) if op == 2 else entry

    def chunks(self, entry):
        """A file's content, (offset, bytes) without the holes; its hash is verified at the end."""
        if entry.form == "blocks":
            ids = [b"blk", bytes([entry.log2]), struct.pack("<Q", entry.size)]
            for number, place in enumerate(entry.data):
                offset = number << entry.log2
                if place is None:
                    ids.append(bytes(32))
                    continue
                body = self.body(place)
                fits = len(body) == min(1 << entry.log2, entry.size - offset)
                need(fits, f"{object_name(*place[0])}: a block has a wrong length")
                ids.append(keyed(self.keys["id"], body))
                yield offset, body
            found = keyed(self.keys["id"], *ids)
        else:
            content = entry.data
            if entry.form == "slice":
                place, inner = entry.data
                content = self.body(place)[inner : inner + entry.size]
                need(len(content) == entry.size, f"{object_name(*place[0])}: a file reaches past its frame")
            found = keyed(self.keys["id"], content)
            yield 0, content
        need(found[:16] == entry.hash, "its content does not have the recorded hash")


# Restoring ----------------------------------------------------------------------------------------------------------


class Destination:
    """Writes below one directory. Every name is opened from its parent's descriptor without following links."""

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        need(not os.listdir(folder), f"{folder} is not empty")
        self.root, self.groups, self.directories = os.open(folder, os.O_DIRECTORY), {}, []

    def parent(self, path):
        """A descriptor of the directory a path lies in; directories without a record of their own are made."""
        at = os.dup(self.root)
        for name in path.split(b"/")[:-1]:
            try:
                os.mkdir(name, 0o700, dir_fd=at)
            except FileExistsError:
                pass
            below = os.open(name, os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        return at

    def put(self, vault, path, entry):
        parent, name = self.parent(path), path.split(b"/")[-1]
        try:
            if entry.kind == "d":
                os.mkdir(name, 0o700, dir_fd=parent)
                self.directories.append((path, entry))  # its mode and time are set when all below it is there
                return
            first = self.groups.setdefault(entry.extras[1], path) if 1 in entry.extras else path
            if first != path:
                other = self.parent(first)
                os.link(first.split(b"/")[-1], name, src_dir_fd=other, dst_dir_fd=parent, follow_symlinks=False)
                os.close(other)
                return
            if entry.kind == "l":
                os.symlink(entry.target, name, dir_fd=parent)
            elif entry.kind == "p":
                os.mkfifo(name, 0o600, dir_fd=parent)
            else:
                self.write(vault, parent, name, entry)
            self.attributes(parent, name, entry)
        finally:
            os.close(parent)

    def write(self, vault, parent, name, entry):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=parent)
        try:
            for offset, content in vault.chunks(entry):
                step = 4096 if 3 in entry.extras else max(len(content), 1)
                for at in range(0, len(content), step):
                    page = content[at : at + step]
                    while page and (3 not in entry.extras or page.strip(b"\0")):
                        written = os.pwrite(file, page, offset + at)
                        page, at = page[written:], at + written
            os.ftruncate(file, entry.size)
        except Damage:
            os.unlink(name, dir_fd=parent)  # what is not verified is not left behind
            raise
        finally:
            os.close(file)

    def attributes(self, parent, name, entry):
        here, mode = b"/proc/self/fd/%d/%s" % (parent, name), entry.mode
        xattrs = Reader(entry.extras.get(2, b""))
        while xattrs.more():
            key, value = xattrs.bytes(), xattrs.bytes()
            try:
                os.setxattr(here, key, value, follow_symlinks=False)
            except OSError as error:
                print(f"xattr {key!r} of {name!r} not set: {error.strerror}", file=sys.stderr)
        if os.geteuid() == 0:
            os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        elif (entry.uid, entry.gid) != (os.geteuid(), os.getegid()):
            mode &= 0o1777  # another owner's set-id bits mean nothing here
        if entry.kind != "l":
            os.chmod(name, mode, dir_fd=parent)
        time_ns = entry.seconds * 10**9 + entry.nanos
        os.utime(name, ns=(time_ns, time_ns), dir_fd=parent, follow_symlinks=False)

    def finish(self):
        for path, entry in reversed(self.directories):
            parent = self.parent(path)
            self.attributes(parent, path.split(b"/")[-1], entry)
            os.close(parent)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("destination", nargs="?")
    parser.add_argument("--at", metavar="POINT", help="as of this commit or rescue; the newest commit if not given")
    parser.add_argument("--list", action="store_true", help="list the entries and write nothing")
    args = parser.parse_args()
    if bool(args.destination) == args.list:
        parser.error("give either DESTINATION or --list")
    vault = Vault(args.folder, os.environb.get(b"ENCRYPTED_PASSWORD", b""))
    seqs = [U64 - int(name, 16) for name in os.listdir(os.path.join(args.folder, "log")) if re.fullmatch("[0-9a-f]{16}", name)]
    need(seqs, "log: it has no commits")
    at = args.at or str(max(seqs))
    fork = None if at.isdecimal() else vault.fork(at)
    tree = vault.tree(fork.directory[19] if fork else int(at), fork)
    if args.list:
        for path, entry in tree.items():
            when = datetime.datetime.fromtimestamp(entry.seconds, datetime.timezone.utc).isoformat()
            link = " -> " + os.fsdecode(entry.target) if entry.kind == "l" else ""
            print(f"{entry.kind}{entry.mode:04o} {entry.uid}:{entry.gid} {entry.size:>12} {when} {os.fsdecode(path)!r}{link}")
        return
    destination = Destination(args.destination)
    for path, entry in tree.items():
        try:
            destination.put(vault, path, entry)
        except (Damage, OSError) as error:
            raise Damage(f"{os.fsdecode(path)!r}: {error}") from None
    destination.finish()
    print(f"{len(tree)} entries restored", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except (Damage, OSError) as error:
        sys.exit(f"read_vault: {error}")

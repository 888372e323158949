#!/usr/bin/env python3
"""Computes the vectors of tests/golden a second time, from src/vault/FORMAT.md: check_vectors.py VECTORS."""
import json, os, struct, sys, tempfile
from argon2.low_level import Type, hash_secret_raw
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from read_vault import CONTEXTS
from vault_format import COMMIT, FORK, PACK, RUN_PART, U64, Object, Reader, derive, keyed, object_name, raw_key

MK, VAULT_ID = bytes(range(32)), b"made up vault id"
KEYS = {name: derive(context, MK + VAULT_ID) for name, context in CONTEXTS.items()}
KEYS |= {"hedge": derive("salt hedge", MK + VAULT_ID), "pin": derive("pin and receipt mac", MK + VAULT_ID)}


def keys():
    header = bytes(range(96))
    content = keyed(KEYS["id"], b"abc")
    yield "key content_id of abc", content
    yield "key content_id of nothing", keyed(KEYS["id"])
    yield "key commit_hash of abc", keyed(KEYS["chain"], b"abc")
    yield "key state_term of abc", keyed(KEYS["state"], b"abc")
    yield "key pin_mac of abc", keyed(KEYS["pin"], b"abc")
    yield "key config_mac of abc", keyed(KEYS["cfg"], b"abc")
    yield "file digest of abc", blake3(b"abc").digest()
    yield "key salt of abc and def", keyed(KEYS["hedge"], b"\x09" * 32, header[:64], blake3(b"abcdef").digest())
    yield "key block_ids of abc and a hole", keyed(KEYS["id"], b"blk\x10", struct.pack("<Q", 100_000), content, bytes(32))[:16]
    okm = keyed(KEYS["obj"], b"svault/obj/v1\0", header, length=76)
    nonce = bytes(a ^ b for a, b in zip(okm[32:44], (0x1234).to_bytes(12, "little")))
    yield "object commitment", okm[44:]
    yield "frame abc at 0x1234", ChaCha20Poly1305(okm[:32]).encrypt(nonce, b"\0abc", b"\3")


def slots():
    key, salt, cost = bytes(range(0x40, 0x60)), b"\x08" * 32, (19 << 10, 2, 1)
    stretched = hash_secret_raw(b"made up words", salt, 2, 19 << 10, 1, 64, Type.ID, version=0x13)
    for name, okm, more in (
        ("raw32", derive("slot raw32", key + salt, 64), b""),
        ("argon2id", stretched, struct.pack("<III", *cost)),
    ):
        associated = VAULT_ID + bytes(2) + name.encode() + b"\0" + more
        yield f"slot {name} wrapped", ChaCha20Poly1305(okm[:32]).encrypt(bytes(12), MK, associated)
        yield f"slot {name} commitment", keyed(okm[32:], b"slot")


def padded(length):
    """As FORMAT.md says it: Padmé from 4 KiB, powers of two from 512 below, no gap of 1 to 15."""
    wanted = length
    while True:
        total = max(512, 1 << (wanted - 1).bit_length()) if wanted else 512
        if wanted >= 4096:
            exponent = wanted.bit_length() - 1
            step = 1 << exponent - exponent.bit_length()
            total = -(-wanted // step) * step
        if total - length not in range(1, 16):
            return total
        wanted = total + 1


class Bench:
    """What an Object needs of a vault."""

    def __init__(self, folder):
        self.folder, self.keys, self.id = folder, KEYS, VAULT_ID

    def open(self, kind, a, b, data):
        path = os.path.join(self.folder, object_name(kind, a, b))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        return Object(self, kind, a, b)


def containers(vectors, bench):
    claim = 0xDEADBEEF << 32
    hashes = {}
    for name, object_id, records in (
        ("commit 6, empty", (COMMIT, 6, 0), 0),
        ("commit 7, with records", (COMMIT, 7, 0), 1),
        ("run part", (RUN_PART, 1, claim | 2), 1),
        ("commit 8, with a plan", (COMMIT, 8, 0), 0),
        ("fork", (FORK, 1, claim | 4), 0),
        ("pack", (PACK, 1, claim | 5), 0),
    ):
        data = bytes.fromhex(vectors["container " + name])
        found = bench.open(*object_id, data)
        assert len(list(found.records())) == records, name
        assert data[64:96] == bytes([object_id[0]]) * 32, name
        hashes[object_id] = keyed(KEYS["chain"], data[: found.head_len])
        if object_id[0] == COMMIT:
            yield f"H of commit {object_id[1]}", hashes[object_id]
        if name != "commit 6, empty" and object_id[0] in (COMMIT, FORK):
            before = object_id[1] - 1 if object_id[0] == COMMIT else found.directory[19]
            assert found.directory[6] == hashes[COMMIT, before, 0], name
        if name == "pack":
            toc = Reader(found.frame(128 + found.dir_len, found.directory[9][0], 2))
            while toc.more():
                offset, stored, length, count = (toc.varint() for _ in range(4))
                body = found.frame(found.head_len + offset, stored, 3)
                contents = [(toc.take(32), toc.varint(), toc.varint()) for _ in range(count)]
                assert contents == [(keyed(KEYS["id"], body), 0, length)] and len(body) == length
            assert padded(found.head_len + offset + stored) == len(data) == found.total_len


def records(vectors, bench):
    """Reads the records as those of a commit, and computes what the state sum covers."""
    holder = bench.open(COMMIT, 6, 0, bytes.fromhex(vectors["container commit 6, empty"]))
    body = bytes.fromhex(vectors["records"])
    holder.directory[8] = [[len(body), b"dir", 10]]
    holder.directory[10] = [[PACK, 1, 0xDEADBEEF << 32 | 5, 0]]
    holder.frame = lambda offset, length, kind: body
    tree = {path: entry for path, _, entry in holder.records()}
    assert len(tree) == 10 and tree[b"dir/gone"] is None
    for path, entry in tree.items():
        if entry and entry.form != "patch":
            name = path.decode(errors="backslashreplace")
            yield "logical record " + name, entry.logical(path)
    place = (PACK, 1, 0xDEADBEEF << 32 | 5)
    offsets = [(200, 40), None, (1000, 60), (1060, 60), (5000, 70), (5070, 30)]
    assert tree[b"x/blocks"].data == [at and (place, *at) for at in offsets]
    assert tree[b"dir/b"].data == (((COMMIT, 6, 0), holder.head_len + 30, 90), 4)
    total = int.from_bytes(keyed(KEYS["state"], tree[b"dir"].logical(b"dir")), "little")
    yield "state sum of 4, a delete", total.to_bytes(32, "little")
    total += int.from_bytes(keyed(KEYS["state"], tree[b"x/blocks"].logical(b"x/blocks")), "little")
    yield "state sum of 1", (total % (1 << 256)).to_bytes(32, "little")


def main(path):
    with open(path, encoding="utf-8") as file:
        vectors = json.load(file)
    checked = {"raw key", "records"}
    assert raw_key(vectors["raw key"].encode()) == bytes(range(0x40, 0x60))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(folder)
        for source in (keys(), slots(), containers(vectors, bench), records(vectors, bench)):
            for name, value in source:
                assert vectors[name] == value.hex(), f"{name}: {vectors[name]} is frozen, {value.hex()} computed"
                checked.add(name)
    for name, value in vectors.items():
        if name.startswith("padded "):
            assert padded(int(name.split()[1])) == int(value), name
        elif name.startswith("log name "):
            assert f"{U64 - int(name.split()[2]):016x}" == value, name
        elif name.startswith("slot name "):
            assert "r" + derive("slot name", bytes(range(0x40, 0x60)) + VAULT_ID)[:8].hex() == value, name
        elif not name.startswith(("container ", "record ", "fold ", "state sum ")):
            assert name in checked, f"{name} is not checked"


if __name__ == "__main__":
    main(sys.argv[1])

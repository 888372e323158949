"""The bytes of a vault: values, keys, objects and records, as src/vault/FORMAT.md describes them and in its words.
Written from that page alone; read_vault.py beside this file is the program."""
import base64, functools, hmac, os, struct
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
import zstandard

COMMIT, RUN_PART, PACK, FORK = 1, 2, 3, 4
DIRECTORY, META, TOC, DATA, PAD = 0, 1, 2, 3, 4
FRAME_CAP, OBJECT_CAP, MAX_BLOCKS, U64 = 4 << 20, 64 << 20, 1 << 20, (1 << 64) - 1


class Damage(Exception):
    """What is wrong; by the time it is printed it begins with the object's name."""


def need(fine, what):
    if not fine:
        raise Damage(what)


def keyed(key, *parts, length=32):
    return blake3(b"".join(parts), key=key).digest(length=length)


def derive(context, material, length=32):
    return blake3(material, derive_key_context="svault 2026 v1 " + context).digest(length=length)


def open_sealed(key, nonce, stored, associated, what):
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, stored, associated)
    except InvalidTag:
        raise Damage(f"{what} fails authentication") from None


class Reader:
    """Values from the front of some bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def more(self):
        return self.at < len(self.data)

    def take(self, count):
        need(self.at + count <= len(self.data), "it ends inside a value")
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self):
        return self.take(1)[0]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                need(value <= U64 and (byte or not shift), "an integer is too long")
                return value
            shift += 7
            need(shift < 70, "an integer is too long")

    def zigzag(self):
        value = self.varint()
        return value >> 1 ^ -(value & 1)

    def bytes(self):
        return self.take(self.varint())

    def cbor(self):
        """One CBOR item. Only the map may be of indefinite length."""
        major, small = divmod(self.byte(), 32)
        if (major, small) == (5, 31):
            pairs = {}
            while self.data[self.at : self.at + 1] != b"\xff":
                key = self.cbor()
                need(key not in pairs, "a CBOR map repeats a key")
                pairs[key] = self.cbor()
            self.at += 1
            return pairs
        need(small < 28, "a CBOR item is of an unexpected form")
        value = small if small < 24 else int.from_bytes(self.take(1 << small - 24), "big")
        match major:
            case 0:
                return value
            case 1:
                return -1 - value
            case 2:
                return self.take(value)
            case 3:
                return self.take(value).decode()
            case 4:
                return [self.cbor() for _ in range(value)]
            case 5:
                pairs = [(self.cbor(), self.cbor()) for _ in range(value)]
                need(len(pairs) == len(dict(pairs)), "a CBOR map repeats a key")
                return dict(pairs)
            case 7 if small in (20, 21, 22):
                return {20: False, 21: True, 22: None}[small]
        raise Damage("a CBOR item is of an unexpected type")


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def sized(data):
    return varint(len(data)) + data


# Keys ---------------------------------------------------------------------------------------------------------------


def raw_key(secret):
    """The 32 bytes of a raw key, or None for a passphrase."""
    if not secret.startswith(b"vsckey1_"):
        return None
    text = secret[len(b"vsckey1_"):]
    try:
        data = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        data = b""
    key, check = data[:32], data[32:]
    need(len(data) == 36 and blake3(b"vsckey1" + key).digest()[:4] == check, "the raw key is mistyped: its checksum is wrong")
    return key


def open_slot(slot, vault_id, secret, key):
    """The master key, or None when the secret is not this slot's."""
    salt, wrapped, commitment = (bytes.fromhex(slot[name]) for name in ("salt", "wrapped", "commitment"))
    associated = vault_id + struct.pack("<H", slot["gen"]) + slot["type"].encode() + b"\0"
    if key is not None:
        okm = derive("slot raw32", key + salt, 64)
    else:
        from argon2.low_level import Type, hash_secret_raw

        memory, passes, lanes = (slot["kdf"][name] for name in "mtp")
        cheap = 19 << 10 <= memory <= 1 << 20 and 2 <= passes <= 16 and 1 <= lanes <= 8
        need(cheap, "its Argon2id cost is outside the accepted limits")
        okm = hash_secret_raw(secret, salt, passes, memory, lanes, 64, Type.ID, version=0x13)
        associated += struct.pack("<III", memory, passes, lanes)
    if not hmac.compare_digest(keyed(okm[32:], b"slot"), commitment):
        return None
    return open_sealed(okm[:32], bytes(12), wrapped, associated, "the wrapped key")


# Objects ------------------------------------------------------------------------------------------------------------


def object_name(kind, a, b):
    if kind == COMMIT:
        return f"log/{U64 - a:016x}"
    claim = f"{a:08x}-{b >> 32:08x}"
    counter = f"{b & 0xFFFFFFFF:08x}"
    need(kind in (RUN_PART, PACK, FORK), f"a reference names kind {kind}")
    return f"fork/{claim}/{counter}" if kind == FORK else f"obj/{claim}/{'r' if kind == RUN_PART else 'p'}{counter}"


class Object:
    """A container whose header was checked against its name."""

    def __init__(self, vault, kind, a, b):
        self.vault, self.id, self.name = vault, (kind, a, b), object_name(kind, a, b)
        try:
            self.file = open(os.path.join(vault.folder, self.name), "rb")
        except FileNotFoundError:
            raise Damage(f"{self.name}: it is missing") from None
        with self.naming():
            header = self.read(0, 128)
            need(header[:8] == b"svault\1\0", "it does not start as a vault object")
            need(header[9] == 1 and header[10:16] == bytes(6), "its suite or key generation is unknown: newer than this reader")
            need(header[16:32] == vault.id, "it belongs to another vault")
            self.total_len, self.dir_len, self.head_len = struct.unpack("<QII", header[48:64])
            named = (header[8], *struct.unpack("<QQ", header[32:48]))
            need(named == self.id, "its header names another object: moved or replaced")
            okm = keyed(vault.keys["obj"], b"svault/obj/v1\0", header[:96], length=76)
            self.key, self.base_nonce, self.commitment = okm[:32], okm[32:44], okm[44:]
            need(hmac.compare_digest(self.commitment, header[96:]), "its commitment does not fit: another key, or damage")
            fits = 128 + self.dir_len <= self.head_len <= self.total_len <= OBJECT_CAP
            need(fits and os.fstat(self.file.fileno()).st_size == self.total_len, "it is not as long as its header says")

    def naming(self):
        return Naming(self.name)

    def read(self, offset, length):
        data = os.pread(self.file.fileno(), length, offset)
        need(len(data) == length, "it is cut short")
        return data

    def frame(self, offset, length, kind):
        """The body of the frame stored at offset."""
        word = ("directory", "meta", "toc", "data")[kind]
        need(16 < length <= FRAME_CAP + (1 << 16) and offset + length <= self.total_len, f"a {word} frame lies outside it")
        need(kind != DATA or offset >= self.head_len, "a data frame lies in its head")
        nonce = bytes(x ^ y for x, y in zip(self.base_nonce, struct.pack("<QI", offset, 0)))
        plain = open_sealed(self.key, nonce, self.read(offset, length), bytes([kind]), f"the {word} frame at {offset}")
        codec, body = plain[0], plain[1:]
        need(codec in (0, 1), f"codec {codec} is unknown: newer than this reader")
        if codec == 1:
            try:
                need(0 <= zstandard.frame_content_size(body) <= FRAME_CAP, "a frame is larger than 4 MiB")
                body = zstandard.ZstdDecompressor().decompress(body, allow_extra_data=False)
            except zstandard.ZstdError:
                raise Damage(f"the {word} frame at {offset} does not decompress") from None
        need(len(body) <= FRAME_CAP, "a frame is larger than 4 MiB")
        return body

    @functools.cached_property
    def directory(self):
        reader = Reader(self.frame(128, self.dir_len, DIRECTORY))
        directory = reader.cbor()
        need(isinstance(directory, dict) and not reader.more(), "its directory is not one CBOR map")
        need(list(directory) == sorted(directory), "its directory's keys are not in order")
        need(all(key < 64 for key in directory), "its directory has a mandatory key of a newer format")
        lengths = [frame[0] for frame in directory.get(8, [])] + directory.get(9, [])
        need(128 + self.dir_len + sum(lengths) == self.head_len, "its directory contradicts its header")
        return directory

    def records(self):
        """Its records in path order."""
        with self.naming():
            at, last = 128 + self.dir_len, None
            for length, first, count in self.directory.get(8, []):
                reader, path, paths = Reader(self.frame(at, length, META)), b"", []
                while reader.more():
                    op, shared, suffix, body = reader.byte(), reader.varint(), reader.bytes(), Reader(reader.bytes())
                    need(shared <= len(path), "a path shares more than there is")
                    path = path[:shared] + suffix
                    check_path(path)
                    need(last is None or order(last) < order(path), "its records are not in order")
                    last = path
                    paths.append(path)
                    yield path, op, self.change(op, body)
                    need(not body.more(), f"the record of {path!r} has bytes too many")
                need(len(paths) == count and paths[:1] == [first], "a frame does not hold the records its directory lists")
                at += length

    def change(self, op, body):
        """The entry a record's body makes; None for a delete."""
        need(op in (0, 1, 2), f"record operation {op} is unknown: newer than this reader")
        if op == 0:
            return None
        kind = chr(body.byte()) if op == 1 else "f"
        need(kind in "fdlp", f"entry type {kind!r} is unknown: newer than this reader")
        entry = Entry(kind, body.varint(), body.varint(), body.varint(), body.zigzag(), body.varint())
        need(entry.mode <= 0o7777 and max(entry.uid, entry.gid) < 1 << 32 and entry.nanos < 10**9, "an attribute is out of range")
        if kind == "f":
            entry.size, entry.hash = body.varint(), body.take(16)
            (self.content if op == 1 else self.patch)(body, entry)
        elif kind == "l":
            entry.target = body.bytes()
        last = 0
        while body.more():
            tag, value = body.varint(), body.bytes()
            need(last < tag < 64, "its extras are not in order, or newer than this reader")
            last = tag
            if tag in (1, 2, 3):
                entry.extras[tag] = value
        need(len(entry.extras.get(1, bytes(16))) == 16 and not entry.extras.get(3), "an extra has a wrong length")
        return entry

    def content(self, body, entry):
        form, size = body.byte(), entry.size
        need(form < 4, f"content form {form} is unknown: newer than this reader")
        need(form == 3 or (form == 0) == (size == 0), "an empty file has content, or another has none")
        if form < 2:
            need(size <= 128, "content inside a record is longer than 128 bytes")
            entry.form, entry.data = "literal", body.take(size)
        elif form == 2:
            ref = self.ref(body)
            need(ref is not None, "content refers to a hole")
            entry.form, entry.data = "slice", ((ref, self.offset(body, ref), body.varint()), body.varint())
        else:
            entry.form, entry.log2, entry.data = "blocks", body.byte(), []
            total = block_count(entry)
            for _ in range(body.varint()):
                entry.data += self.run(body, total - len(entry.data))
            need(len(entry.data) == total, "a file has fewer blocks than its size says")

    def patch(self, body, entry):
        entry.form, entry.log2, entry.data = "patch", body.byte(), {}
        total, end = block_count(entry), 0
        for _ in range(body.varint()):
            first = body.varint()
            need(end <= first <= total, "a patch's blocks are not in order")
            blocks = self.run(body, total - first)
            end = first + len(blocks)
            entry.data.update(zip(range(first, end), blocks))

    def run(self, body, limit):
        ref, count = self.ref(body), body.varint()
        need(1 <= count <= limit, "a run has too many or no blocks")
        if ref is None:
            return [None] * count
        at, form = self.offset(body, ref), body.byte()
        need(form in (0, 1), f"run form {form} is unknown: newer than this reader")
        same, blocks = body.varint() if form else None, []
        for _ in range(count):
            length = same if form else body.varint()
            blocks.append((ref, at, length))
            at += length
        return blocks

    def ref(self, body):
        number = body.varint()
        if number < 2:
            return self.id if number else None
        table = self.directory.get(10, [])
        need(number - 2 < len(table), "a reference lies outside the object table")
        return tuple(table[number - 2][:3])

    def offset(self, body, ref):
        return body.varint() + (self.head_len if ref == self.id else 0)


class Naming:
    """Puts the object's name before what is wrong with it."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _):
        if kind and issubclass(kind, (Damage, ValueError, KeyError, TypeError, IndexError)):
            if kind is Damage and str(error).startswith(("log/", "obj/", "fork/", "keys/", "vault.json")):
                return False
            raise Damage(f"{self.name}: {error if kind is Damage else f'it is malformed ({error!r})'}") from None


class Entry:
    """What a record says about a path. `form` and `data`: literal, the bytes; slice, (place, inner); blocks, a list of
    places; patch, places by number. A place is (object, offset, stored length), None a hole."""

    def __init__(self, kind, mode, uid, gid, seconds, nanos):
        self.kind, self.mode, self.uid, self.gid, self.seconds, self.nanos = kind, mode, uid, gid, seconds, nanos
        self.size, self.hash, self.form, self.log2, self.data, self.target, self.extras = 0, b"", "", 0, None, b"", {}

    def patched(self, old):
        """This patch applied to the entry before it."""
        need(old and old.form == "blocks" and old.log2 == self.log2, "a patch does not fit the file it changes")
        total = block_count(self)
        need(all(number in self.data for number in range(len(old.data), total)), "a patch does not fit the file it changes")
        self.data = [self.data[n] if n in self.data else old.data[n] for n in range(total)]
        self.form = "blocks"
        return self

    def logical(self, path):
        zigzag = self.seconds * 2 if self.seconds >= 0 else -self.seconds * 2 - 1
        out = sized(path) + self.kind.encode() + b"".join(map(varint, (self.mode, self.uid, self.gid, zigzag, self.nanos)))
        out += {"f": varint(self.size) + self.hash, "l": sized(self.target)}.get(self.kind, b"")
        return out + b"".join(varint(tag) + sized(self.extras[tag]) for tag in sorted(self.extras))


def order(path):
    return path.replace(b"/", b"\0")


def check_path(path):
    names = all(0 < len(name) <= 255 and name not in (b".", b"..") for name in path.split(b"/"))
    need(names and len(path) <= 65536 and b"\0" not in path, f"the path {path[:99]!r} is not allowed")


def block_count(entry):
    need(12 <= entry.log2 <= 22, "a block size is out of range")
    count = (entry.size + (1 << entry.log2) - 1) >> entry.log2
    need(count <= MAX_BLOCKS, "a file has too many blocks")
    return count

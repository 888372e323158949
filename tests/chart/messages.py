"""Looks up in the program's sources what docs/injector.md says that it says: messages.py PAGE SOURCES.

Quoted words in the first column of the tables of the last chapter are the program's; `…` stands for what differs. Words without
quotation marks are Kubernetes' own.
"""

import pathlib
import re
import sys


def main():
    page, sources = map(pathlib.Path, sys.argv[1:])
    text = "\n".join(file.read_text() for file in sorted(sources.rglob("*.rs")))
    # A text that goes on in the next line of the source is one text, and so are doubled braces one brace.
    text = re.sub(r"\\\n\s*", "", text).replace("{{", "{").replace("}}", "}").replace('\\"', '"')
    chapter = page.read_text().split("\n## When something is wrong\n")[1]
    quoted = [words for row in re.findall(r"^\| (.*?) \| ", chapter, re.M) for words in re.findall(r"`([^`]+)`", row)]
    # What a sentence of Kubernetes names is not ours either.
    parts = [part.strip() for words in quoted if not words.startswith("Init:") for part in words.split("…") if len(part.strip()) > 2]
    missing = [part for part in parts if part not in text]
    for part in missing:
        print(f"{page}: no program says: {part}", file=sys.stderr)
    print(f"{len(parts)} messages, {len(missing)} that nothing says")
    sys.exit(bool(missing) or len(parts) < 20)


main()

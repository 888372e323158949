"""The page of the examples, followed literally."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from kube import expect
from scene import BINARY, EXAMPLES, IMAGE

SPACE = "volume-demo"


def followed(_stage):
    """Each command of examples/k8s/README.md, as it stands there"""
    page = (EXAMPLES / "README.md").read_text().split("## The files")[0]
    blocks = re.findall(r"```sh\n(.*?)```", page, re.S)
    expect(len(blocks) == 6, f"the page has {len(blocks)} blocks of commands")
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        shutil.copytree(EXAMPLES, place / "examples" / "k8s")
        for file in (place / "examples" / "k8s").glob("*.yaml"):
            file.write_text(file.read_text().replace("volume-syncing-controller:dev", IMAGE))
        environment = {**os.environ, "PATH": f"{pathlib.Path(BINARY).parent}:{os.environ['PATH']}"}
        printed = []
        for block in blocks:
            done = subprocess.run(
                ["bash", "-euc", block], cwd=place, env=environment, capture_output=True, text=True, timeout=150, stdin=subprocess.DEVNULL
            )
            expect(done.returncode == 0, f"`{block.strip()}` ended with {done.returncode}: {done.stderr.strip()[-600:]}")
            printed.append(done.stdout)
    expect("I was here" in printed[3], f"the next Pod said: {printed[3]}")
    expect("sync: all is well" in printed[4], f"the sidecar said: {printed[4]}")
    return f"{sum(block.count('kubectl') for block in blocks)} commands; the next Pod said: {printed[3].strip().splitlines()[-1]}"


PROOFS = [(followed, 240)]

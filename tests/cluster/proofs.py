#!/usr/bin/env python3
"""Runs the proofs on the cluster of KUBECONFIG, several at a time: proofs.py [WORD…] takes those whose name has a word.

VSC_BINARY is the program, for making keys; IMAGE its image on the nodes. `run` in this folder sets both.
"""
import concurrent.futures
import os
import sys
import threading
import time
import traceback

import ending
import injector
import kube
import memory
import node
import outage
import page
import probes
import refusals
import scene
import store
import survival

SUBJECTS = [injector, survival, ending, outage, refusals, probes, memory, page]
AT_A_TIME = int(os.environ.get("AT_A_TIME", "5"))
print_lock = threading.Lock()


def say(text):
    with print_lock:
        print(text, flush=True)


def prove(name, proof, bound, shared):
    """One proof; whether it held."""
    began = time.monotonic()
    stage = None
    try:
        stage = scene.Scene(name, shared)
        seen = proof(stage)
        took = time.monotonic() - began
        kube.expect(took <= bound, f"it took {took:.0f} s, more than {bound} s")
        say(f"ok      {took:5.1f} s  {name}: {proof.__doc__}\n                 {seen}")
        return True
    except Exception as error:  # Whatever went wrong, the others are still worth knowing.
        words = str(error) if isinstance(error, kube.Unproven) else traceback.format_exc()
        shown = stage.show() if stage else ""
        say(f"FAILED  {time.monotonic() - began:5.1f} s  {name}: {proof.__doc__}\n                 {words}\n{shown}")
        return False
    finally:
        if stage and not os.environ.get("KEEP"):
            stage.close()


def main(words):
    proofs = [(f"{subject.__name__}-{proof.__name__.replace('_', '-')}", proof, bound) for subject in SUBJECTS for proof, bound in subject.PROOFS]
    proofs = [one for one in proofs if not words or any(word in one[0] for word in words)]
    # The longest first, so that none of them is waited for alone.
    proofs.sort(key=lambda one: -one[2])
    kube.kubectl("get", "--raw", "/readyz")
    node.prepare()
    shared = store.Store(f"{kube.RUN}-store", scene.example("minio.yaml"))
    began = time.monotonic()
    try:
        with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
            held = list(pool.map(lambda one: prove(*one, shared), proofs))
    finally:
        if not os.environ.get("KEEP"):
            shared.close()
            node.clear()
    say(f"\ncluster: {sum(held)} proofs held, {len(held) - sum(held)} failed, {time.monotonic() - began:.0f} s")
    return 0 if held and all(held) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

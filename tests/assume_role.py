#!/usr/bin/env python3
"""Temporary keys with no more rights than a policy gives: assume_role.py ENDPOINT < POLICY (keys from the environment).

Prints access key, secret key and session token, a line each. Only the standard library; keys as make_bucket.py reads them.
"""
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

from make_bucket import signed


def assume_role(endpoint, policy, access_key, secret_key):
    fields = {"Action": "AssumeRole", "Version": "2011-06-15", "DurationSeconds": "3600", "Policy": policy}
    body = urllib.parse.urlencode(fields).encode()
    request = signed("POST", endpoint + "/", access_key, secret_key, body=body, service="sts")
    request.add_header("Content-Type", "application/x-www-form-urlencoded")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as error:
        raise SystemExit(f"no temporary keys from {endpoint}: {error.code} {error.read().decode(errors='replace')}") from None
    return [re.search(f"<{name}>([^<]+)</{name}>", text).group(1) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    print("\n".join(assume_role(sys.argv[1], sys.stdin.read(), os.environ["IT_S3_ACCESS_KEY"], os.environ["IT_S3_SECRET_KEY"])))

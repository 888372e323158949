#!/usr/bin/env python3
"""Creates a bucket with nothing but the standard library: make_bucket.py ENDPOINT BUCKET (keys from the environment).

The keys are read from IT_S3_ACCESS_KEY and IT_S3_SECRET_KEY. A bucket that is already ours is fine.
"""
import datetime
import hashlib
import hmac
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request


def signed(method, url, access_key, secret_key, region="us-east-1", body=b"", service="s3"):
    """A request, signed with AWS Signature Version 4."""
    host = urllib.parse.urlsplit(url).netloc
    path = urllib.parse.urlsplit(url).path or "/"
    query = urllib.parse.urlsplit(url).query
    digest = hashlib.sha256(body).hexdigest()
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    headers = f"host:{host}\nx-amz-content-sha256:{digest}\nx-amz-date:{stamp}\n"
    names = "host;x-amz-content-sha256;x-amz-date"
    canonical = "\n".join([method, path, query, headers, names, digest])
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + secret_key).encode()
    for part in (stamp[:8], region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    request = urllib.request.Request(url, data=body or None, method=method)
    request.add_header("x-amz-content-sha256", digest)
    request.add_header("x-amz-date", stamp)
    request.add_header("Authorization", f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}")
    return request


def make_bucket(endpoint, bucket, access_key, secret_key):
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(signed("PUT", f"{endpoint}/{bucket}", access_key, secret_key), timeout=10).close()
            return
        except urllib.error.HTTPError as error:
            answer = error.read().decode(errors="replace")
            if "BucketAlreadyOwnedByYou" in answer:
                return
            # A store may say that it is ready a moment before it is.
            if error.code != 503 or time.monotonic() > deadline:
                raise SystemExit(f"cannot create bucket {bucket} at {endpoint}: {error.code} {answer}") from None
            time.sleep(0.2)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    make_bucket(sys.argv[1], sys.argv[2], os.environ["IT_S3_ACCESS_KEY"], os.environ["IT_S3_SECRET_KEY"])

"""Makes a container in an Azure store: make_container.py ENDPOINT ACCOUNT KEY CONTAINER, signed with the account's key."""

import base64
import email.utils
import hashlib
import hmac
import sys
import urllib.parse
import urllib.request

endpoint, account, key, container = sys.argv[1:]
date, version = email.utils.formatdate(usegmt=True), "2021-12-02"
path = urllib.parse.urlparse(endpoint).path + "/" + container
headers = f"x-ms-date:{date}\nx-ms-version:{version}\n"
signed = "PUT" + "\n" * 12 + headers + f"/{account}{path}\nrestype:container"
signature = base64.b64encode(hmac.new(base64.b64decode(key), signed.encode(), hashlib.sha256).digest()).decode()
request = urllib.request.Request(f"{endpoint}/{container}?restype=container", method="PUT")
for name, value in {"x-ms-date": date, "x-ms-version": version, "Authorization": f"SharedKey {account}:{signature}"}.items():
    request.add_header(name, value)
urllib.request.urlopen(request, timeout=10).close()

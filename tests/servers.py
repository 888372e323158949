"""Small servers for the tests, on a port of the kernel's choice that is printed first.

    servers.py webdav FOLDER    WsgiDAV, user `me` with the password `made-up-password`
    servers.py ftp FOLDER       pyftpdlib, the same user, and `blind`, who may only list
    servers.py ftps FOLDER PEM  the same after AUTH TLS, with the certificate and key of a file
    servers.py ftps-first FOLDER PEM    the same with TLS from the first byte
    servers.py swift            Swift and its Keystone in memory: as documented, and each token is good for 40 requests, where one
                                that sends a part counts as 15. /names are the names of all objects
    servers.py http FOLDER      Python's own file server with its index pages
"""

import functools
import http.server
import sys


def webdav(folder):
    from cheroot import wsgi
    from wsgidav.wsgidav_app import WsgiDAVApp

    config = {
        "provider_mapping": {"/dav": folder},
        "simple_dc": {"user_mapping": {"*": {"me": {"password": "made-up-password"}}}},
        "http_authenticator": {"accept_basic": True, "accept_digest": False, "default_to_digest": False},
        "logging": {"enable": False},
        "verbose": 0,
    }
    server = wsgi.Server(("127.0.0.1", 0), WsgiDAVApp(config), numthreads=40)
    server.prepare()
    print(server.bind_addr[1], flush=True)
    server.serve()


def ftp(folder):
    from pyftpdlib.handlers import FTPHandler

    serve_ftp(folder, FTPHandler)


def ftps(folder, pem):
    from pyftpdlib.handlers import TLS_FTPHandler

    serve_ftp(folder, TLS_FTPHandler, certfile=pem, tls_control_required=True, tls_data_required=True)


def ftps_first(folder, pem):
    from pyftpdlib.handlers import TLS_FTPHandler

    class First(TLS_FTPHandler):
        def handle(self):
            self.secure_connection(self.ssl_context)

        def handle_ssl_established(self):
            TLS_FTPHandler.handle(self)

    serve_ftp(folder, First, certfile=pem, tls_control_required=True, tls_data_required=True)


def serve_ftp(folder, protocol, **options):
    import logging

    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.servers import FTPServer

    logging.disable(logging.CRITICAL)
    authorizer = DummyAuthorizer()
    authorizer.add_user("me", "made-up-password", folder, perm="elradfmwMT")
    authorizer.add_user("blind", "made-up-password", folder, perm="el")
    handler = type("Handler", (protocol,), {"authorizer": authorizer, "auth_failed_timeout": 0.1, **options})
    server = FTPServer(("127.0.0.1", 0), handler)
    print(server.socket.getsockname()[1], flush=True)
    server.serve_forever()


def swift():
    import hashlib
    import json
    import threading
    import urllib.parse

    objects, tokens, lock = {}, {}, threading.Lock()

    def md5(data):
        return hashlib.md5(data).hexdigest()

    class Whole:
        manifest = None

        def __init__(self, body):
            self.body, self.tag, self.listed, self.size = body, md5(body), md5(body), len(body)

        def read(self):
            return self.body

    class Large:
        """An object in parts: a listing has the tag of its manifest, the object itself that of its parts, in quotes."""

        def __init__(self, parts):
            self.names = [part["path"].removeprefix("container/") for part in parts]
            found = [objects[name] for name in self.names]
            # What is not said of a part may be anything.
            if any(part.get("etag", there.tag) != there.tag or part.get("size_bytes", there.size) != there.size for part, there in zip(parts, found)):
                raise ValueError("a part is not what was said of it")
            named = [{"name": f"/container/{name}", "hash": there.tag, "bytes": there.size} for name, there in zip(self.names, found)]
            self.manifest = json.dumps(named).encode()
            self.listed, self.size = md5(self.manifest), sum(there.size for there in found)
            self.tag = '"' + md5("".join(there.tag for there in found).encode()) + '"'

        def read(self):
            found = [objects.get(name) for name in self.names]
            return b"".join(there.read() for there in found) if all(found) else None

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status, body=b"", **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            if status != 204:
                self.send_header("Content-Length", headers.get("length", str(len(body))))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def body(self):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def token(self):
            with lock:
                # More than are under way at once.
                tokens[f"token-{len(tokens)}"] = 40
                return f"token-{len(tokens) - 1}"

        def store(self):
            return f"http://127.0.0.1:{self.server.server_port}/v1/AUTH_p"

        def do_POST(self):
            question = json.loads(self.body())["auth"]
            expires = "2099-01-01T00:00:00.000000Z"
            if self.path == "/v3/auth/tokens":
                identity = question["identity"]
                if identity["methods"] == ["password"]:
                    user = identity["password"]["user"]
                    good = user == {"name": "me", "domain": {"name": "Default"}, "password": "made-up-password"}
                    good &= question.get("scope") == {"project": {"name": "p", "domain": {"name": "Default"}}}
                else:
                    credential = identity["application_credential"]
                    good = credential == {"id": "c", "secret": "made-up-password"} and "scope" not in question
                if not good:
                    return self.answer(401, b"{}")
                ends = [{"interface": "public", "region": name, "url": url} for name, url in (("far", "http://far"), ("here", self.store()))]
                catalog = [{"type": "identity", "endpoints": []}, {"type": "object-store", "endpoints": ends}]
                body = json.dumps({"token": {"expires_at": expires, "catalog": catalog}}).encode()
                return self.answer(201, body, X_Subject_Token=self.token())
            if self.path == "/v2.0/tokens":
                if question != {"passwordCredentials": {"username": "me", "password": "made-up-password"}, "tenantName": "p"}:
                    return self.answer(401, b"{}")
                ends = [{"region": "far", "publicURL": "http://far"}, {"region": "here", "publicURL": self.store()}]
                access = {"token": {"id": self.token(), "expires": expires}, "serviceCatalog": [{"type": "object-store", "endpoints": ends}]}
                return self.answer(200, json.dumps({"access": access}).encode())
            return self.answer(404)

        def key(self):
            """The container's path and the key, or nothing where an answer was given already."""
            path = urllib.parse.unquote(self.path.split("?")[0])
            cost = 15 if self.command == "PUT" and "/.segments/" in path else 1
            with lock:
                left = tokens.get(self.headers.get("X-Auth-Token"), 0)
                tokens[self.headers.get("X-Auth-Token")] = left - cost
            if left <= 0:
                return self.answer(401)
            if not path.startswith("/v1/AUTH_p/container/"):
                return self.answer(404)
            return path.removeprefix("/v1/AUTH_p/container/")

        def do_GET(self):
            if self.path == "/auth/v1.0":
                given = (self.headers.get("X-Auth-User"), self.headers.get("X-Auth-Key"))
                if given != ("me", "made-up-password"):
                    return self.answer(401)
                return self.answer(200, X_Auth_Token=self.token(), X_Storage_Url=self.store())
            if self.path == "/names":
                return self.answer(200, "\n".join(sorted(objects)).encode())
            key = self.key()
            if key is None:
                return None
            if key == "":
                return self.list()
            if key not in objects:
                return self.answer(404)
            there = objects[key]
            about = {"X_Static_Large_Object": "True"} if there.manifest else {}
            if there.manifest and "multipart-manifest=get" in self.path:
                return self.answer(200, there.manifest, ETag=there.listed, **about)
            whole, tag = there.read(), there.tag
            if whole is None:
                return self.answer(409)
            asked = self.headers.get("Range")
            if asked and self.command == "GET":
                first, last = asked.removeprefix("bytes=").split("-")
                first, last = int(first), min(int(last or len(whole)), len(whole) - 1)
                if first >= len(whole):
                    return self.answer(416)
                return self.answer(206, whole[first : last + 1], ETag=tag, Content_Range=f"bytes {first}-{last}/{len(whole)}")
            return self.answer(200, whole, ETag=tag, Last_Modified="Thu, 01 Jan 2026 00:00:00 GMT", **about)

        do_HEAD = do_GET

        def list(self):
            asked = dict(urllib.parse.parse_qsl(self.path.split("?")[1]))
            prefix, delimiter, marker = (asked.get(name, "") for name in ("prefix", "delimiter", "marker"))
            found = {}
            for key in sorted(objects):
                rest = key.removeprefix(prefix)
                if key.startswith(prefix) and delimiter and delimiter in rest:
                    below = prefix + rest.split(delimiter)[0] + delimiter
                    found[below] = {"subdir": below}
                elif key.startswith(prefix):
                    there = objects[key]
                    found[key] = {"name": key, "bytes": there.size, "hash": there.listed, "last_modified": "2026-01-01T00:00:00.000000"}
            names = [name for name in sorted(found) if name > marker][: int(asked.get("limit", 7))]
            return self.answer(200, json.dumps([found[name] for name in names]).encode())

        def do_PUT(self):
            body, key = self.body(), self.key()
            if key is None:
                return None
            try:
                objects[key] = Large(json.loads(body)) if "multipart-manifest=put" in self.path else Whole(body)
            except (KeyError, ValueError):
                return self.answer(400)
            return self.answer(201, ETag=objects[key].tag)

        def do_DELETE(self):
            key = self.key()
            if key is not None:
                self.answer(204 if objects.pop(key, None) is not None else 404)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def plain(folder):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    print(server.server_port, flush=True)
    server.serve_forever()


{"webdav": webdav, "ftp": ftp, "ftps": ftps, "ftps-first": ftps_first, "swift": swift, "http": plain}[sys.argv[1]](*sys.argv[2:])

"""Small servers for the tests, on a port of the kernel's choice that is printed first.

    servers.py webdav FOLDER    WsgiDAV, user `me` with the password `made-up-password`
    servers.py ftp FOLDER       pyftpdlib, the same user, and `blind`, who may only list
    servers.py ftps FOLDER PEM  the same after AUTH TLS, with the certificate and key of a file
    servers.py ftps-first FOLDER PEM    the same with TLS from the first byte
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


def plain(folder):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    print(server.server_port, flush=True)
    server.serve_forever()


{"webdav": webdav, "ftp": ftp, "ftps": ftps, "ftps-first": ftps_first, "http": plain}[sys.argv[1]](*sys.argv[2:])

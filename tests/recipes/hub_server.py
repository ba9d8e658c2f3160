"""A Hugging Face hub on this machine: the part of its API that models are fetched by, and the faults that networks and hubs have.

Two servers, as there: the hub answers /api/models and /resolve, and sends on to a store on another port for what lies in LFS."""

import base64
import contextlib
import hashlib
import http.server
import json
import pathlib
import select
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse

LFS = (".gguf", ".safetensors", ".bin")


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Repository:
    """Files by name, at one commit that its branches mean."""

    def __init__(self, files, branches=("main",), token=None, gated=False):
        self.files = files
        self.commit = hashlib.sha1(json.dumps(sorted((name, sha256(data)) for name, data in files.items())).encode()).hexdigest()
        self.branches, self.token, self.gated = branches, token, gated

    def siblings(self, hashes):
        for name, data in sorted(self.files.items()):
            entry = {"rfilename": name}
            if hashes:
                entry |= {"size": len(data), "blobId": git_sha1(data)}
                if name.endswith(LFS):
                    entry["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 130}
            yield entry

    def tree(self):
        """As huggingface_hub asks for it."""
        for entry in self.siblings(True):
            lfs = {"lfs": {"oid": entry["lfs"]["sha256"], "size": entry["size"], "pointerSize": 130}} if "lfs" in entry else {}
            yield {"type": "file", "path": entry["rfilename"], "size": entry["size"], "oid": entry["blobId"], **lfs}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub = self.server.hub
        hub.requests.append((self.server.name, self.command, self.path, dict(self.headers)))
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            (self.store if self.server.name == "store" else self.hub)(hub, urllib.parse.unquote(self.path.split("?")[0]))

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code):
        self.answer(status, json.dumps({"error": code}).encode(), X_Error_Code=code, X_Error_Message=f"refused: {code}")

    def hub(self, hub, path):
        """The list of files, or one file: its own bytes, or where the store has them."""
        if hub.take("hub", self):
            return
        parts = path.strip("/").split("/")
        name = "/".join(parts[2:4] if parts[0] == "api" else parts[:2])
        repository = hub.repositories.get(name)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repository is None or (repository.token and token != repository.token and not repository.gated):
            return self.refuse(404 if token else 401, "RepoNotFound")
        if parts[0] == "api" and parts[4] == "tree":
            return self.answer(200, json.dumps(list(repository.tree())).encode(), Content_Type="application/json")
        revision = path.split("/revision/" if parts[0] == "api" else "/resolve/")[1]
        if parts[0] != "api":
            revision, file = revision.split("/", 1)
        if revision not in (*repository.branches, repository.commit):
            return self.refuse(404, "RevisionNotFound")
        if parts[0] == "api":
            listing = {"id": name, "sha": repository.commit, "siblings": list(repository.siblings(hub.lists_hashes)), "gated": repository.gated}
            return self.answer(200, json.dumps(listing).encode(), Content_Type="application/json")
        if repository.gated and token != repository.token:
            return self.refuse(403 if token else 401, "GatedRepo")
        if file not in repository.files:
            return self.refuse(404, "EntryNotFound")
        data = repository.files[file]
        if not file.endswith(LFS):
            return self.answer(200, data, ETag=f'"{git_sha1(data)}"', X_Repo_Commit=repository.commit)
        digest = sha256(data)
        hub.store[digest] = data
        where = f"{hub.store_url}/{digest}?signature=a%2Bb+c"
        return self.answer(302, Location=where, X_Linked_ETag=f'"{digest}"', X_Linked_Size=str(len(data)), X_Repo_Commit=repository.commit)

    def store(self, hub, path):
        data, begin = hub.store[path.strip("/")], 0
        asked = self.headers.get("Range", "")
        if "Authorization" in self.headers or not self.path.endswith("?signature=a%2Bb+c"):
            return self.answer(400)
        if asked and hub.ranges:
            begin = int(asked.removeprefix("bytes=").rstrip("-"))
            if begin >= len(data):
                return self.answer(416)
        if hub.take("store", self, data[begin:], begin if asked and hub.ranges else None):
            return None
        if begin:
            return self.answer(206, data[begin:], Content_Range=f"bytes {begin}-{len(data) - 1}/{len(data)}")
        return self.answer(200, data)


def status(code, **headers):
    """Answers with this status."""
    return lambda handler, *_: handler.answer(code, b"", **headers)


def body(text):
    return lambda handler, *_: handler.answer(200, text)


def piece(count, then=lambda handler: None, length=None):
    """Sends the first `count` bytes of what was asked for, says that it were all (or `length`), and then?"""

    def fault(handler, data=b"", begin=None):
        headers = {"Content_Length": str(len(data) if length is None else length)}
        if begin is not None:
            headers["Content_Range"] = f"bytes {begin}-{begin + len(data) - 1}/{begin + len(data)}"
        handler.answer(200 if begin is None else 206, data[:count], **headers)
        handler.wfile.flush()
        then(handler)
        handler.close_connection = True

    return fault


def other_bytes(handler, data=b"", begin=None):
    piece(len(data), length=len(data))(handler, bytes([data[0] ^ 1]) + data[1:], begin)


def more_bytes(handler, data=b"", begin=None):
    piece(len(data) + 5)(handler, data + b"extra", begin)


def chunked(handler, data=b"", begin=None):
    handler.answer(200, **{"Transfer_Encoding": "chunked", "Content_Length": "3"})
    for at in range(0, len(data), 7000):
        part = data[at : at + 7000]
        handler.wfile.write(b"%x;extension\r\n%s\r\n" % (len(part), part))
    handler.wfile.write(b"0\r\n\r\n")


def without_length(handler, data=b"", begin=None):
    handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + data)
    handler.close_connection = True


def dribble(handler):
    for _ in range(200):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.1)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub, name):
        super().__init__(("127.0.0.1", 0), Handler)
        self.hub, self.name = hub, name

    def handle_error(self, *_):
        pass


class Hub:
    """Serves `repositories` until it is closed. `faults["store"]`: what goes wrong with the next requests to the store, in order; None: nothing."""

    def __init__(self, certificate=None):
        self.repositories, self.store, self.requests = {}, {}, []
        self.faults = {"hub": [], "store": []}
        self.ranges = self.lists_hashes = True
        self.servers = [Server(self, "hub"), Server(self, "store")]
        for server in self.servers:
            if certificate:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*certificate)
                server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        scheme = "https" if certificate else "http"
        self.url, self.store_url = (f"{scheme}://127.0.0.1:{server.server_port}" for server in self.servers)

    def take(self, server, handler, *what):
        fault = self.faults[server].pop(0) if self.faults[server] else None
        if fault is not None:
            fault(handler, *what)
        return fault is not None

    def asked(self, server):
        return [path for name, _, path, _ in self.requests if name == server]

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()


class Proxy(http.server.ThreadingHTTPServer):
    """Connects to where CONNECT says, when the caller has its name and password."""

    daemon_threads = True

    def __init__(self, credentials=""):
        super().__init__(("127.0.0.1", 0), Tunnel)
        self.credentials, self.asked = credentials, []
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class Tunnel(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_CONNECT(self):
        self.server.asked.append(self.path)
        if self.server.credentials:
            given = self.headers.get("Proxy-Authorization", "").removeprefix("Basic ")
            if base64.b64decode(given).decode() != self.server.credentials:
                return self.send_error(407)
        host, port = self.path.rsplit(":", 1)
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200, "Connection established")
            self.end_headers()
            sides = {self.connection: there, there: self.connection}
            while True:
                for side in select.select(list(sides), [], [])[0]:
                    data = side.recv(65536)
                    if not data:
                        self.close_connection = True
                        return None
                    sides[side].sendall(data)


def certificate(folder):
    """A certificate of 127.0.0.1 that signs itself. -> (certificate, key)"""
    made = pathlib.Path(folder) / "certificate.pem", pathlib.Path(folder) / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-out", made[0], "-keyout", made[1]], check=True, capture_output=True)
    return made

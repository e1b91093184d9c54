"""An API for tools: a git repository, an index of Python packages, and a registry of npm packages. All want a token."""

import base64
import hashlib
import io
import json
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, request

from credential_injector.demo.servers import DemoAuthorizationServer

WHEEL = "goods-1.0-py3-none-any.whl"
_WHEEL_FILES = {
    "goods.py": "",
    "goods-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: goods\nVersion: 1.0\n",
    "goods-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "goods-1.0.dist-info/RECORD": "",
}


def api(authorization_server: DemoAuthorizationServer, folder: Path) -> Flask:
    """The API. The repository is made in the folder."""
    app = Flask("API for tools")
    _make_repository(folder / "goods.git")
    wheel, tarball = _wheel(), _tarball()

    @app.before_request
    def check() -> Any:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer" and token in authorization_server.tokens:
            return None
        return "", 401, {"WWW-Authenticate": "Bearer"}

    @app.route("/orders", methods=["GET", "POST"])
    @app.get("/orders/1")
    @app.get("/health")
    def orders() -> Any:
        return jsonify(number=1, bytes=len(request.get_data()))

    @app.route("/goods.git/<path:path>", methods=["GET", "POST"])
    def git(path: str) -> Any:
        return _git(folder, path)

    @app.get("/simple/goods/")
    def index() -> Any:
        return f'<!DOCTYPE html><a href="../{WHEEL}">{WHEEL}</a>'

    @app.get(f"/simple/{WHEEL}")
    def of_the_index() -> Any:
        return Response(wheel, content_type="application/zip")

    @app.get("/npm/<scheme>/goods")
    def registry(scheme: str) -> Any:
        url = f"{scheme}://{request.host}/npm/{scheme}/goods.tgz"  # npm takes no relative one
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
        version = {"name": "goods", "version": "1.0.0", "dist": {"tarball": url, "integrity": integrity}}
        return jsonify({"name": "goods", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}})

    @app.get("/npm/<scheme>/goods.tgz")
    def of_the_registry(scheme: str) -> Any:
        return Response(tarball, content_type="application/octet-stream")

    return app


def _make_repository(path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", "--bare", str(path)], check=True)
    subprocess.run(["git", "-C", str(path), "config", "http.receivepack", "true"], check=True)


def _git(root: Path, path: str) -> Response:
    """The answer of git's own CGI program (RFC 3875)."""
    body = request.get_data()
    environ = {
        "PATH": os.environ["PATH"],
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/goods.git/{path}",
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.query_string.decode(),
        "CONTENT_TYPE": request.content_type or "",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
    }
    done = subprocess.run(["git", "http-backend"], input=body, env=environ, capture_output=True, check=True)
    head, _, rest = done.stdout.partition(b"\r\n\r\n")
    parts = [line.partition(": ") for line in head.decode().split("\r\n")]
    headers = [(name, value) for name, _, value in parts]
    status = next((value for name, value in headers if name == "Status"), "200 OK")
    return Response(rest, status, [one for one in headers if one[0] != "Status"])


def _wheel() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in _WHEEL_FILES.items():
            archive.writestr(name, text)
    return file.getvalue()


def _tarball() -> bytes:
    file = io.BytesIO()
    text = json.dumps({"name": "goods", "version": "1.0.0"}).encode()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        info = tarfile.TarInfo("package/package.json")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
    return file.getvalue()

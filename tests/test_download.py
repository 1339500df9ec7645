from __future__ import annotations

import hashlib
import http.server
import io
import threading
import time

import pytest
import requests

from data import checksums, locks
from data import download as downloads
from data.download import UnreachableError, download
from data.errors import UserError

BODY = bytes(range(256)) * 4_000
CHECKSUM = "sha256:" + hashlib.sha256(BODY).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as `server.script` says, one word a request; the last one stays."""

    def do_GET(self):
        script = self.server.script
        word = script.pop(0) if len(script) > 1 else script[0]
        self.server.ranges.append(self.headers.get("Range"))
        if word.isdigit():
            return self.send_error(int(word))
        if word == "slow":
            time.sleep(1.0)
            return None
        if word.startswith(("http", "ftp", "/")):
            self.send_response(302)
            self.send_header("Location", word)
            return self.end_headers()
        if word in ("drip", "drip-headers", "endless"):
            return self.never_end(word)
        start = 0
        if word != "ignore-range" and self.headers.get("Range"):
            start = int(self.headers["Range"].split("=")[1].rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        rest = BODY[start:]
        self.wfile.write(rest[: len(rest) // 3] if word == "short" else rest)
        return None

    def never_end(self, word):
        if word != "drip-headers":
            self.send_response(200)
            self.end_headers()
        block = b"x" * 65_536 if word == "endless" else b"x"
        try:
            while not self.server.closing:
                self.wfile.write(block)
                time.sleep(0.0 if word == "endless" else 0.05)
        except OSError:  # The other side has had enough.
            pass

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.daemon_threads = True
        made.script, made.ranges, made.closing = ["ok"], [], False
        serving = {"poll_interval": 0.01}
        threading.Thread(target=made.serve_forever, kwargs=serving, daemon=True).start()
        yield made
        made.closing = True
        made.shutdown()


def fetch(server, path, script, **kwargs):
    server.script = list(script)
    url = f"http://127.0.0.1:{server.server_address[1]}/file"
    return download(url, path, **{"timeout": 0.4, **kwargs})


def visible(folder):
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]


@pytest.mark.parametrize(
    "script",
    [
        ["ok"],
        ["500", "ok"],
        ["slow", "ok"],
        ["short", "ok"],
        ["short", "ignore-range"],
        ["short", "416", "ok"],
    ],
    ids="-".join,
)
def test_the_whole_file_arrives(server, tmp_path, script):
    path = fetch(server, tmp_path / "file", script, checksum=CHECKSUM)
    assert path.read_bytes() == BODY
    assert visible(tmp_path) == ["file"]


def test_a_short_body_is_gone_on_with_not_begun_again(server, tmp_path):
    fetch(server, tmp_path / "file", ["short", "ok"])
    assert server.ranges == [None, f"bytes={len(BODY) // 3}-"]


def test_a_partial_file_of_an_earlier_run_is_gone_on_with(server, tmp_path):
    (tmp_path / "file.partial").write_bytes(BODY[:1000])
    fetch(server, tmp_path / "file", ["ok"], checksum=CHECKSUM)
    assert server.ranges == ["bytes=1000-"]


@pytest.mark.parametrize("script", [["500"], ["slow"], ["short"]], ids="-".join)
def test_a_server_that_keeps_failing_is_unreachable(server, tmp_path, script):
    with pytest.raises(UnreachableError, match="cannot be reached after 2 attempts"):
        fetch(server, tmp_path / "file", script, retries=1)
    assert not (tmp_path / "file").exists()


def test_404_fails_at_once_and_is_not_unreachable(server, tmp_path):
    with pytest.raises(ValueError, match=r"404.*--source=FILE") as caught:
        fetch(server, tmp_path / "file", ["404"])
    assert not isinstance(caught.value, UnreachableError)
    assert len(server.ranges) == 1


def test_a_wrong_checksum_deletes_the_file(server, tmp_path):
    with pytest.raises(ValueError, match="has the SHA-256") as caught:
        fetch(server, tmp_path / "file", ["ok"], checksum="sha256:" + "0" * 64)
    assert not isinstance(caught.value, UnreachableError)
    assert not visible(tmp_path)


def test_a_cached_file_is_verified_and_not_fetched(server, tmp_path):
    (tmp_path / "file").write_bytes(BODY)
    fetch(server, tmp_path / "file", ["404"], checksum=CHECKSUM)
    assert server.ranges == []
    (tmp_path / "file").write_bytes(BODY[:-1])
    with pytest.raises(ValueError, match="has the SHA-256"):
        fetch(server, tmp_path / "file", ["404"], checksum=CHECKSUM)


def test_nobody_listening_is_unreachable(tmp_path):
    with pytest.raises(UnreachableError, match="no connection"):
        download("http://127.0.0.1:9/file", tmp_path / "file", timeout=0.2, retries=0)


def test_a_damaged_part_is_fetched_again_from_the_start(server, tmp_path):
    (tmp_path / "file.partial").write_bytes(b"damaged" + BODY[7:1000])
    path = fetch(server, tmp_path / "file", ["ok"], checksum=CHECKSUM)
    assert path.read_bytes() == BODY
    assert server.ranges == ["bytes=1000-", None]


def test_a_part_longer_than_the_file_is_fetched_again(server, tmp_path):
    (tmp_path / "file.partial").write_bytes(BODY + b"more")
    path = fetch(server, tmp_path / "file", ["ok"], checksum=CHECKSUM, size=len(BODY))
    assert path.read_bytes() == BODY


def test_without_a_checksum_an_earlier_part_is_not_trusted(server, tmp_path):
    (tmp_path / "file.partial").write_bytes(b"damaged")
    assert fetch(server, tmp_path / "file", ["ok"]).read_bytes() == BODY
    assert server.ranges == [None]


def test_another_size_is_refused_before_it_is_fetched(server, tmp_path):
    with pytest.raises(UserError, match=r"has 1,024,000 bytes, not 1,000"):
        fetch(server, tmp_path / "file", ["ok"], size=1_000)
    assert not visible(tmp_path)


@pytest.mark.parametrize("known", [True, False], ids=["size known", "not known"])
def test_an_endless_server_is_left(server, tmp_path, monkeypatch, known):
    monkeypatch.setattr(downloads, "_MOST_BYTES", 300_000)
    size = 300_000 if known else None
    with pytest.raises(UserError, match=r"does not end: more than 300,000 bytes"):
        fetch(server, tmp_path / "file", ["endless"], size=size)
    assert not (tmp_path / "file").exists()


def test_a_server_that_drips_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "_PATIENCE", 1)
    with pytest.raises(UnreachableError, match=r"too slow, \d+ bytes a second"):
        fetch(server, tmp_path / "file", ["drip"], retries=0)


def test_headers_that_drip_are_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "_PATIENCE", 1)
    with pytest.raises(UnreachableError, match="nothing came for"):
        fetch(server, tmp_path / "file", ["drip-headers"], retries=0)


@pytest.mark.parametrize("target", ["http://127.0.0.1:9/x", "ftp://host/x", "/other"])
def test_a_redirect_away_from_https_is_refused(server, tmp_path, target):
    with pytest.raises(UserError, match=r"HTTPS alone.*It leads to (http|ftp)://"):
        fetch(server, tmp_path / "file", [target])
    assert not visible(tmp_path)


def test_plain_http_to_another_machine_is_refused(tmp_path):
    with pytest.raises(UserError, match="HTTPS alone is spoken here"):
        download("http://files.example/data", tmp_path / "file")


def test_redirects_within_https_are_followed_and_bounded(tmp_path, monkeypatch):
    asked = []

    def get(url, headers, **kwargs):
        asked.append(url)
        response = requests.Response()
        response.raw = io.BytesIO()
        response.status_code = 302
        response.headers["Location"] = f"https://host/{len(asked)}"
        return response

    monkeypatch.setattr(downloads.requests, "get", get)
    with pytest.raises(UserError, match="more than 5 times"):
        download("https://host/0", tmp_path / "file")
    assert asked == [f"https://host/{number}" for number in range(6)]


def test_two_downloads_of_one_file_do_not_mix(server, tmp_path):
    with (
        locks.writing(tmp_path / "file", "downloaded"),
        pytest.raises(UserError, match=r"is being downloaded by process \d+"),
    ):
        fetch(server, tmp_path / "file", ["ok"])


@pytest.mark.parametrize(
    "checksum",
    [
        "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        "md5:5d41402abc4b2a76b9719d911017c592",
        "git-blob:b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0",  # git hash-object
    ],
)
def test_each_kind_of_checksum(tmp_path, checksum):
    path = tmp_path / "file"
    path.write_bytes(b"hello")
    assert checksums.matches(path, checksum)
    path.write_bytes(b"hellO")
    with pytest.raises(UserError, match="It is deleted; nothing was taken"):
        checksums.verify(path, checksum, "The file")
    assert not path.exists()

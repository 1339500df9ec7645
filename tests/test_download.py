from __future__ import annotations

import hashlib
import http.server
import threading
import time
import zipfile

import pytest

from data.download import UnreachableError, download, extract_member

BODY = bytes(range(256)) * 4_000
SHA256 = hashlib.sha256(BODY).hexdigest()


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
        start = 0
        if word != "ignore-range" and self.headers.get("Range"):
            start = int(self.headers["Range"].split("=")[1].rstrip("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(BODY) - start))
        self.end_headers()
        rest = BODY[start:]
        self.wfile.write(rest[: len(rest) // 3] if word == "short" else rest)
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.daemon_threads = True
        made.script, made.ranges = ["ok"], []
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def fetch(server, path, script, **kwargs):
    server.script = list(script)
    url = f"http://127.0.0.1:{server.server_address[1]}/file"
    return download(url, path, **{"timeout": 0.4, **kwargs})


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
    path = fetch(server, tmp_path / "file", script, sha256=SHA256)
    assert path.read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_short_body_is_gone_on_with_not_begun_again(server, tmp_path):
    fetch(server, tmp_path / "file", ["short", "ok"])
    assert server.ranges == [None, f"bytes={len(BODY) // 3}-"]


def test_a_partial_file_of_an_earlier_run_is_gone_on_with(server, tmp_path):
    (tmp_path / "file.partial").write_bytes(BODY[:1000])
    fetch(server, tmp_path / "file", ["ok"], sha256=SHA256)
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
        fetch(server, tmp_path / "file", ["ok"], sha256="0" * 64)
    assert not isinstance(caught.value, UnreachableError)
    assert not list(tmp_path.iterdir())


def test_a_cached_file_is_verified_and_not_fetched(server, tmp_path):
    (tmp_path / "file").write_bytes(BODY)
    fetch(server, tmp_path / "file", ["404"], sha256=SHA256)
    assert server.ranges == []
    (tmp_path / "file").write_bytes(BODY[:-1])
    with pytest.raises(ValueError, match="has the SHA-256"):
        fetch(server, tmp_path / "file", ["404"], sha256=SHA256)


def test_nobody_listening_is_unreachable(tmp_path):
    with pytest.raises(UnreachableError, match="no connection"):
        download("http://127.0.0.1:9/file", tmp_path / "file", timeout=0.2, retries=0)


def make_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def test_a_member_is_taken_out(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"in/data.csv": "1,2"})
    path = extract_member(archive, "in/data.csv", tmp_path / "out.csv")
    assert path.read_text() == "1,2"


@pytest.mark.parametrize("name", ["../evil", "/evil", "in/../../evil"])
def test_a_member_that_would_escape_is_refused(tmp_path, name):
    archive = make_zip(tmp_path / "a.zip", {"in/data.csv": "1,2", name: "x"})
    with pytest.raises(ValueError, match="would leave its folder"):
        extract_member(archive, "in/data.csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_a_damaged_archive_and_a_missing_member_are_said(tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"PK nonsense")
    with pytest.raises(ValueError, match="not a whole zip"):
        extract_member(tmp_path / "bad.zip", "data", tmp_path / "out")
    archive = make_zip(tmp_path / "a.zip", {"other": ""})
    with pytest.raises(ValueError, match="has no member data"):
        extract_member(archive, "data", tmp_path / "out")

"""Files out of archives, good and hostile."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile

import pytest

from data.archives import extract_from_tar, extract_member, extract_only_member
from data.errors import UserError


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
    with pytest.raises(UserError, match="would leave its folder"):
        extract_member(archive, "in/data.csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_a_damaged_archive_and_a_missing_member_are_said(tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"PK nonsense")
    with pytest.raises(UserError, match="not a whole zip"):
        extract_member(tmp_path / "bad.zip", "data", tmp_path / "out")
    archive = make_zip(tmp_path / "a.zip", {"other": ""})
    with pytest.raises(UserError, match="has no member data"):
        extract_member(archive, "data", tmp_path / "out")


def test_the_only_member_is_taken_whatever_its_name(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"in/": "", "in/any.pkl": "abc"})
    assert extract_only_member(archive, tmp_path / "out").read_text() == "abc"


@pytest.mark.parametrize("members", [{}, {"a": "1", "b": "2"}], ids=["none", "two"])
def test_an_archive_of_no_or_several_members_is_refused(tmp_path, members):
    archive = make_zip(tmp_path / "a.zip", members)
    with pytest.raises(UserError, match=rf"has {len(members)} members"):
        extract_only_member(archive, tmp_path / "out")


@pytest.mark.parametrize("name", ["../evil", "/evil", "C:/evil", "in\\..\\..\\evil"])
def test_an_only_member_that_would_escape_is_refused(tmp_path, name):
    archive = make_zip(tmp_path / "a.zip", {name: "x"})
    with pytest.raises(UserError, match="would leave its folder"):
        extract_only_member(archive, tmp_path / "out")


def test_a_zip_bomb_is_left_at_the_bound(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("data", b"0" * 5_000_000)
    assert archive.stat().st_size < 10_000
    with pytest.raises(UserError, match="unpacks to more than 4,000,000 bytes"):
        extract_only_member(archive, tmp_path / "out", most_bytes=4_000_000)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_zip_with_a_flipped_byte_is_said(tmp_path):
    archive = make_zip(tmp_path / "a.zip", {"data": "abc" * 100})
    content = bytearray(archive.read_bytes())
    content[50] ^= 1
    archive.write_bytes(content)
    with pytest.raises(UserError, match="not a whole zip file"):
        extract_only_member(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def make_tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content or b""))
    return path


def test_members_of_a_tar_go_where_they_are_told(tmp_path):
    content = {"../../evil": b"x", "./K/one.csv": b"1", "K/two.csv": b"2"}
    archive = make_tar(tmp_path / "a.tar.gz", content)
    wanted = {"K/one.csv": tmp_path / "one", "K/two.csv": tmp_path / "two"}
    extract_from_tar(archive, wanted)
    assert [path.read_bytes() for path in wanted.values()] == [b"1", b"2"]
    assert not list(tmp_path.parent.parent.glob("evil"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"K/other.csv": b"1"}, "has no member K/one.csv"),
        ({"K/one.csv": None}, "K/one.csv is not a file"),
        ({"K/one.csv": b"0" * 2_000}, "unpacks to more than 1,000 bytes"),
    ],
    ids=["absent", "a link", "too large"],
)
def test_a_tar_that_is_not_the_expected_one_is_refused(tmp_path, content, message):
    archive = make_tar(tmp_path / "a.tar.gz", content)
    with pytest.raises(UserError, match=message):
        extract_from_tar(archive, {"K/one.csv": tmp_path / "one"}, most_bytes=1_000)
    assert not (tmp_path / "one").exists()


@pytest.mark.parametrize("cut", [0.5, 0.9])
def test_half_a_tar_is_said(tmp_path, cut):
    archive = make_tar(tmp_path / "a.tar.gz", {"K/one.csv": bytes(range(256)) * 99})
    content = archive.read_bytes()
    archive.write_bytes(content[: int(cut * len(content))])
    with pytest.raises(UserError, match="not a whole tar file"):
        extract_from_tar(archive, {"K/one.csv": tmp_path / "one"})
    archive.write_bytes(gzip.compress(b"no tar at all"))
    with pytest.raises(UserError, match="not a whole tar file"):
        extract_from_tar(archive, {"K/one.csv": tmp_path / "one"})

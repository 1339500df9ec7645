"""No look at the test instances without a seal, and none that the ledger lacks."""

from __future__ import annotations

import pytest

from harness import ledger


@pytest.fixture
def files(tmp_path):
    """`config.json` and the weights of a run."""
    run_dir = tmp_path / "mgnm" / "seed-1"
    run_dir.mkdir(parents=True)
    config, weights = run_dir / "config.json", run_dir / "model.weights.h5"
    config.write_text('{"seed": 1}')
    weights.write_bytes(b"weights")
    return config, weights


def test_a_run_without_a_seal_is_not_looked_at(files):
    with pytest.raises(ValueError, match="is not sealed"):
        ledger.record_look(*files, "uni1000", "abc")
    assert ledger.looks(files[0].parent.parent) == []


@pytest.mark.parametrize("changed", [0, 1])
def test_a_run_that_was_changed_after_its_seal_is_not_looked_at(files, changed):
    ledger.seal(*files)
    files[changed].write_bytes(b"other")
    with pytest.raises(ValueError, match="are not those that were sealed"):
        ledger.record_look(*files, "uni1000", "abc")
    assert ledger.looks(files[0].parent.parent) == []


def test_a_removed_look_shows(files):
    run_dir = files[0].parent
    ledger.seal(*files)
    assert ledger.last_look(run_dir) == ""
    for what in ("uni1000", "full", "pop1000"):
        ledger.record_look(*files, what, "abc")
    last = ledger.last_look(run_dir)
    assert ledger.has_look(run_dir, last)
    path = run_dir.parent / ledger.LEDGER
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[2])
    with pytest.raises(ValueError, match="line 2 is not as it was written"):
        ledger.looks(run_dir.parent)
    path.write_text(lines[0] + lines[1])  # Of the last line only its hash can tell.
    assert len(ledger.looks(run_dir.parent)) == 2
    assert not ledger.has_look(run_dir, last)


def test_the_ledger_holds_each_look_and_outlives_the_run(files):
    sealed = ledger.seal(*files)
    for what in ("uni1000", "full"):
        ledger.record_look(*files, what, "abc")
    for path in files[0].parent.iterdir():
        path.unlink()
    files[0].parent.rmdir()
    found = ledger.looks(files[0].parent.parent)
    assert [look["what"] for look in found] == ["uni1000", "full"]
    for look in found:
        assert (look["run"], look["commit"]) == ("seed-1", "abc")
        assert look["sealed"] == sealed["time"]
        for key in ("config_sha256", "weights_sha256"):
            assert look[key] == sealed[key]

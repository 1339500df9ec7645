"""One of two workers is killed: the other says so, and both go on where they were."""

from __future__ import annotations

import signal

import pytest

from data import manifest
from harness import ledger, passport, run_folder
from tests.clusters import config, free_addresses
from tests.commands import Running

pytestmark = pytest.mark.slow


def start(data, run_dir, places):
    workers = free_addresses(len(places))
    flags = [
        *("--model=gru4rec", "--dataset=tiny", "--split=leave_one_out"),
        f"--data_dir={data.folder.parent.parent}",
        f"--run_dir={run_dir}",
        *("--strategy=multi_worker", "--seed=3", "--peer_timeout=300"),
        *("--max_epochs=3", "--patience=3", "--batch_size=16", "--max_history=8"),
        "--set=embedding_dim=4",
    ]
    return [
        Running(
            *("tests.killed_worker", place, *flags),
            environment={"TF_CONFIG": config(workers, index=index)},
        )
        for index, place in enumerate(places)
    ]


def finish(processes):
    try:
        ended = [process.finish(timeout=400) for process in processes]
        return [(done.stderr, done.returncode) for done in ended]
    finally:
        for process in processes:
            process.process.kill()


def result(run_dir):
    """What a reader sees of a run, without clocks."""
    ranks = run_folder.read_ranks(run_dir)
    return {
        "metrics": passport.read(run_dir).passport["metrics"],
        "weights": manifest.file_hash(run_dir / run_folder.WEIGHTS),
        "ranks": ranks.sort_values(["protocol", "user"]).to_csv(index=False),
        "names": sorted(path.name for path in run_dir.iterdir()),
        "looks": len(ledger.looks(run_dir.parent)),
    }


@pytest.fixture(scope="module")
def undisturbed(tiny_data, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("undisturbed") / "seed-3"
    for said, code in finish(start(tiny_data, run_dir, ["nowhere", "nowhere"])):
        assert code == 0, said
    return result(run_dir)


@pytest.mark.parametrize(
    ("place", "victim"), [("epoch", 1), ("validation", 0), ("ranking", 1)]
)
def test_a_killed_worker_s_cluster_goes_on_from_its_checkpoint(
    place, victim, undisturbed, tiny_data, tmp_path
):
    run_dir = tmp_path / "seed-3"
    places = [place if index == victim else "nowhere" for index in range(2)]
    ended = finish(start(tiny_data, run_dir, places))
    assert ended[victim][1] == -signal.SIGKILL, ended[victim][0]
    said, code = ended[1 - victim]
    assert code == 1, said
    assert f"error: worker {victim} (127.0.0.1:" in said
    assert "Traceback" not in said
    assert not (run_dir / run_folder.PASSPORT).exists()
    ended = finish(start(tiny_data, run_dir, ["nowhere", "nowhere"]))
    epochs_done = {"epoch": 1, "validation": 1, "ranking": 3}[place]
    for said, code in ended:
        assert code == 0, said
        assert f"Going on after epoch {epochs_done}." in said
    assert result(run_dir) == undisturbed

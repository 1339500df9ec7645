"""Two workers train what one would have trained on their joint batches."""

from __future__ import annotations

import json

import numpy as np
import pytest

from harness import distribution, metrics, run_folder
from tests.clusters import config, free_addresses
from tests.commands import Running


def start(folder, run_dir, output, strategy, **environment):
    arguments = [str(folder), str(run_dir), str(output), strategy]
    return Running("tests.distributed_worker", *arguments, environment=environment)


def finish(process):
    done = process.finish(timeout=240)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def results(tiny_data, tmp_path_factory):
    """(weights, what was found) of a worker alone, and of two together."""
    folder = tmp_path_factory.mktemp("distributed")
    prepared_dir = tiny_data.folder.parent.parent
    alone = start(prepared_dir, folder / "one", folder / "one.npz", "none")
    finish(alone)
    addresses = free_addresses(2)
    workers = [
        start(
            prepared_dir,
            folder / "two",
            folder / f"two-{index}.npz",
            "multi_worker",
            TF_CONFIG=config(addresses, index=index),
        )
        for index in (0, 1)
    ]
    try:
        for process in workers:
            finish(process)
    finally:
        for process in workers:
            process.process.kill()
    names = ["one", "two-0", "two-1"]
    found = {
        name: (
            dict(np.load(folder / f"{name}.npz")),
            json.loads((folder / f"{name}.json").read_text()),
        )
        for name in names
    }
    return folder, found


@pytest.mark.slow
def test_both_workers_end_with_the_same_weights(results):
    _, found = results
    first, second = found["two-0"][0], found["two-1"][0]
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


@pytest.mark.slow
def test_two_workers_train_like_one_on_the_joint_batch(results):
    _, found = results
    one, two = found["one"][1], found["two-0"][1]
    assert (one["replicas"], two["replicas"]) == (1, 2)
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-4)
    for name, value in found["one"][0].items():
        np.testing.assert_allclose(
            found["two-0"][0][name], value, rtol=0.02, atol=1e-3, err_msg=name
        )


@pytest.mark.slow
def test_ranks_are_gathered_not_averaged(results, tiny_data):
    folder, found = results
    assert found["two-0"][1]["metrics"] == found["two-1"][1]["metrics"]
    passport = json.loads((folder / "two" / run_folder.PASSPORT).read_text())
    assert passport["evaluation"]["instances"] == len(tiny_data.instances["test"])
    import pandas as pd

    ranks = pd.read_parquet(folder / "two" / run_folder.RANKS)
    ranks = ranks[ranks["protocol"] == "uni1000"]
    assert sorted(ranks["user"]) == sorted(tiny_data.instances["test"][:, 0])
    recomputed = metrics.instance_metrics(
        metrics.Ranks(
            pessimistic=ranks["rank_pessimistic"].to_numpy(),
            optimistic=ranks["rank_optimistic"].to_numpy(),
            negatives=ranks["candidates"].to_numpy() - 1,
        )
    )
    stored = passport["metrics"]["test"]["uni1000"]["instance"]
    assert stored == pytest.approx(recomputed)


@pytest.mark.slow
def test_only_the_chief_leaves_files(results):
    folder, _ = results
    kept = {path.name for path in (folder / "two").iterdir()}
    assert kept == {path.name for path in (folder / "one").iterdir()}


def test_without_a_cluster_several_machines_are_refused(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="TF_CONFIG"):
        distribution.make_strategy("multi_worker")

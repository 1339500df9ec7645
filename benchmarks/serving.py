"""How fast recommendations are: exact, by an index, and of one exported request.

Example: python -m benchmarks.serving --output=serving

Without --run_dirs, data are drawn from planted interests, and MGNM is trained on them
for some steps: enough for the speed of what always has the same work, but it takes a
finished run to say what an index finds. Rounds alternate over what is measured, and
figures are medians.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from data.errors import UserError
from harness import command_line

if TYPE_CHECKING:
    from data.prepared import PreparedData
    from serving.index import Index
    from serving.recommender import Recommender
    from serving.sample import Sample

_ITEMS = flags.DEFINE_list("items", ["12000", "290000"], "Sizes of the catalogues.")
_INDEXED = flags.DEFINE_integer(
    "indexed", 100_000, "Catalogues from here on are indexed."
)
_RUN_DIRS = flags.DEFINE_list(
    "run_dirs", None, "Finished runs, measured in place of the catalogues."
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    "data/prepared",
    "Where `data.prepare` wrote, for --run_dirs and --draw.",
)
_DRAW = flags.DEFINE_bool(
    "draw",
    False,
    "Only write the catalogues to --data_dir, for experiments.train and --run_dirs.",
)
_PEOPLE = flags.DEFINE_integer("people", 2_048, "Asked for in a round.", 1)
_STEPS = flags.DEFINE_integer("steps", 500, "Of training before.", 1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Of each measurement.", 1)
_K = flags.DEFINE_integer("k", 10, "Recommendations each.", 1)
_DEPTHS = flags.DEFINE_list("depths", ["20", "50"], "Of the indexes.")
_RECALLS = flags.DEFINE_list(
    "recalls", ["0.95"], "Of the index of cells, which looks into as few as find it."
)
_KINDS = flags.DEFINE_list("kinds", ["flat", "ivf", "hnsw"], "Of indexes.")
_PEER_PYTHON = flags.DEFINE_string(
    "peer_python",
    None,
    "Python of an environment with RecBole (make peers), whose full sort is measured "
    "too. Default: not measured.",
)
_EVERYONE = flags.DEFINE_integer(
    "everyone",
    None,
    "Instead of all that: 100 recommendations for so many people into one file, of the "
    "first catalogue of --items, with the time and the peak memory.",
    lower_bound=1,
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Writes OUTPUT.json and OUTPUT.md; none by default."
)


def main() -> None:
    sizes = [_whole(text, "--items") for text in _ITEMS.value]
    if _DRAW.value:
        for size in sizes:
            planted(size, Path(_DATA_DIR.value))
        return
    with tempfile.TemporaryDirectory() as folder:
        if _EVERYONE.value:
            result = _about_the_machine()
            result["everyone"] = everyone(sizes[0], _EVERYONE.value, Path(folder))
        else:
            result = _measure(sizes, Path(folder))
    text = table(result)
    sys.stdout.write(text)
    if _OUTPUT.value:
        Path(f"{_OUTPUT.value}.json").write_text(json.dumps(result, indent=2) + "\n")
        Path(f"{_OUTPUT.value}.md").write_text(text)


def _whole(text: str, flag: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise UserError(f"{flag} takes whole numbers. Received: {text}") from error


def _measure(sizes: list[int], folder: Path) -> dict[str, Any]:
    result = _about_the_machine()
    result["catalogues"] = {
        name: measure(name, recommender)
        for name, recommender in _recommenders(sizes, folder)
    }
    return result


def _recommenders(sizes: list[int], folder: Path) -> Iterator[tuple[str, Recommender]]:
    """What is measured, by a name."""
    from serving.recommender import Recommender

    for run_dir in _RUN_DIRS.value or ():
        run = Recommender.load(run_dir, _DATA_DIR.value)
        about = run.run.run.passport
        yield f"{about['model']} on {about['dataset']}", run
    if not _RUN_DIRS.value:
        for size in sizes:
            data = planted(size, folder)
            yield data.name, trained(data)


def _about_the_machine() -> dict[str, Any]:
    from harness import provenance

    return {
        "commit": provenance.commit(),
        "machine": provenance.describe(),
        "versions": provenance.versions(),
        "load_average": os.getloadavg()[0],
        "steps": _STEPS.value,
    }


# Of each person in the file for everyone.
_MANY = 100


def everyone(num_items: int, num_users: int, folder: Path) -> dict[str, Any]:
    """What a file of recommendations for everyone takes."""
    from harness import provenance
    from serving.answer import answer

    recommender = trained(planted(num_items, folder, num_users))
    before = provenance.reset_peak_memory_mb()
    started = time.perf_counter()
    output = folder / "everyone.parquet"
    answer(recommender, recommender.everyone(), output, k=_MANY)
    seconds = time.perf_counter() - started
    return {
        "items": num_items,
        "users": num_users,
        "k": _MANY,
        "seconds": round(seconds, 1),
        "users_per_s": round(num_users / seconds),
        "file_mb": round(output.stat().st_size / 2**20),
        "memory_before_mb": round(before),
        "peak_memory_mb": round(provenance.peak_memory_mb()),
    }


def measure(name: str, recommender: Recommender) -> dict[str, Any]:
    """Figures of one model over one catalogue."""
    from serving import vectors
    from serving.export import write_saved_model
    from serving.requests import Requests
    from serving.sample import Sample

    num_items = recommender.vocabulary.num_items - 1
    everyone = recommender.everyone()
    rng = np.random.default_rng(0)
    rows = rng.choice(len(everyone), min(_PEOPLE.value, len(everyone)), replace=False)
    asked = Requests(None, everyone.users[rows], everyone.histories.take(rows))
    # Cells are chosen, and recall is found, on other people than are timed.
    sample = Sample(recommender, everyone, _K.value)
    searches: dict[str, Any] = {"exact": None}
    if num_items >= _INDEXED.value:
        searches.update(_indexes(recommender, sample))
    sys.stderr.write(f"{name}: opened and indexed\n")
    speeds: dict[str, list[float]] = {name: [] for name in searches}
    costs: dict[str, list[float]] = {name: [] for name in searches}
    certified = {}
    for number in range(_ROUNDS.value + 1):  # The first one traces.
        for name, index in searches.items():
            started, busy = time.perf_counter(), time.process_time()
            answers = list(recommender.stream(asked, _K.value, index=index))
            if number:
                speeds[name].append(len(asked) / (time.perf_counter() - started))
                costs[name].append(1e3 * (time.process_time() - busy) / len(asked))
            certified[name] = float(
                np.mean(np.concatenate([part.certified for part in answers]))
            )
    lengths = np.diff(asked.histories.offsets)
    result: dict[str, Any] = {"mean_history": round(float(lengths.mean()), 1)}
    result["searches"] = {
        name: {
            "users_per_s": round(statistics.median(speeds[name])),
            "cpu_ms_per_user": round(statistics.median(costs[name]), 3),
            "certified": round(certified[name], 4),
            "recall": round(sample.recall(index), 4) if index else 1.0,
        }
        for name, index in searches.items()
    }
    if vectors.has_vectors(recommender.model):
        result["interests"] = proofs(recommender, asked)
        result["peers"] = peers(recommender, asked)
    with tempfile.TemporaryDirectory() as folder:
        write_saved_model(recommender, Path(folder) / "saved")
        result["request"] = one_request(recommender, asked, Path(folder) / "saved")
    return {"items": num_items, **result}


def _indexes(recommender: Recommender, sample: Sample) -> Iterator[tuple[str, Index]]:
    """The indexes that flags ask for, by name."""
    from serving.index import Index

    first = Index(recommender.model, "flat", depth=1)
    for kind in _KINDS.value:
        for depth in map(int, _DEPTHS.value):
            for recall in map(float, _RECALLS.value if kind == "ivf" else [1.0]):
                index = first.altered(kind, depth)
                name = f"{kind}, depth {depth}"
                if kind == "ivf":
                    sample.tune(index, recall)
                    name += f", {index.probes} of {index.cells} cells"
                yield name, index


def proofs(recommender: Recommender, asked: Any) -> dict[str, Any]:
    """The vectors of a history, and for how many people a short list was enough."""
    import tensorflow as tf

    from serving import search, vectors
    from serving.histories import padded

    model = recommender.model
    items = tf.range(1, recommender.vocabulary.num_items)
    proven = []
    for start in range(0, len(asked), 256):
        rows = np.arange(start, min(start + 256, len(asked)))
        past = asked.histories.take(rows)
        batch = recommender.batch(asked.users[rows], past, None)
        state = model.encode(batch, training=False)
        seen = tf.constant(padded(past.items, past.offsets))
        k, groups = tf.constant(_K.value), search.groups_for(_K.value, seen)
        best = search.of_short_list(model, state, items, seen, groups, k)
        proven.append(best[1].numpy())
        shape = vectors.interest_vectors(model, state).shape[1:]
    return {
        "shape": list(shape),
        "short_list_proven": round(float(np.concatenate(proven).mean()), 4),
    }


# Of the training events of a large catalogue, how many a model is shown: enough for all
# items, in minutes.
_SHOWN = 0.12


def planted(num_items: int, folder: Path, num_users: int | None = None) -> PreparedData:
    """Fine categories of about 60 items, and histories as long as Toys'.

    The last two events of 5,000 people test and validate.
    """
    from data import prepared
    from data.store import SequenceStore
    from data.synthetic import SyntheticSpec, generate

    spec = SyntheticSpec(
        num_users=num_users or max(20_000, num_items),
        num_items=num_items,
        mean_events=9.0,
        num_coarse=max(5, num_items // 600),
        fine_per_coarse=10,
    )
    drawn = generate(spec)
    users, count = drawn.users, spec.num_users
    store = SequenceStore.build(
        users, drawn.items, drawn.times, count + 1, num_items + 1
    )
    ends = np.arange(len(users)) - store.offsets[users]
    last = np.diff(store.offsets)[users] - 1
    rng = np.random.default_rng(0)
    held = np.zeros(count + 1, bool)
    held[rng.choice(count, min(5_000, count // 4), replace=False) + 1] = True
    held = held[users]
    test, valid = held & (ends == last), held & (ends == last - 1)
    train = (ends > 0) & ~test & ~valid
    if num_items > _INDEXED.value:
        newest = ends == np.where(held, last - 2, last)
        train &= newest | (rng.random(len(ends)) < _SHOWN)
    instances = np.stack([users, ends], axis=1).astype(np.int32)
    parts = {"train": train, "valid": valid, "test": test}
    name = f"planted_{num_items}"
    rule = "the last two events of 5,000 users"
    meta = {
        "name": name,
        "split": "leave_one_out",
        "split_rule": rule,
        "statistics": {},
    }
    return prepared.write(
        folder / name / "leave_one_out",
        store,
        {part: instances[rows] for part, rows in parts.items()},
        meta,
        {},
    )


def trained(data: PreparedData) -> Recommender:
    """MGNM after some steps on the data, ready to recommend."""
    from data.pipeline import training_dataset
    from harness import build, vocabulary
    from harness.defaults import get_config
    from harness.passport import Run
    from harness.standalone import StandaloneRun
    from serving.histories import Histories
    from serving.recommender import Recommender

    config = get_config("mgnm", data.name)
    build.set_up_tensorflow(config, seed=1)
    model = build.build_model(config, data, seed=1)
    batches = iter(
        training_dataset(
            data,
            epoch=0,
            seed=1,
            batch_size=config.batch_size,
            num_negatives=config.num_negatives,
            max_history=config.max_history,
        ).repeat()
    )
    step = model.make_train_function()
    for _ in range(_STEPS.value):
        step(batches)
    with tempfile.TemporaryDirectory() as folder:
        vocabulary.write(Path(folder), data)
        names = vocabulary.read(Path(folder))
    run = Run(data.folder, {})  # type: ignore[typeddict-item]
    store = data.store
    histories = Histories(store.items, store.offsets, store.times)
    return Recommender(StandaloneRun(run, model, config, names), histories)


def peers(recommender: Recommender, asked: Any) -> dict[str, int]:
    """Users a second of other libraries that are installed, by name.

    They get the first interest of each person, and the same items: the work of one
    inner product where MGNM has (L + 1) K and the softmax over them. Histories are
    encoded before, which they do not pay for.
    """
    import tensorflow as tf

    from serving import vectors

    items = vectors.item_vectors(recommender.model)[1:]
    batch = recommender.batch(asked.users, asked.histories, None)
    queries = []
    for start in range(0, len(asked), 256):
        part: Any = {key: value[start : start + 256] for key, value in batch.items()}
        state = recommender.model.encode(part, training=False)
        queries.append(vectors.interest_vectors(recommender.model, state)[:, 0, 0])
    speeds = {
        "TFRS BruteForce, one vector": _brute_force(items, queries),
        "RecBole full_sort_topk, one vector": _full_sort(items, tf.concat(queries, 0)),
    }
    return {name: speed for name, speed in speeds.items() if speed}


def _brute_force(items: Any, queries: list[Any]) -> int | None:
    """TensorFlow Recommenders' layer, which the command's own Python must have."""
    try:
        from tensorflow_recommenders.layers.factorized_top_k import BruteForce
    except ImportError:
        return None
    import tensorflow as tf

    layer = BruteForce(k=_K.value).index(items)
    call = tf.function(layer, reduce_retracing=True)
    count = sum(len(query) for query in queries)
    speeds = []
    for _ in range(_ROUNDS.value + 1):
        started = time.perf_counter()
        for query in queries:
            call(query)[1].numpy()
        speeds.append(count / (time.perf_counter() - started))
    return round(statistics.median(speeds[1:]))


def _full_sort(items: Any, queries: Any) -> int | None:
    """RecBole's, in the environment of --peer_python."""
    if not _PEER_PYTHON.value:
        return None
    script = Path(__file__).with_name("recbole_full_sort.py")
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "items.npy", items.numpy(), allow_pickle=False)
        np.save(Path(folder) / "queries.npy", queries.numpy(), allow_pickle=False)
        arguments = [folder, str(_K.value), str(_ROUNDS.value)]
        rates = _answer(_PEER_PYTHON.value, script, arguments, Path(folder))
    return round(statistics.median(rates))


def _answer(python: str, script: Path, arguments: list[str], folder: Path) -> Any:
    """What a script says as JSON, run in a folder by another interpreter.

    Raises:
        RuntimeError: if it fails.
    """
    done = subprocess.run(
        [python, str(script), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{script.name} failed: {done.stderr[-2_000:]}")
    return json.loads(done.stdout)


def one_request(recommender: Recommender, asked: Any, folder: Path) -> dict[str, Any]:
    """Figures of `benchmarks/one_request.py`, in a process with TensorFlow alone."""
    keys = recommender.vocabulary.items
    people = [
        keys[asked.histories.take(np.array([row])).items - 1].tolist()
        for row in range(min(200, len(asked)))
    ]
    script = Path(__file__).with_name("one_request.py")
    return _answer(sys.executable, script, [str(folder), json.dumps(people)], folder)


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    machine = result["machine"]
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB; "
        f"commit {result['commit'][:12]}; load average before: "
        f"{result['load_average']:.1f}.",
        "",
    ]
    if "everyone" in result:
        one = result["everyone"]
        lines += [
            f"{one['k']} recommendations for each of {one['users']:,} people, of "
            f"{one['items']:,} items, into one Parquet file of {one['file_mb']:,} MB: "
            f"{one['seconds']:,} s, {one['users_per_s']:,} users/s; peak memory "
            f"{one['peak_memory_mb']:,} MB, of which {one['memory_before_mb']:,} MB "
            "before.",
            "",
        ]
    for name, of_catalogue in result.get("catalogues", {}).items():
        lines += [
            f"**{name}**, {of_catalogue['items']:,} items, mean history "
            f"{of_catalogue['mean_history']}:",
            "",
            "| search | users/s | CPU ms/user | recall | certified |",
            "| --- | --- | --- | --- | --- |",
        ]
        for name, figures in of_catalogue["searches"].items():
            lines.append(
                f"| {name} | {figures['users_per_s']:,} | "
                f"{figures['cpu_ms_per_user']} | {figures['recall']:.3f} | "
                f"{figures['certified']:.1%} |"
            )
        for name, speed in of_catalogue.get("peers", {}).items():
            lines.append(f"| {name} | {speed:,} | – | – | – |")
        one = of_catalogue["request"]
        if "interests" in of_catalogue:
            proven = of_catalogue["interests"]["short_list_proven"]
            lines += ["", f"The exact search's short list was enough for {proven:.2%}."]
        lines += [
            "",
            f"SavedModel: loaded in {one['load_s']} s, first answer in "
            f"{one['first_s']} s; one request p50 {one['p50_ms']} ms, p99 "
            f"{one['p99_ms']} ms.",
            "",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    command_line.run(main, stopped="Stopped. Nothing was written.")

"""Opens a finished run again on its data: its model, compiled, and its ranker.

`harness.standalone` opens a run from its folder alone.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from data.errors import UserError
from data.prepared import PreparedData
from harness import passport, run_folder, run_manifest
from harness.build import build_model, make_ranker, set_up_tensorflow
from harness.config import Config
from harness.passport import Run
from harness.ranker import Ranker, protocol_rows
from harness.standalone import data_of, load_weights
from mgnm_tf.recommender import SequentialRecommender


@dataclasses.dataclass(frozen=True)
class OpenedRun:
    """A finished run that can score and rank.

    Attributes:
        run: its folder and passport.
        config: its configuration.
        model: with its weights.
        data: the prepared data that it was trained on.
        ranker: of the model, over the data.
    """

    run: Run
    config: Config
    model: SequentialRecommender
    data: PreparedData
    ranker: Ranker

    def test_rows(self, protocol: str) -> np.ndarray:
        """Which test instances ranked the run under a protocol: all, or a sample."""
        return protocol_rows(self.data, "test", protocol, self.config.test_instances)

    def record_look(self, what: str) -> None:
        """Notes in the ledger what test instances are to be ranked for.

        Raises:
            UserError: if the run is not sealed, or was changed afterwards.
        """
        run_folder.record_look(self.run.folder, what)


def open_run(run_dir: Path, data_dir: Path) -> OpenedRun:
    """Opens the finished run in a folder.

    A run that several replicas or workers trained is opened in this process alone: its
    weights are those of any one of them.

    Args:
        run_dir: the run's folder.
        data_dir: where `data.prepare` wrote its data.

    Raises:
        UserError: if there is no finished run, it is damaged, or its data are not the
            ones prepared.
    """
    run = passport.read(run_dir)
    if passport.is_refit(run):
        raise UserError(
            f"{run_dir} holds a model that was trained on the test instances too: it "
            "recommends, and cannot be ranked. The run that it was made of can."
        )
    run_manifest.check(run_dir)
    config = run_folder.read_config(run_dir)
    run_folder.warn_of_edited_class(run_dir, config.model)
    data = data_of(run, data_dir)
    set_up_tensorflow(dataclasses.replace(config, strategy="none"), run.seed)
    model = build_model(config, data, run.seed)
    load_weights(model, run_dir / run_folder.WEIGHTS)
    return OpenedRun(run, config, model, data, make_ranker(model, data, config))

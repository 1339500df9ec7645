"""Builds a model, its optimizer and its ranker from a configuration."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from data.errors import UserError
from data.pipeline import gather_histories, targets
from data.prepared import PreparedData
from harness import distribution, own_model
from harness.config import Config, is_own
from harness.defaults import NO_TIMES, WITHOUT_TIMES
from harness.models import construct, model_class
from harness.ranker import Ranker
from mgnm_tf import objectives
from mgnm_tf.batch import UnfitEventsError
from mgnm_tf.keras2 import keras
from mgnm_tf.lazy_adam import lazy_adam
from mgnm_tf.recommender import SequentialRecommender


def set_up_tensorflow(config: Config, seed: int) -> tf.distribute.Strategy:
    """Seeds everything, and applies the configuration's switches."""
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    strategy = distribution.make_strategy(config.strategy)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    policy = "mixed_float16" if config.mixed_precision else "float32"
    keras.mixed_precision.set_global_policy(policy)
    keras.utils.set_random_seed(seed)
    return strategy


def build_model(
    config: Config,
    data: PreparedData,
    seed: int,
    kind: type[SequentialRecommender] | None = None,
) -> SequentialRecommender:
    """A model with its weights made, compiled, and adapted to the training events.

    Args:
        config: the configuration of the run, which names the model and its arguments.
        data: the prepared data: its vocabularies give the sizes of the tables, and
            `adapt` learns from its training events.
        seed: of what the model draws by itself.
        kind: what to build, if not the configured model's class.

    Raises:
        UserError: if the model does not take the configuration or the data.
    """
    kind = kind or model_class(config.model, config.variant)
    model = construct(kind, config, data.num_users, data.num_items, seed)
    own_model.check_layers(model, config.model)
    if model.needs_times and not data.has_times:
        raise UserError(_needs_times(config.model, data.name))
    if config.jit_compile and not model.fits_xla:
        raise UserError(f"XLA cannot compile {config.model}: leave out --jit_compile.")
    model.objective = objectives.make(
        config.objective, data.num_items, config.num_negatives, config.calibration
    )
    model.compile(
        optimizer=lazy_adam(_learning_rate(config, len(data.instances["train"]))),
        jit_compile=config.jit_compile,
    )
    instances = data.instances["train"][:2]
    batch = gather_histories(data, instances, config.max_history)
    batch["candidates"] = np.repeat(targets(data, instances)[:, None], 2, axis=1)
    model({key: tf.convert_to_tensor(value) for key, value in batch.items()})
    if is_own(config.model):
        # Of two histories, so that no axis passes for another.
        batch["candidates"] = np.repeat(targets(data, instances)[:, None], 3, axis=1)
        tensors: Any = {k: tf.convert_to_tensor(value) for k, value in batch.items()}
        scores = model.score(model.encode(tensors), tensors["candidates"])
        own_model.check_scores(config.model, scores)
    _make_slots(model)
    events = data.train_events()
    try:
        model.adapt(events)
    except UnfitEventsError as error:
        raise UserError(f"{config.model} does not take {data.name}: {error}") from error
    if model.prior_shift is not None:
        model.prior_shift.adapt(events)
    return model


def _make_slots(model: SequentialRecommender) -> None:
    """Lets the optimizer make its variables: in the first step it would trace twice."""
    # Under mixed precision it is wrapped in one that scales the loss.
    optimizer: Any = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    nothing = [(tf.zeros_like(w), w) for w in model.trainable_variables]
    if nothing:
        # No gradient, no moment, no change.
        tf.distribute.get_strategy().run(lambda: optimizer.apply_gradients(nothing))
        optimizer.iterations.assign(0)


def _needs_times(model: str, dataset: str) -> str:
    """What to say to someone whose data has no times."""
    message = f"{model} reads when events happened, and {dataset} has no times."
    if model in WITHOUT_TIMES:
        message += (
            f" A form without times runs with --variant={NO_TIMES} of "
            "experiments.train and experiments.tune."
        )
    return message


def _learning_rate(config: Config, num_instances: int) -> Any:
    if config.schedule == "constant":
        return config.learning_rate
    steps = -(-num_instances // config.batch_size) * config.max_epochs
    return keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)


def make_ranker(
    model: SequentialRecommender, data: PreparedData, config: Config
) -> Ranker:
    return Ranker(model, data, config.max_history, config.candidate_seed)

"""Interactions with planted interests, whose best attainable ranking is known."""

from __future__ import annotations

import dataclasses

import numpy as np

from data.errors import UserError

# Users beyond any real share of a log, to keep one array rectangular.
_LONGEST = 5
_GAP_SECONDS = 43_200.0
_PERIOD_SECONDS = 200 * 86_400


@dataclasses.dataclass(frozen=True)
class SyntheticSpec:
    """The world that is drawn from.

    Items form a two-level taxonomy: coarse categories of equally many fine ones,
    Zipf-popular within a fine one. A user holds some coarse and some fine interests;
    one is current and mostly stays so, and now and then an interest is replaced.

    Attributes:
        num_users: N.
        num_items: M.
        mean_events: of a user; lengths are geometric from 5 on, at most 5 times this.
        num_coarse: coarse categories.
        fine_per_coarse: fine categories in each.
        coarse_interests: of a user; any item of a coarse category.
        fine_interests: of a user; the items of one fine category.
        stay: probability that the next event is of the current interest.
        drift: probability, after an event, that one interest is replaced.
        zipf: exponent of popularity within a fine category.
        seed: seeds all that is drawn.
    """

    num_users: int = 2_000
    num_items: int = 1_000
    mean_events: float = 30.0
    num_coarse: int = 10
    fine_per_coarse: int = 5
    coarse_interests: int = 1
    fine_interests: int = 3
    stay: float = 0.6
    drift: float = 0.02
    zipf: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_items < self.num_fine:
            raise UserError(
                "`num_items` must be at least the number of fine categories, "
                f"{self.num_fine}. Received: num_items={self.num_items}"
            )

    @property
    def num_fine(self) -> int:
        return self.num_coarse * self.fine_per_coarse

    @property
    def num_interests(self) -> int:
        return self.coarse_interests + self.fine_interests


@dataclasses.dataclass(frozen=True)
class Synthetic:
    """Drawn events, user after user in time order, and the state behind each.

    Attributes:
        spec: the world.
        users: int32 [E], 1..N.
        items: int32 [E], 1..M.
        times: int64 [E], seconds.
        offsets: int64 [N + 2], as in `SequenceStore`.
        interests: int16 [E, S], the user's interests at the event: a fine category
            f as f, a coarse one c as `num_fine + c`.
        weights: float32 [N + 1, S], how a user mixes them.
        current: int8 [E], which interest was current before the event; -1 at first.
    """

    spec: SyntheticSpec
    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    offsets: np.ndarray
    interests: np.ndarray
    weights: np.ndarray
    current: np.ndarray

    def oracle_scores(self, users: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The true probability of every item at some events: [n, M + 1], column 0 zero.

        It reads the state that no model sees, so no model ranks better on average.
        """
        spec = self.spec
        rows = self.offsets[users] + ends
        shares = (1.0 - spec.stay) * self.weights[users]  # [n, S]
        held = self.current[rows]
        shares[held < 0] = self.weights[users[held < 0]]
        known = np.flatnonzero(held >= 0)
        shares[known, held[known]] += spec.stay
        by_category = _category_probabilities(spec)  # [categories, M]
        scores = np.zeros((len(rows), spec.num_items + 1))
        for slot in range(spec.num_interests):
            category = self.interests[rows, slot]
            scores[:, 1:] += shares[:, slot, None] * by_category[category]
        return scores


def generate(spec: SyntheticSpec) -> Synthetic:
    """Draws all users at once, event number by event number."""
    rng = np.random.default_rng(spec.seed)
    lengths = (
        5 + rng.geometric(1.0 / max(spec.mean_events - 4.0, 1.0), spec.num_users) - 1
    )
    lengths = np.minimum(lengths, int(_LONGEST * spec.mean_events))
    order = np.argsort(-lengths, kind="stable")  # Those still active come first.
    slots = spec.num_interests
    interests = _draw_interests(spec, rng, spec.num_users)
    weights = rng.dirichlet(np.ones(slots), spec.num_users).astype(np.float32)
    current = np.full(spec.num_users, -1, dtype=np.int8)
    offsets = np.concatenate([[0, 0], np.cumsum(lengths)])
    total = int(offsets[-1])
    items = np.empty(total, dtype=np.int32)
    all_interests = np.empty((total, slots), dtype=np.int16)
    all_current = np.empty(total, dtype=np.int8)
    for number in range(int(lengths.max())):
        active = order[: np.searchsorted(-lengths[order], -number, side="left")]
        rows = offsets[active + 1] + number
        all_interests[rows] = interests[active]
        all_current[rows] = current[active]
        current[active] = _next_slot(spec, rng, weights[active], current[active])
        items[rows] = _draw_items(spec, rng, interests[active, current[active]])
        drifting = active[rng.random(len(active)) < spec.drift]
        slot = rng.integers(0, slots, len(drifting))
        fresh = _draw_interests(spec, rng, len(drifting))
        interests[drifting, slot] = fresh[np.arange(len(drifting)), slot]
    users = np.repeat(np.arange(1, spec.num_users + 1, dtype=np.int32), lengths)
    return Synthetic(
        spec=spec,
        users=users,
        items=items,
        times=_times(rng, users, lengths),
        offsets=offsets,
        interests=all_interests,
        weights=np.concatenate([np.zeros((1, slots), np.float32), weights]),
        current=all_current,
    )


def _draw_interests(
    spec: SyntheticSpec, rng: np.random.Generator, count: int
) -> np.ndarray:
    coarse = rng.integers(0, spec.num_coarse, (count, spec.coarse_interests))
    fine = rng.integers(0, spec.num_fine, (count, spec.fine_interests))
    return np.concatenate([coarse + spec.num_fine, fine], axis=1).astype(np.int16)


def _next_slot(
    spec: SyntheticSpec,
    rng: np.random.Generator,
    weights: np.ndarray,
    current: np.ndarray,
) -> np.ndarray:
    edges = np.cumsum(weights, axis=1)
    drawn = np.sum(rng.random(len(weights))[:, None] * edges[:, -1:] > edges, axis=1)
    stays = (current >= 0) & (rng.random(len(weights)) < spec.stay)
    return np.where(stays, current, drawn).astype(np.int8)


def _draw_items(
    spec: SyntheticSpec, rng: np.random.Generator, interests: np.ndarray
) -> np.ndarray:
    """An item of each interest: a fine category, then a Zipf rank within it."""
    coarse = (interests - spec.num_fine) * spec.fine_per_coarse
    coarse = coarse + rng.integers(0, spec.fine_per_coarse, len(interests))
    fine = np.where(interests < spec.num_fine, interests, coarse)
    starts, sizes = _fine_categories(spec)
    levels = rng.random(len(interests))
    items = np.empty(len(interests), dtype=np.int32)
    for size in np.unique(sizes):
        rows = np.flatnonzero(sizes[fine] == size)
        ranks = np.searchsorted(
            np.cumsum(_zipf(spec, size))[:-1], levels[rows], "right"
        )
        items[rows] = starts[fine[rows]] + ranks + 1
    return items


def _fine_categories(spec: SyntheticSpec) -> tuple[np.ndarray, np.ndarray]:
    """First item (from 0) and size of each fine category; sizes differ by one."""
    edges = np.arange(spec.num_fine + 1) * spec.num_items // spec.num_fine
    return edges[:-1], np.diff(edges)


def _zipf(spec: SyntheticSpec, size: int) -> np.ndarray:
    weights = np.arange(1, size + 1) ** -spec.zipf
    return weights / weights.sum()


def _category_probabilities(spec: SyntheticSpec) -> np.ndarray:
    """P(item | category), fine categories first: [num_fine + num_coarse, M]."""
    starts, sizes = _fine_categories(spec)
    fine = np.zeros((spec.num_fine, spec.num_items))
    for row, (start, size) in enumerate(zip(starts, sizes)):
        fine[row, start : start + size] = _zipf(spec, size)
    grouped = fine.reshape(spec.num_coarse, spec.fine_per_coarse, -1)
    return np.concatenate([fine, grouped.mean(axis=1)])


def _times(
    rng: np.random.Generator, users: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    gaps = rng.exponential(_GAP_SECONDS, len(users))
    firsts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    gaps[firsts] = rng.random(len(lengths)) * _PERIOD_SECONDS
    elapsed = np.cumsum(gaps)
    before = np.repeat(elapsed[firsts] - gaps[firsts], lengths)
    return (1_600_000_000 + elapsed - before).astype(np.int64)

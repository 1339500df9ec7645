"""The models that MGNM is compared with, one whole model a file."""

from __future__ import annotations

from baselines.gru4rec import GRU4Rec
from baselines.item_knn import ItemKNN
from baselines.mind import MIND
from baselines.popularity import Popularity
from mgnm_tf.recommender import SequentialRecommender

BASELINES: dict[str, type[SequentialRecommender]] = {
    "gru4rec": GRU4Rec,
    "mind": MIND,
    "popularity": Popularity,
    "item_knn": ItemKNN,
}

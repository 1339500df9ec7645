"""The models that MGNM is compared with, one whole model a file."""

from __future__ import annotations

from baselines.a2svd import A2SVD
from baselines.caser import Caser
from baselines.comirec_dr import ComiRecDR
from baselines.comirec_sa import ComiRecSA
from baselines.gru4rec import GRU4Rec
from baselines.item_knn import ItemKNN
from baselines.mean_pooling import MeanPooling
from baselines.mgnm_plus import MGNMPlus
from baselines.mimn import MIMN
from baselines.mind import MIND
from baselines.popularity import Popularity
from baselines.sasrec import SASRec
from baselines.sli_rec import SLiRec
from baselines.surge import SURGE
from baselines.tgsrec import TGSRec
from mgnm_tf.recommender import SequentialRecommender

BASELINES: dict[str, type[SequentialRecommender]] = {
    "caser": Caser,
    "a2svd": A2SVD,
    "gru4rec": GRU4Rec,
    "sli_rec": SLiRec,
    "tgsrec": TGSRec,
    "mimn": MIMN,
    "mind": MIND,
    "comirec_dr": ComiRecDR,
    "comirec_sa": ComiRecSA,
    "surge": SURGE,
    "popularity": Popularity,
    "item_knn": ItemKNN,
    "mean_pooling": MeanPooling,
    "sasrec": SASRec,
    "mgnm_plus": MGNMPlus,
}

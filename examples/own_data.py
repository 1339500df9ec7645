"""From a DataFrame of your own to recommendations, with Keras's compile and fit.

Run it as a script, or cell by cell in an editor that knows `# %%`. The log is made up:
60 people, each with two of four tastes, who had 12 items each.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import tensorflow as tf

from mgnm_tf import MGNM
from mgnm_tf.keras2 import keras

# %% Your own log: a row an event, each person's events in the order of time.
rng = np.random.default_rng(0)
tastes = np.stack([rng.permutation(4)[:2] for _ in range(60)])  # [users, 2]
log = pd.DataFrame({"user": np.repeat(np.arange(60), 12)})
taste = tastes[log["user"], rng.integers(0, 2, len(log))]
log["item"] = [f"{'ABCD'[t]}{n:02}" for t, n in zip(taste, rng.integers(0, 20, 720))]

# %% Ids from 1 on (0 is padding), and every event but a person's first as a target.
log["item_id"], item_names = pd.factorize(log["item"], sort=True)
log["item_id"] += 1
longest = 8
rows = [
    (user + 1, ids[max(0, end - longest) : end], ids[end])
    for user, ids in log.groupby("user")["item_id"].apply(list).items()
    for end in range(1, len(ids))
]
histories = [[0] * (longest - len(past)) + past for _, past, _ in rows]  # [N, T]
negatives = rng.integers(1, len(item_names) + 1, (len(rows), 5))
candidates = np.column_stack([[target for *_, target in rows], negatives])  # [N, 6]
batches = tf.data.Dataset.from_tensor_slices(
    {
        "user": tf.constant([user for user, *_ in rows], tf.int32),
        "history": tf.constant(histories, tf.int32),
        "candidates": tf.constant(candidates, tf.int32),
    }
)

# %% The model, as any Keras model. The target is column 0 of the candidates.
# Maps that start at the identity learn from so few events; docs/mgnm_readings.md.
model = MGNM(
    num_users=61,
    num_items=len(item_names) + 1,
    max_history=longest,
    num_layers=1,
    num_interests=2,
    map_initialization="identity",
    routing_init="learned",
    interest_activation="linear",
)
optimizer = keras.optimizers.Adam(5e-2)
model.compile(optimizer=optimizer)
model.fit(batches.shuffle(len(rows), seed=0).batch(64), epochs=20, verbose=2)

# %% The ten best items that the first person has not had.
own = log[log["user"] == 0]["item_id"].tolist()
person = {
    "user": tf.constant([1]),
    "history": tf.constant([own[-longest:]]),
    "candidates": tf.range(1, len(item_names) + 1)[None],  # the whole catalogue
}
scores = model(person).numpy()[0]
scores[np.array(own) - 1] = -np.inf
top = np.argsort(-scores)[:10]
print("history:", *item_names[np.array(own[-longest:]) - 1])
print("top 10: ", *item_names[top])

# %% Which items of the history each interest of each level is made of.
couplings = model.explain(person)["couplings"].numpy()[0]  # [L, K, T]
for level, interests in enumerate(couplings):
    for interest, weights in enumerate(interests):
        best = item_names[np.array(own[-longest:])[np.argsort(-weights)[:3]] - 1]
        print(f"level {level}, interest {interest}: reads most of", *best)

"""The paper's equations in NumPy loops, written from the paper alone."""

from __future__ import annotations

import numpy as np


def assert_close(found, expected):
    """Equal within 1e-5 of the largest value.

    A float32 sum whose terms cancel keeps the rounding of its terms, so that no
    relative error of the single value bounds it.
    """
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=1e-5 * scale)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def softmax(values):
    powers = [np.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def squash(v):
    """Eq. 7."""
    norm = np.sqrt(sum(x * x for x in v))
    if norm == 0.0:
        return np.zeros_like(v)
    return norm**2 / (norm**2 + 1) * v / norm


def user_aware_graph(history, user, mask, bias=None):
    """Eq. 1, for a batch; `bias` [B, T, T] is added to the affinity."""
    size, length, _ = history.shape
    adjacency = np.zeros((size, length, length))
    for b in range(size):
        for i in range(length):
            for j in range(length):
                if mask[b, i] and mask[b, j]:
                    total = sum(history[b, i] * history[b, j] * user[b])
                    if bias is not None:
                        total += bias[b, i, j]
                    adjacency[b, i, j] = sigmoid(total)
    return adjacency


def propagation(adjacency, normalization):
    """P of Eq. 2-3 for one history, without padding."""
    length = len(adjacency)
    eye = np.eye(length)
    if normalization == "none":
        return adjacency
    if normalization == "renormalized":
        adjacency = adjacency + eye
    result = np.zeros((length, length))
    degrees = [sum(row) for row in adjacency]
    for i in range(length):
        for j in range(length):
            result[i, j] = adjacency[i, j] / np.sqrt(degrees[i] * degrees[j])
    return result if normalization == "renormalized" else result + eye


def graph_levels(history, adjacency, kernel, num_layers, normalization, slope):
    """Eq. 2-4 for one history, without padding: [L, T, D]."""
    operator = propagation(adjacency, normalization)
    levels = [history]
    for _ in range(num_layers):
        mixed = operator @ levels[-1] @ kernel
        levels.append(np.where(mixed > 0, mixed, slope * mixed))
    return np.stack(levels)


def lstm(inputs, kernel, recurrent, bias):
    """Hochreiter & Schmidhuber's cell, gates in the order i f c o: [T, D]."""
    size = recurrent.shape[0]
    state, cell, outputs = np.zeros(size), np.zeros(size), []
    for x in inputs:
        gates = x @ kernel + state @ recurrent + bias
        i, f, c, o = (gates[n * size : (n + 1) * size] for n in range(4))
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(c)
        state = sigmoid(o) * np.tanh(cell)
        outputs.append(state)
    return np.array(outputs)


def bidirectional(layer):
    """The layer's own BiLSTM, in loops."""
    forward = [w.numpy() for w in layer.encoder.recurrent.forward_layer.weights]
    backward = [w.numpy() for w in layer.encoder.recurrent.backward_layer.weights]
    back = layer.encoder.back.kernel.numpy()

    def encode(votes):
        there = lstm(votes, *forward)
        again = lstm(votes[::-1], *backward)[::-1]
        return np.concatenate([there, again], axis=1) @ back

    return encode


def gru(inputs, kernel, recurrent, bias):
    """Keras's cell (reset after the product), gates in the order z r h: [T, D]."""
    size = recurrent.shape[0]
    state, outputs = np.zeros(size), []
    for x in inputs:
        a, b = x @ kernel + bias[0], state @ recurrent + bias[1]
        z = sigmoid(a[:size] + b[:size])
        r = sigmoid(a[size : 2 * size] + b[size : 2 * size])
        h = np.tanh(a[2 * size :] + r * b[2 * size :])
        state = z * state + (1 - z) * h
        outputs.append(state)
    return np.array(outputs)


def capsule(
    items,
    projection,
    output_kernel,
    start,
    iterations,
    axis="items",
    encode=None,
    activation="relu",
    squash_last=True,
):
    """Eq. 5-11 for one history and one level, without padding: [K, D].

    `start` is the first g, [T, K]; `encode` is the sequence encoder, [T, D] -> [T, D].
    """
    count, length = len(projection), len(items)
    votes = [items @ projection[k] for k in range(count)]
    g = np.array(start, dtype=float)
    outputs = [None] * count
    for iteration in range(iterations):
        if axis == "items":
            couplings = np.array([softmax(g[:, k]) for k in range(count)]).T
        else:
            couplings = np.array([softmax(g[t]) for t in range(length)])
        for k in range(count):
            v = sum(couplings[t, k] * votes[k][t] for t in range(length))
            last = iteration == iterations - 1
            outputs[k] = v if last and not squash_last else squash(v)
        for k in range(count):
            for t in range(length):
                g[t, k] += sum(outputs[k] * votes[k][t])
        if iteration == 0 and encode is not None:
            votes = [z + encode(z) for z in votes]
    interests = [outputs[k] @ output_kernel[k] for k in range(count)]
    if activation == "relu":
        interests = [np.maximum(q, 0.0) for q in interests]
    return np.array(interests)


def level_score(interests, item):
    """Eq. 12-14 for one level and one candidate."""
    attention = softmax([sum(q * item) for q in interests])
    preference = sum(a * q for a, q in zip(attention, interests))
    return sum(preference * item)


def cross_entropy(logit, label):
    probability = sigmoid(logit)
    return -(label * np.log(probability) + (1 - label) * np.log(1 - probability))


def mind(items, bilinear, start, iterations):
    """Behaviour-to-interest routing of MIND for one history, no padding: [K, D].

    `start` is the first b, [K, T].
    """
    votes = [item @ bilinear for item in items]
    b = np.array(start, dtype=float)
    count, length = b.shape
    for iteration in range(iterations):
        shares = np.array([softmax(b[:, t]) for t in range(length)]).T
        interests = [
            squash(sum(shares[k, t] * votes[t] for t in range(length)))
            for k in range(count)
        ]
        if iteration < iterations - 1:
            for k in range(count):
                for t in range(length):
                    b[k, t] += sum(interests[k] * votes[t])
    return np.array(interests)


def mlp_head(head, state, item):
    """The logit of one [state; item] by the weights of an `MLPHead`."""
    first = np.concatenate([head.state_layer.kernel, head.item_layer.kernel])
    hidden = np.concatenate([state, item]) @ first + head.state_layer.bias.numpy()
    layers = [*head.hidden, head.last]
    for activation, layer in zip(head.activations, layers):
        if head.activation == "relu":
            hidden = np.maximum(hidden, 0)
        elif head.activation == "sigmoid":
            hidden = sigmoid(hidden)
        else:
            hidden = np.where(hidden > 0, hidden, activation.alpha.numpy()[0] * hidden)
        hidden = hidden @ layer.kernel.numpy() + layer.bias.numpy()
    return hidden[0]


def pair_attention(layer, key, query):
    """The score of one key by one query, by the weights of a `PairAttention`."""
    joined = np.concatenate([key, query, key - query, key * query])
    first = layer.kernel.numpy().reshape(len(joined), -1)
    kernel, bias = (w.numpy() for w in layer.second.weights)

    def activate(hidden):
        return sigmoid(hidden) if layer.activation == "sigmoid" else hidden.clip(0)

    hidden = activate(activate(joined @ first + layer.bias.numpy()) @ kernel + bias)
    return (hidden @ layer.last.kernel.numpy())[0]


def bag_attention(layer, items):
    """Eq. 18-20 of SLi_Rec's paper, by the weights of a `BagAttention`."""
    kernel, bias = (w.numpy().astype(float) for w in layer.hidden_layer.weights)
    tau = layer.vector.kernel.numpy()[:, 0]
    shares = softmax([np.tanh(x @ kernel + bias) @ tau for x in items])
    return sum(share * x for share, x in zip(shares, items))


def sampled_softmax(logits):
    """-log of column 0's share of a softmax: [..., C] -> [..., 1]."""
    found = np.zeros((*logits.shape[:-1], 1))
    for place in np.ndindex(*logits.shape[:-1]):
        shares = [np.exp(float(value)) for value in logits[place]]
        found[place] = -np.log(shares[0] / sum(shares))
    return found


def gbce(logits, calibration, sampling_rate):
    """gBCE of Petrov & Macdonald (2023), by row: [..., C] -> [..., 1]."""
    a, t = sampling_rate, calibration
    beta = a * (t * (1 - 1 / a) + 1 / a)
    found = np.zeros((*logits.shape[:-1], 1))
    for place in np.ndindex(*logits.shape[:-1]):
        chances = [1 / (1 + np.exp(-float(value))) for value in logits[place]]
        found[place] = -np.log(chances[0] ** beta)
        for chance in chances[1:]:
            found[place] -= np.log(1 - chance)
    return found

"""Reading weights runs nothing; `test_no_pickle.py` has all other files."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from data.errors import UserError
from harness import standalone
from mgnm_tf.keras2 import keras


def make_model():
    model = keras.Sequential([keras.layers.Dense(2, use_bias=False)])
    model.build((None, 3))
    return model


def hostile_lambda(marker):
    """A layer whose code, were it run, would leave a file."""

    def leave(inputs, path=str(marker)):
        open(path, "w").close()
        return inputs

    return keras.layers.Lambda(leave)


def test_loading_weights_does_not_run_code_inside_the_file(tmp_path):
    marker, path = tmp_path / "marker", tmp_path / "model.weights.h5"
    model = make_model()
    model.save_weights(path)
    attack = keras.Sequential([keras.Input((3,)), hostile_lambda(marker)])
    marker.unlink(missing_ok=True)  # Building it has called it.
    pickled = b"cos\nsystem\n(S'touch %s'\ntR." % str(marker).encode()
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = json.dumps(
            {"class_name": "Sequential", "config": attack.get_config()}, default=str
        )
        file.attrs["keras_version"] = "2.15.0"
        file.create_dataset("pickled", data=np.void(pickled))
        file["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")
    other = make_model()
    other.load_weights(path)
    np.testing.assert_array_equal(other.get_weights()[0], model.get_weights()[0])
    assert not marker.exists()


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x04.", b"\x89HDF\r\n\x1a\n" + b"A" * 99]
)
def test_a_file_that_is_no_hdf5_is_refused(content, tmp_path):
    path = tmp_path / "model.weights.h5"
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"[Uu]nable"):
        make_model().load_weights(path)


def replaced(file, name, kind, folder):
    """Something else in the place of an array of numbers."""
    del file[name]
    if kind == "a link to elsewhere":
        with h5py.File(folder / "other.h5", "w") as other:
            other["x"] = np.ones((3, 2), np.float32)
        file[name] = h5py.ExternalLink(str(folder / "other.h5"), "/x")
    elif kind == "a link to itself":
        file[name] = h5py.SoftLink(f"/{name}")
    elif kind == "a group that holds itself":
        group = file.create_group(name)
        group["more"] = group
    elif kind == "an array in another file":
        (folder / "raw").write_bytes(bytes(24))
        outside = [(str(folder / "raw"), 0, 24)]
        file.create_dataset(name, (3, 2), "f4", external=outside)
    elif kind == "an array made of others":
        layout = h5py.VirtualLayout((3, 2), "f4")
        layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "x", (3, 2))
        file.create_virtual_dataset(name, layout)
    elif kind == "an array of nearly no bytes":
        shape, chunks = (10_000_000, 1_000_000), (1_000, 1_000)
        file.create_dataset(name, shape, "f4", chunks=chunks, compression="gzip")
    else:
        file[name] = np.array([b"text"] * 6).reshape(3, 2)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("a link to elsewhere", "is a link to elsewhere"),
        ("a link to itself", "is a link to elsewhere"),
        ("a group that holds itself", "is there twice"),
        ("an array in another file", "lies in another file"),
        ("an array made of others", "lies in another file"),
        ("an array of nearly no bytes", "bytes of numbers, and is smaller"),
        ("texts", "not numbers"),
    ],
)
def test_weights_that_are_no_plain_numbers_are_refused(kind, said, tmp_path):
    path, model, names = tmp_path / "model.weights.h5", make_model(), []
    model.save_weights(path)
    standalone.load_weights(model, path)
    with h5py.File(path, "a") as file:
        file.visititems(
            lambda name, node: names.append(name) if hasattr(node, "shape") else None
        )
        replaced(file, names[0], kind, tmp_path)
    with pytest.raises(UserError, match=said) as caught:
        standalone.load_weights(model, path)
    assert str(path) in str(caught.value)

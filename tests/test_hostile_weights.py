"""Reading weights runs nothing; `test_no_pickle.py` has all other files."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

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

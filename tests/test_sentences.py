"""What a user can mend is one sentence, and stays what it was inside TensorFlow."""

from __future__ import annotations

import errno

import pytest
import tensorflow as tf

from data import carried, places, sentences
from data.errors import UserError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space", "a/b"), "a/b: the disk is full."),
        (OSError(errno.EROFS, "Read-only", "a/b"), "a/b: it cannot be written"),
        (PermissionError(errno.EACCES, "denied", "a"), "a: this user may not"),
        (OSError(errno.EMFILE, "Too many"), "Too many files are open."),
        (FileNotFoundError(errno.ENOENT, "No such", "a"), "a: there is no such file"),
        (NotADirectoryError(errno.ENOTDIR, "Not", "a"), "a: a part of that path"),
        (OSError(errno.ELOOP, "Too many links", "a"), "a: Too many links."),
        (OSError("Unable to\nopen file"), "Unable to open file."),
        (OSError(), "Failed."),
        (
            OSError(
                "Unable to create file (unable to truncate file: name = 'a/w.h5', "
                "errno = 28, error message = 'No space left on device')"
            ),
            "a/w.h5: the disk is full.",
        ),
        (
            tf.errors.ResourceExhaustedError(
                None, None, "a/ckpt-1.index; No space left on device"
            ),
            "a/ckpt-1.index: the disk is full.",
        ),
        (MemoryError(), "There is not enough memory."),
        (tf.errors.ResourceExhaustedError(None, None, "OOM"), "There is not enough"),
        (UserError("Row 3 has no item."), "Row 3 has no item."),
    ],
)
def test_what_a_user_can_mend_is_said(error, said):
    found = sentences.of(error)
    assert found.startswith(said)
    assert "\n" not in found


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        ValueError("x"),
        tf.errors.InvalidArgumentError(None, None, "shape"),
    ],
)
def test_a_fault_of_the_code_is_no_sentence(error):
    assert sentences.of(error) is None


def test_a_place_that_cannot_be_written_is_named_with_its_flag(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--run_dir cannot be written: .*file/run"):
        places.check_writable(tmp_path / "file/run", "--run_dir")
    places.check_writable(tmp_path / "new/run", "--run_dir")
    assert not list((tmp_path / "new/run").iterdir())


def numbers(error):
    yield 1
    raise error


@pytest.mark.parametrize(
    "error", [UserError("User u7 has every item."), OSError(errno.EIO, "bad", "x.npy")]
)
def test_an_error_inside_a_generator_arrives_as_what_it_was(error):
    dataset = tf.data.Dataset.from_generator(
        lambda: carried.keeping(numbers(error)),
        output_signature=tf.TensorSpec([], tf.int32),
    )

    @tf.function
    def step(batches):
        return next(batches) + 1

    def consume():
        batches = iter(dataset.prefetch(2))
        return step(batches) + step(batches)

    with pytest.raises(type(error)) as raised, carried.raising():
        consume()
    assert raised.value is error


def test_an_error_of_tensorflow_s_own_stays_so():
    zeros = tf.zeros([3])
    with pytest.raises(tf.errors.InvalidArgumentError), carried.raising():
        tf.reshape(zeros, [2])

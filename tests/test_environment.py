"""What a process sets before TensorFlow: the allocator keeps what is freed."""

import logging
import os
import platform
import subprocess
import sys

import pytest
import tensorflow as tf

from harness import environment

# Blocks of 64 MB, each written as a whole and freed, as the tensors of a step are; the
# first call makes the memory, so that it is not counted.
PROGRAM = """
import ctypes, resource
from harness import environment
print(environment.keep_freed_memory())
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
def faults(blocks):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(blocks):
        block = ctypes.c_void_p(library.malloc(64 << 20))
        ctypes.memset(block, 1, 64 << 20)
        library.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(1)
print(faults(10))
"""
PAGES = 10 * (64 << 20) // os.sysconf("SC_PAGE_SIZE")

glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="another C library is left alone"
)


def run(**variables):
    ours = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    ours.pop("LD_PRELOAD", None)
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**ours, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    told, faults = ended.stdout.split()
    return told == "True", int(faults)


@glibc
def test_large_blocks_that_were_freed_are_taken_again_and_not_from_the_kernel():
    told, faults = run()
    assert told
    assert faults < PAGES / 20


@glibc
def test_who_chose_an_allocation_of_his_own_keeps_it():
    # This one has glibc's default, and so changes nothing but that it is named.
    told, faults = run(MALLOC_ARENA_TEST="8")
    assert not told
    # Every page of every block is made anew; a huge page, where there are, has 2 MB.
    assert faults >= 10 * 32


class Doubler:
    """What a model's scoring is to TensorFlow: a method that is traced once."""

    def double(self, value):
        return 2 * value


@pytest.mark.parametrize("filtered", [False, True])
def test_models_that_follow_each_other_are_not_called_retracing(
    filtered, monkeypatch, caplog
):
    logger = logging.getLogger("tensorflow")
    filters = [environment.is_not_of_retracing] if filtered else []
    monkeypatch.setattr(logger, "filters", filters)
    for _ in range(20):
        tf.function(Doubler().double)(tf.constant(1.0))
    logger.warning("something else")
    said = [record.getMessage() for record in caplog.records]
    assert "something else" in said
    assert any("retracing" in text for text in said) is not filtered

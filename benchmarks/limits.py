"""How fast a train step could be: its products, and what the machine multiplies."""

from __future__ import annotations

import dataclasses
import math
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from harness import provenance


@dataclasses.dataclass(frozen=True)
class Work:
    """What a step must do at least.

    Attributes:
        flops: of its matrix products and convolutions, a multiply-add being two.
        bytes: that these products read and write; all else as if fused into them.
    """

    flops: float
    bytes: float

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.bytes + other.bytes)

    def __mul__(self, times: int) -> Work:
        return Work(self.flops * times, self.bytes * times)


@dataclasses.dataclass(frozen=True)
class Rates:
    """What the machine does, measured with two operations at a time, on all cores.

    Attributes:
        gemm: FLOP/s of [4096, d] x [d, 4d] products, the shape of a recurrent step
            of a batch of 256 with 16 sequences each.
        large_gemm: FLOP/s of 1024 x 1024 x 1024 products.
        copy: bytes/s read and written while copying 256 MB.
    """

    gemm: float
    large_gemm: float
    copy: float

    def seconds(self, work: Work) -> float:
        """The time of the work if nothing else took any."""
        return max(work.flops / self.gemm, work.bytes / self.copy)


@dataclasses.dataclass(frozen=True)
class DeviceRates:
    """What one device does, beside a host that feeds it.

    Attributes:
        name: of the device, as its maker calls it.
        gemm: FLOP/s of 4096 x 4096 x 4096 products in float32.
        half_gemm: the same in float16.
        copy: bytes/s read and written while copying 256 MB of the device's memory.
        fed: bytes/s of 256 MB that come from the host.
    """

    name: str
    gemm: float
    half_gemm: float
    copy: float
    fed: float


def measure_device(device: str, size: int = 4096) -> DeviceRates:
    """Rates of a device by TensorFlow's name of it; `size` is of the products."""
    import tensorflow as tf

    physical = tf.config.list_physical_devices(device.strip("/").split(":")[0])[0]
    details = tf.config.experimental.get_device_details(physical)

    def gemm(dtype: Any) -> float:
        block = tf.ones([size, size], dtype)
        return 2 * size**3 / _seconds(lambda: tf.matmul(block, block), number=3)

    host = np.ones(2**26, np.float32)
    with tf.device(device):
        block = tf.ones([2**26])
        copied = 2 * host.nbytes / _seconds(lambda: tf.negative(block), number=3)
        rates = gemm(tf.float32), gemm(tf.float16), copied
        times = []
        for _ in range(4):
            started = time.perf_counter()
            tf.identity(tf.constant(host))
            tf.test.experimental.sync_devices()
            times.append(time.perf_counter() - started)
    name = details.get("device_name", physical.name)
    return DeviceRates(name, *rates, fed=host.nbytes / float(np.median(times)))


# Of a chain of products: a tenth of a second on one core of today.
_GEMM_FLOP = 1e10


def measure_rates(size: int) -> Rates:
    """Rates of TensorFlow's kernels where it runs them, a GPU if there is one.

    Args:
        size: d.
    """
    import tensorflow as tf

    def gemm(rows: int, inner: int, columns: int) -> float:
        left, right = tf.ones([rows, inner]), tf.ones([inner, columns])
        flop = 2 * rows * inner * columns
        number = min(200, max(10, round(_GEMM_FLOP / flop)))
        return flop / _seconds(lambda: tf.matmul(left, right), number)

    block = tf.ones([2**26])  # 256 MB, far beyond any cache.
    copied = 2 * block.shape[0] * 4 / _seconds(lambda: tf.negative(block), number=3)
    return Rates(gemm(4096, size, 4 * size), gemm(1024, 1024, 1024), copied)


def _seconds(function: Callable[[], Any], number: int = 200) -> float:
    """Median over batches of calls of the time of one, two chains at a time."""
    import tensorflow as tf

    def chain() -> Any:
        result = function()
        for _ in range(number - 1):
            # Each call waits for the one before.
            with tf.control_dependencies([result]):
                result = function()
        return result

    @tf.function
    def chains() -> list[Any]:
        return [chain() for _ in range(provenance.SIDE_BY_SIDE)]

    options = {"disable_meta_optimizer": True}  # Which would fold them into one.
    before = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options(options)
    run = chains.get_concrete_function()
    run()
    tf.test.experimental.sync_devices()
    times = []
    for _ in range(7):
        started = time.perf_counter()
        run()
        tf.test.experimental.sync_devices()  # A GPU goes on after the call.
        times.append(time.perf_counter() - started)
    restored = {"disable_meta_optimizer": before.get("disable_meta_optimizer", False)}
    tf.config.optimizer.set_experimental_options(restored)
    return float(np.median(times)) / number / provenance.SIDE_BY_SIDE


def step_work(step: Any, batch: dict[str, Any]) -> Work:
    """Counts the products of a compiled step from the shapes in its XLA graph.

    Args:
        step: a `tf.function` with `jit_compile=True`, of a batch.
        batch: tensors.
    """
    text = step.experimental_get_compiler_ir(batch)(stage="hlo")
    return count(text, loop_steps=int(batch["history"].shape[1]))


# Of one instruction: its dtype and sizes; a tuple has several.
Shapes = list[tuple[str, list[int]]]
_BYTES = {"f32": 4, "f16": 2, "bf16": 2, "f64": 8, "s32": 4, "s64": 8, "pred": 1}
_NONE = Work(0, 0)


def count(hlo: str, loop_steps: int) -> Work:
    """The work of a module's entry computation.

    Loops are those over a history, and run `loop_steps` times.
    """
    computations, entry = _computations(hlo)
    known: dict[str, Work] = {}

    def cost(name: str) -> Work:
        if name not in known:
            shapes: dict[str, Shapes] = {}
            operands: dict[str, list[str]] = {}
            works: dict[str, Work] = {}
            root = ""
            for line in computations[name]:
                result, used, work = _read(line, shapes, cost, loop_steps)
                operands[result], works[result] = used, work
                root = result if line.lstrip().startswith("ROOT ") else root
            known[name] = sum((works[each] for each in _live(root, operands)), _NONE)
        return known[name]

    return cost(entry)


def _live(root: str, operands: dict[str, list[str]]) -> set[str]:
    """What the root needs: XLA drops the rest, as Keras's trial step of a loop."""
    live, pending = set(), [root]
    while pending:
        name = pending.pop()
        if name not in live:
            live.add(name)
            pending += operands[name]
    return live


def _computations(hlo: str) -> tuple[dict[str, list[str]], str]:
    computations: dict[str, list[str]] = {}
    entry, current = "", ""
    for line in hlo.splitlines():
        header = re.match(
            r"^(ENTRY )?%?([\w.\-]+) .*\{$|^(ENTRY )?%?([\w.\-]+) \{$", line
        )
        if header and not line.startswith("HloModule"):
            current = header.group(2) or header.group(4)
            computations[current] = []
            if line.startswith("ENTRY"):
                entry = current
        elif current and " = " in line:
            computations[current].append(line)
    return computations, entry


def _read(
    line: str,
    shapes: dict[str, Shapes],
    cost: Callable[[str], Work],
    loop_steps: int,
) -> tuple[str, list[str], Work]:
    """An instruction's name, the names it uses, and its work; notes its shapes."""
    name, rest = re.match(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*)$", line).groups()
    kind = re.search(r"(?:^|[\s)}])([a-z][\w\-]*)\(", rest)
    head, operation = rest[: kind.start(1)], kind.group(1)
    shapes[name] = [
        (dtype, [int(size) for size in sizes.split(",") if size])
        for dtype, sizes in re.findall(r"(\w+)\[([\d,]*)\]", head)
    ]
    words = re.findall(r"%([\w.\-]+)", rest)
    used = [word for word in words if word in shapes and word != name]
    return (
        name,
        used,
        _work(operation, rest, shapes[name], used, shapes, cost, loop_steps),
    )


def _work(
    operation: str,
    text: str,
    result: Shapes,
    used: list[str],
    shapes: dict[str, Shapes],
    cost: Callable[[str], Work],
    loop_steps: int,
) -> Work:
    if operation == "while":
        return cost(_attribute(text, "body")) * loop_steps
    if operation == "call":
        return cost(_attribute(text, "to_apply"))
    if operation == "conditional":
        named = re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", text)
        listed = re.search(r"branch_computations=\{([^}]*)\}", text)
        branches = listed.group(1).replace("%", "").split(", ") if listed else named
        return max((cost(branch) for branch in branches), key=lambda work: work.flops)
    if operation not in ("dot", "convolution"):
        return _NONE
    (left, right), out = [shapes[each][0] for each in used], result[0]
    if operation == "dot":
        axes = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", text).group(1)
        inner = math.prod(left[1][int(axis)] for axis in axes.split(",") if axis)
    else:
        # For each output: the whole kernel but its output features.
        labels = re.search(r"dim_labels=\w+_(\w+)->", text).group(1)
        inner = math.prod(right[1]) // right[1][labels.index("o")]
    moved = sum(_BYTES[dtype] * math.prod(size) for dtype, size in (left, right, out))
    return Work(2.0 * inner * math.prod(out[1]), moved)


def _attribute(text: str, name: str) -> str:
    return re.search(rf"{name}=%?([\w.\-]+)", text).group(1)

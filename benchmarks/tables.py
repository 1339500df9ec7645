"""What the benchmarks print, as Markdown."""

from __future__ import annotations

import statistics
from typing import Any

from harness import provenance
from harness.config import PAPER

_COLUMNS = {
    "parameters": "parameters",
    "first_step_s": "first step, s",
    "positives_per_s": "positives/s",
    "gflops_per_s": "GFLOP/s",
    "limit_positives_per_s": "limit, positives/s",
    "limit_share": "of the limit",
    "ranked_per_s": "ranked/s",
    "full_per_s": "full/s",
    "peak_mb": "peak, MB",
}


def speeds(result: dict[str, Any]) -> str:
    """The tables of a result, with the machine."""
    machine = result["machine"]
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"GPU: {machine['gpu'] or 'none'}; "
        f"commit {provenance.short(result['commit'])}, "
        f"TensorFlow {result['versions']['tensorflow']}; "
        f"recipe {result.get('recipe', PAPER)}.",
        "",
    ]
    lines += [_gpu(result.get("gpu")), ""]
    if "prepare" in result:
        prepare = result["prepare"]
        lines += [
            f"`data.prepare` of {prepare['interactions']:,} interactions: "
            f"{prepare['prepare_s']} s, {prepare['peak_memory_gb']} GB at its peak.",
            "",
        ]
    for name, workload in result["workloads"].items():
        rates = workload["rates"]
        lines += [
            f"**{name}**: {workload['users']:,} users, {workload['items']:,} items, "
            f"mean history {workload['mean_history']}; measured product of the "
            f"step's shape {rates['gemm_gflops']} GFLOP/s, of "
            f"1024³ {rates['large_gemm_gflops']}, copy {rates['copy_gb_per_s']} GB/s.",
            "",
            "| model | " + " | ".join(_COLUMNS.values()) + " |",
            "| --- |" + " --- |" * len(_COLUMNS),
        ]
        for model, figures in workload["models"].items():
            cells = [_cell(figures.get(key), key) for key in _COLUMNS]
            lines.append(f"| {model} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines) + "\n"


def _gpu(rates: dict[str, Any] | None) -> str:
    """What a GPU could do at most, or why nothing is said of one."""
    if rates is None:
        return "GPU: TensorFlow sees none here, so that no rates of one were measured."
    return (
        f"{rates['name']}: 4096³ products at {rates['gemm'] / 1e12:.1f} TFLOP/s in "
        f"float32 and {rates['half_gemm'] / 1e12:.1f} in float16, copies at "
        f"{rates['copy'] / 1e9:.0f} GB/s, {rates['fed'] / 1e9:.1f} GB/s from the host. "
        "All figures below are of this GPU, their limits too."
    )


def _cell(value: float | None, key: str) -> str:
    if value is None:
        return "–"
    return f"{value:.0%}" if key == "limit_share" else f"{value:,}"


def ratios(result: dict[str, Any], baseline: dict[str, Any]) -> str:
    """This run's speeds over those of the baseline, where both have them."""
    lines = [
        "This run over the baseline:",
        "",
        "| model | positives/s | ranked/s |",
        "| --- | --- | --- |",
    ]
    for name, workload in result["workloads"].items():
        before = baseline["workloads"].get(name, {}).get("models", {})
        for model, figures in workload["models"].items():
            if model not in before:
                continue
            cells = [
                f"{figures[key] / before[model][key]:.2f}"
                if key in figures and key in before[model]
                else "–"
                for key in ("positives_per_s", "ranked_per_s")
            ]
            lines.append(f"| {name}: {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def peers(models: dict[str, dict[str, float]], library: str = "RecBole") -> str:
    """Speeds of a library's models and of ours, and ours over theirs."""
    lines = [
        f"| model | {library}: positives/s | ours | ratio "
        f"| {library}: ranked/s | ours | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, rates in models.items():
        cells = [name]
        for kind in ("train", "rank"):
            ours, theirs = rates[f"our_{kind}"], rates[f"their_{kind}"]
            cells += [f"{theirs:,.0f}", f"{ours:,.0f}", f"{ours / theirs:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def bucketing(result: dict[str, Any]) -> str:
    """Validation metrics in batches of like length, in random ones, and the gain."""
    lines = [
        f"{result['dataset']}, {result['split']}, validation, uni1000; seeds "
        f"{', '.join(map(str, result['seeds']))}; mean ± standard deviation. The "
        "difference, of like lengths over random, is paired by seed.",
        "",
        "| model | metric | like lengths | random | difference "
        "| s per epoch, like | random |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for model, orders in result["models"].items():
        for name in orders["like"][0]:
            like, random = ([of[name] for of in orders[o]] for o in ("like", "random"))
            gains = [a - b for a, b in zip(like, random)]
            cells = [_spread(like), _spread(random), _spread(gains)]
            seconds = [f"{orders['epoch_s'][order]:,}" for order in ("like", "random")]
            lines.append(f"| {model} | {name} | " + " | ".join(cells + seconds) + " |")
    return "\n".join(lines) + "\n"


def _spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4f} ± {deviation:.4f}"

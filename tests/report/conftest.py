import json

import numpy as np
import pytest

from tempograd.report.report import write_report

NB201 = "|nor_conv_3x3~0|+|avg_pool_3x3~0|skip_connect~1|+|none~0|nor_conv_1x1~1|nor_conv_3x3~2|"


def profiled():
    """What ``profile --json`` prints of a network of two convolutions and much between."""

    def row(name, op, family, bound, ms, macs=0):
        arrays = [{"dtype": "float32", "shape": [1, 64, 56, 56]}]
        return {
            "name": name, "op": op, "family": family, "bound": bound, "ms": ms, "share": ms / 4, "macs": macs,
            "origin": [f"/features/block/{name}/a_name_that_is_long_and_has_no_blank_in_it"], "inputs": arrays,
            "outputs": arrays, "read_bytes": 800_000, "written_bytes": 800_000, "of_best": 0.5, "least_ms": ms / 2,
            "signature": "0" * 12, "provider": "cpu",
        }  # fmt: skip

    kernels = [
        row("conv", "nchwc.Conv", "convolution", "arithmetic", 2.0, 10**8), row("wide", "Conv", "convolution",
        "bandwidth", 1.0, 10**6), row("relu", "Relu", "elementwise", "dispatch", 1.0), row("gone", "Identity", "layout",
        "dispatch", 0.0),
    ]  # fmt: skip
    return {
        "name": "a_network_of_a_name_without_any_blank.onnx", "latency_ms": 4.0, "low_ms": 3.9, "high_ms": 4.1,
        "verdict": "ok", "processes": 3, "device": "0123456789ab", "nodes": 5, "watched_sum_ms": 4.4,
        "rates": {"gmacs": 100.0, "gbps": 10.0, "dispatch_us": 10.0}, "kernels": kernels,
        "families": [{"family": "convolution", "kernels": 2, "ms": 3.0, "share": 0.75}],
        "advice": [{"gain_ms": 0.5, "text": "<b>fuse</b>"}],
    }  # fmt: skip


def minimal():
    """Only what a result cannot do without."""
    return {
        "schema": 1,
        "space": "nasbench201:cells=1,width=8,classes=10,size=8,channels=1",
        "method": "la_darts",
        "task": "digits",
        "seed": 0,
        "mode": "weight",
        "lam": 0.1,
        "found": {
            "key": "3.4.1.0.2.3",
            "text": NB201,
            "predicted_ms": 1.1,
            "measured": {"latency_ms": 1.13, "low_ms": 1.1, "high_ms": 1.16, "verdict": "ok"},
        },
        "verdict": "measured",
    }


def full(seed=7):
    """A result with every section, from seeded numbers."""
    rng = np.random.default_rng(seed)
    measured = np.exp(rng.uniform(np.log(0.4), np.log(2.4), 120))
    predicted = measured * np.exp(rng.normal(0, 0.04, 120))
    epochs = 30
    latencies = rng.uniform(0.6, 1.2, 12)
    start = 1.79e9 + np.concatenate([np.cumsum(rng.uniform(1, 4, 300)), 9000 + np.cumsum(rng.uniform(1, 4, 120))])
    sentinel = np.where(rng.random(420) < 0.2, 0.26, 0.2) * np.exp(rng.normal(0, 0.02, 420))
    ramp = np.linspace(0, 1, epochs)
    tree = minimal()
    tree["found"] |= {
        "predicted_low_ms": 1.02,
        "predicted_high_ms": 1.19,
        "accuracy": 0.974,
        "validation_accuracy": 0.981,
        "parameters": 61234,
        "macs": 4_100_000,
    }
    tree["found"]["measured"] |= {"path": "gated", "rounds": 14, "gated": 12}
    return tree | {
        "mode": "target",
        "target_ms": 1.2,
        "lam": None,
        "verdict": "pass",
        "device": {
            "id": "0f3a5c7d9e1b",
            "place": "local",
            "hardware": {"processor": "Example CPU", "cores": 4, "memory_bytes": 8589934592},
            "runtime": {"onnxruntime": "1.32.0"},
            "options": {"threads": 1, "batch": 1, "precision": "fp32"},
        },
        "predictor": {
            "path": "predictor/",
            "model": "mlp",
            "encoding": "raw",
            "feed": "sampled",
            "scores": {"mape": 0.034, "spearman": 0.987, "n_test": 120},
        },
        "parity": {
            "measured_ms": measured.tolist(),
            "predicted_ms": predicted.tolist(),
            "low_ms": (predicted * 0.93).tolist(),
            "high_ms": (predicted * 1.07).tolist(),
        },
        "feasibility": {
            "smallest_ms": 0.31,
            "median_ms": 1.05,
            "largest_ms": 2.61,
            "target_ms": 1.2,
            "share_within_target": 0.62,
        },
        "repairs": [
            {"key": "3.3.3.3.2.3", "text": "first", "predicted_ms": 1.18, "measured_ms": 1.31, "verdict": "ok"},
            {"key": "3.3.3.0.2.3", "text": "second", "predicted_ms": 1.11, "measured_ms": None, "verdict": "failed"},
            {"key": "3.4.1.0.2.3", "text": NB201, "predicted_ms": 1.1, "measured_ms": 1.12, "verdict": "ok"},
        ],
        "random": [
            {
                "key": f"{i}.0.0.0.0.3",
                "text": f"random {i}",
                "accuracy": float(0.93 + 0.03 * (ms - 0.6) + rng.normal(0, 0.006)),
                "validation_accuracy": 0.95,
                "predicted_ms": float(ms),
                "measured_ms": float(ms * 1.02),
                "low_ms": float(ms * 0.99),
                "high_ms": float(ms * 1.06),
                "verdict": "noisy" if i == 3 else "ok",
            }
            for i, ms in enumerate(latencies)
        ],
        "trace": {
            "epoch": list(range(epochs)),
            "phase": ["warm_up"] * 8 + ["search"] * (epochs - 8),
            "loss_weights": (2.3 * np.exp(-3 * ramp) + 0.1).tolist(),
            "loss_law": [None] * 8 + (2.1 * np.exp(-3 * ramp[8:]) + 0.15).tolist(),
            "entropy": (9.6 - 6 * ramp**2).tolist(),
            "cost_sampled_ms": (1.6 - 0.5 * ramp).tolist(),
            "cost_direct_ms": (1.8 - 0.6 * ramp).tolist(),
            "lam": (0.4 * ramp**0.5).tolist(),
            "tau": (5 * np.exp(-2 * ramp)).tolist(),
            "seconds": [1.0] * epochs,
        },
        "sentinels": [
            {"started_s": float(t), "sentinel_ms": float(s), "gate_ms": 0.215}
            for t, s in zip(start, sentinel, strict=True)
        ],
        "environment": {"governor": "performance", "load": 0.1},
        "versions": {"tempograd": "0.1.0", "torch": "2.13"},
        "command": "tempograd search nasbench201 --target-ms 1.2",
        "seconds": {"search": 31.5, "train": 4.2, "measure": 20.0, "random": 40.0},
    }


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a result directory and returns it."""

    def written(tree):
        directory = tmp_path / "result"
        directory.mkdir(exist_ok=True)
        (directory / "result.json").write_text(json.dumps(tree), encoding="utf-8")
        return directory

    return written


@pytest.fixture
def full_result():
    return full()


@pytest.fixture
def minimal_result():
    return minimal()


@pytest.fixture(scope="session")
def full_page(tmp_path_factory):
    """Return the text of the page of a full result, made once."""
    directory = tmp_path_factory.mktemp("full")
    (directory / "result.json").write_text(json.dumps(full()), encoding="utf-8")
    return write_report(directory, directory / "report.html").read_text(encoding="utf-8")

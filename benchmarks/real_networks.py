"""How near are real networks of families that nobody timed, predicted by their kernels? Beside what is simpler.

    pip install --no-deps timm torchvision safetensors huggingface_hub       # beside the torch that is there
    python benchmarks/real_networks.py export --folder onnx/                  # some 4 minutes, 4 GB, no weights fetched
    python benchmarks/real_networks.py collect --folder onnx/ --store real.db [--limit 1000]
    python benchmarks/real_networks.py judge --store real.db

``export`` writes more than 60 networks of more than 20 families with random weights. ``collect`` is ``tempograd
kernels collect`` of them: a quiet machine of two cores is needed for about 20 minutes with ``--limit 1000``. The
same command goes on after a stop; ``--device local:runtime=openvino`` does it on another runtime. ``judge`` leaves
out one family at a time, with the kernels that only it has, then one network at a time, and prints one JSON line a
method: MAPE, shares within 5 and 10 %, rank correlation and, where there is one, how often the interval held.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tempograd.data.store import Store
from tempograd.predictor.kernels import Bag, Sample, fit
from tempograd.profiler.kernels import Fees, samples_of
from tempograd.verbs.kernels import collect

FAMILIES = {
    "resnet": "resnet18 resnet26 resnet34 resnet50 seresnet50",
    "resnext": "resnext50_32x4d seresnext26d_32x4d",
    "mobilenet": "mobilenetv1_100 mobilenetv2_035 mobilenetv2_050 mobilenetv2_100 mobilenetv2_140",
    "mobilenetv3": "mobilenetv3_small_050 mobilenetv3_small_100 mobilenetv3_large_075 mobilenetv3_large_100",
    "efficientnet": "efficientnet_b0 efficientnet_b1 efficientnet_lite0 efficientnet_lite1 tinynet_a tinynet_e",
    "mnasnet": "mnasnet_small mnasnet_050 mnasnet_100 fbnetc_100 spnasnet_100",
    "regnet": "regnetx_002 regnetx_004 regnetx_008 regnety_002 regnety_004 regnety_008",
    "densenet": "densenet121",
    "vgg": "vgg11",
    "convnext": "convnext_atto convnext_femto convnext_pico convnext_nano",
    "vit": "vit_tiny_patch16_224 vit_small_patch32_224 vit_small_patch16_224 deit_tiny_patch16_224",
    "swin": "swin_tiny_patch4_window7_224 swin_s3_tiny_224",
    "mlp": "mixer_s32_224 mixer_s16_224 resmlp_12_224 gmixer_12_224",
    "shufflenet": "tv:shufflenet_v2_x0_5 tv:shufflenet_v2_x1_0 tv:shufflenet_v2_x1_5",
    "squeezenet": "tv:squeezenet1_0 tv:squeezenet1_1",
    "inception": "tv:googlenet inception_v3",
    "ghostnet": "ghostnet_050 ghostnet_100",
    "repvgg": "repvgg_a0 repvgg_a1",
    "mobilevit": "mobilevit_xxs mobilevit_xs mobilevit_s",
    "poolformer": "poolformer_s12 poolformerv2_s12",
    "dla": "dla34 dla46_c dla60x_c",
    "hrnet": "hrnet_w18_small",
    "alexnet": "tv:alexnet",
    "levit": "levit_128s levit_128",
    "edgenext": "edgenext_xx_small edgenext_x_small",
    "efficientformer": "efficientformer_l1",
    "lcnet": "lcnet_050 lcnet_075 lcnet_100",
    "darknet": "cspresnet50",
    "segmentation": "tv:lraspp_mobilenet_v3_large tv:deeplabv3_mobilenet_v3_large",
    "mobileone": "mobileone_s0",
    "fastvit": "fastvit_t8",
}
RIDGE = 1e-2


def export(folder: Path) -> None:
    """Write every network as FAMILY.NAME.onnx; those that are there are kept."""
    import torch

    torch.set_num_threads(1)
    operators = torch.library.Library("torchvision", "DEF")  # its compiled part does not load beside a torch for CPUs
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    folder.mkdir(parents=True, exist_ok=True)
    for family, names in FAMILIES.items():
        for name in names.split():
            path = folder / f"{family}.{name.removeprefix('tv:')}.onnx"
            if not path.exists():
                _export(name, path)
                print(path.name, path.stat().st_size, flush=True)


def _export(name: str, path: Path) -> None:
    import timm
    import torch
    import torchvision

    torch.manual_seed(0)
    if name.startswith("tv:"):
        segments = "lraspp" in name or "deeplab" in name
        more: dict[str, Any] = {"weights_backbone": None} if segments else {}
        more |= {"aux_logits": False, "init_weights": False} if name == "tv:googlenet" else {}
        module, side = torchvision.models.get_model(name[3:], weights=None, **more).eval(), 224
        if segments:
            module.forward = lambda x, forward=module.forward: forward(x)["out"]
    else:
        module = timm.create_model(name, pretrained=False, exportable=True).eval()
        side = module.default_cfg["input_size"][-1]
    norms = [value for key, value in module.named_buffers() if "running" in key]
    with torch.no_grad():
        for value in [*module.parameters(), *norms]:
            if value.numel() > 1 and bool((value == value.flatten()[0]).all()):  # zeros and ones would be folded away
                value.copy_(float(value.flatten()[0] != 0) + 0.1 * torch.randn_like(value).clamp(-3, 3))
        part = path.with_suffix(".part")
        torch.onnx.export(module, (torch.zeros(1, 3, side, side),), str(part), input_names=["x"], dynamo=False)
        part.rename(path)


Fit = Callable[[Mapping[str, Sample], Sequence[Bag], Fees], Callable[[Bag], tuple[float, float, float]]]


def by_kernels(samples: Mapping[str, Sample], bags: Sequence[Bag], fees: Fees) -> Callable[[Bag], Any]:
    kept = fit(samples, bags, fingerprint_id="", dispatch_ms=fees.dispatch_ms)
    return lambda bag: kept.predict(bag.kernels)


def by_forests(samples: Mapping[str, Sample], bags: Sequence[Bag], fees: Fees) -> Callable[[Bag], Any]:
    """Fit a random forest to the kernels of each family, as nn-Meter does, and add up."""
    from sklearn.ensemble import RandomForestRegressor

    groups: defaultdict[str, list[Sample]] = defaultdict(list)
    for one in samples.values():
        groups[one.kernel.family].append(one)
        groups[""].append(one)
    plain = fit(samples, [], fingerprint_id="", dispatch_ms=fees.dispatch_ms)
    forests = {
        family: RandomForestRegressor(100, random_state=0).fit(
            [plain.features(one.kernel) for one in mine], np.log([one.ms for one in mine])
        )
        for family, mine in groups.items()
        if len(mine) >= 5
    }

    def predict(bag: Bag) -> tuple[float, float, float]:
        rows: defaultdict[str, list[Any]] = defaultdict(list)
        for kernel in bag.kernels:
            rows[kernel.family if kernel.family in forests else ""].append(plain.features(kernel))
        ms = sum(float(np.exp(forests[family].predict(x)).sum()) for family, x in rows.items())
        return ms, np.nan, np.nan

    return predict


def _ridge(totals: Callable[[Bag], list[float]]) -> Fit:
    def fitted(samples: Mapping[str, Sample], bags: Sequence[Bag], fees: Fees) -> Callable[[Bag], Any]:
        X, y = np.log([totals(bag) for bag in bags]), np.log([bag.ms for bag in bags])
        mean, scale = X.mean(0), X.std(0)
        Z = (X - mean) / scale
        weights = np.linalg.solve(Z.T @ Z + RIDGE * len(Z) * np.eye(Z.shape[1]), Z.T @ (y - y.mean()))
        return lambda bag: (
            float(np.exp(y.mean() + (np.log(totals(bag)) - mean) / scale @ weights)), np.nan, np.nan,
        )  # fmt: skip

    return fitted


def _macs(bag: Bag) -> list[float]:
    return [1.0 + sum(kernel.macs for kernel in bag.kernels)]


def _four(bag: Bag) -> list[float]:
    moved = sum(kernel.written_bytes for kernel in bag.kernels)
    held = sum(kernel.inputs[n].bytes for kernel in bag.kernels for n in kernel.constants)
    return [*_macs(bag), 1.0 + moved, 1.0 + held, float(len(bag.kernels))]


METHODS: dict[str, Fit] = {
    "kernels": by_kernels, "forests of kernels": by_forests, "macs": _ridge(_macs), "four totals": _ridge(_four),
}  # fmt: skip


def judge(store: Path, device: str | None) -> None:
    """Print how near each method is to networks that were left out, by families and by networks."""
    with Store(store) as kept:
        samples, bags, fees, id_ = samples_of(kept, device)
    bags = [bag for bag in bags if "." in bag.name]
    for left_out in ("families", "networks"):
        groups: defaultdict[str, list[Bag]] = defaultdict(list)
        for bag in bags:
            groups[bag.name.partition(".")[0] if left_out == "families" else bag.name].append(bag)
        for name, method in METHODS.items():
            rows: list[tuple[str, float, float, float, float]] = []
            for group, mine in groups.items():
                others = [bag for bag in bags if bag not in mine]
                seen = {kernel.signature for bag in others for kernel in bag.kernels}
                own = {kernel.signature for bag in mine for kernel in bag.kernels} - seen
                told = method({key: one for key, one in samples.items() if key not in own}, others, fees)
                rows += [(group, bag.ms, *told(bag)) for bag in mine]
            about = {"by": name, "left_out": left_out, "device": id_, "groups": len(groups), "kernels": len(samples)}
            print(json.dumps(about | scores(rows)), flush=True)


def scores(rows: Sequence[tuple[str, float, float, float, float]]) -> dict[str, Any]:
    """Return how near predictions are: rows of group, ms as measured, ms as predicted, and its interval."""
    truth, told, low, high = np.array([row[1:] for row in rows]).T
    error = np.abs(told / truth - 1)
    ranks = [np.argsort(np.argsort(one)) for one in (truth, told)]
    by_group: defaultdict[str, list[float]] = defaultdict(list)
    for row, off in zip(rows, error, strict=True):
        by_group[row[0]].append(100 * float(off))
    return {
        "networks": len(rows), "mape_pct": 100 * float(error.mean()), "median_pct": 100 * float(np.median(error)),
        "within_5": float((error <= 0.05).mean()), "within_10": float((error <= 0.1).mean()),
        "spearman": float(np.corrcoef(*ranks)[0, 1]),
        "covered": None if np.isnan(low).all() else float(((low <= truth) & (truth <= high)).mean()),
        "width_pct": None if np.isnan(low).all() else 100 * float(np.median(high / told - 1)),
        "worst_families": dict(sorted(((g, np.mean(e)) for g, e in by_group.items()), key=lambda one: -one[1])[:6]),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("export", "collect", "judge"))
    parser.add_argument("--folder", type=Path, default=Path("onnx"))
    parser.add_argument("--store", type=Path, default=Path("real.db"))
    parser.add_argument("--device", default="local", help="for collect a spec, for judge the id of a fingerprint")
    parser.add_argument("--limit", type=int, default=1000)
    asked = parser.parse_args()
    if asked.step == "export":
        export(asked.folder)
    elif asked.step == "collect":
        files = sorted(asked.folder.glob("*.onnx"))
        done = collect(files, asked.store, device=asked.device, limit=asked.limit)
        print(done.text)
        sys.exit(done.exit_code)
    else:
        judge(asked.store, None if asked.device == "local" else asked.device)


if __name__ == "__main__":
    main()

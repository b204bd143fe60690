"""Count the different networks of a space, as the runtime executes them.

Every architecture is built, optimised by ONNX Runtime, and the optimised graph is put in canonical form; that is
compared with the canonical form that tempograd derives without a runtime. No class of the latter may hold two graphs:
a label copied within it would be wrong.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from hashlib import sha256
from pathlib import Path

import onnx
import onnxruntime as ort

from tempograd.registry import create
from tempograd.spaces.canonical import canonical

COMMUTATIVE = {"Add", "Sum", "Mul"}


def executed(path: Path, folder: Path, level: str) -> str:
    """Return the canonical form of what ONNX Runtime makes of a file: colours refined until they no longer split."""
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    options.add_session_config_entry("session.disable_prepacking", "1")
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    graph = onnx.load(folder / "optimised.onnx", load_external_data=False).graph
    colours = {w.name: f"weight {list(w.dims)}" for w in graph.initializer} | {i.name: "input" for i in graph.input}
    users: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for number, node in enumerate(graph.node):
        for place, source in enumerate(node.input):
            users[source].append((number, -1 if node.op_type in COMMUTATIVE else place))
    own = [
        digest(
            node.domain, node.op_type, *sorted(a.SerializeToString(deterministic=True).hex() for a in node.attribute)
        )
        for node in graph.node
    ]
    outputs = {o.name for o in graph.output}
    classes = 0
    while len(set(own)) > classes:
        classes = len(set(own))
        for node, colour in zip(graph.node, own, strict=True):
            colours |= {name: f"{colour} {place}" for place, name in enumerate(node.output)}
        own = [
            digest(
                colour,
                *sources([colours.get(name, "none") for name in node.input], node.op_type),
                "used by",
                *sorted(f"{place} {own[user]}" for name in node.output for user, place in users[name]),
                "output" if outputs & set(node.output) else "",
            )
            for node, colour in zip(graph.node, own, strict=True)
        ]
    return digest(*sorted(own))


def sources(colours: list[str], op_type: str) -> list[str]:
    return sorted(colours) if op_type in COMMUTATIVE else colours


def digest(*parts: str) -> str:
    return sha256("\n".join(parts).encode()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="nasbench201:cells=1")
    parser.add_argument("--level", default="ORT_ENABLE_ALL")
    arguments = parser.parse_args()
    space = create("space", arguments.space)
    ours: dict[str, set[str]] = defaultdict(set)
    theirs: dict[str, set[str]] = defaultdict(set)
    examples: dict[tuple[str, str], str] = {}
    with tempfile.TemporaryDirectory() as name:
        for architecture in space.enumerate():
            path, _ = space.write_onnx(architecture, Path(name))
            one, other = canonical(space.network_graph(architecture)), executed(path, Path(name), arguments.level)
            path.unlink()
            ours[one].add(other)
            theirs[other].add(one)
            examples.setdefault((one, other), architecture.key)
    split = [one for one, others in ours.items() if len(others) > 1]
    result = {
        "space": space.spec,
        "architectures": sum(1 for _ in space.enumerate()),
        "canonical_forms": len(ours),
        "executed_graphs": len(theirs),
        "forms_that_hold_several_graphs": len(split),
        "graphs_that_several_forms_share": sum(len(forms) > 1 for forms in theirs.values()),
        "examples_split": [[examples[one, other] for other in ours[one]] for one in split[:5]],
        "examples_shared": [
            [examples[form, graph] for form in forms] for graph, forms in theirs.items() if len(forms) > 1
        ][:5],
        "onnxruntime": ort.__version__,
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()

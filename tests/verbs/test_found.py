"""What the choices of a found network cost."""

import json

import numpy as np
import pytest

from tempograd import registry
from tempograd.spaces.saved import architecture_json
from tempograd.verbs.found import by_choice, choices_of
from tempograd.verbs.profile import profile

SPECS = ("nasbench201:cells=1,width=4,size=8", "mbconv:family=ofa,size=32,classes=10,width=0.25,stages=2")


def found(spec, folder):
    """A result's folder, as far as profile reads it."""
    space = registry.create("space", spec)
    network = next(a for a in space.sample(20, np.random.default_rng(0)) if space.is_connected(a))
    folder.mkdir()
    path, _ = space.write_onnx(network, folder)
    path.rename(folder / "network.onnx")
    (folder / "architecture.json").write_text(json.dumps(architecture_json(space, network)))
    return space, network


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS)
def test_every_choice_has_its_kernels_and_the_shares_add_up(spec, tmp_path):
    space, network = found(spec, tmp_path / "result")
    told = profile(tmp_path / "result", device="simulated:slow=1,noise=0.001,process_noise=0.001")
    rows = told.document["choices"]
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert sum(row["ms"] for row in rows) == pytest.approx(told.document["latency_ms"])
    assert sum(row["kernels"] for row in rows) == len(told.document["kernels"])
    options = {site.name: site.options[n] for site, n in zip(space.sites, network.choices, strict=True) if n >= 0}
    assert {row["site"] for row in rows if row["site"]} <= options.keys()
    assert all(row["option"] == options.get(row["site"], "") for row in rows)
    assert len(rows) > 3
    first = next(row for row in rows if row["site"])
    assert any(line.endswith(f"{first['site']} {first['option']}") for line in told.text.splitlines())


def test_a_kernel_counts_for_the_choice_that_put_it_there():
    space = registry.create("space", SPECS[0])
    network = space.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|")
    kernels = [
        {"origin": ["cells/0/e0/nor_conv_3x3/conv"], "ms": 2.0, "share": 0.5},
        {"origin": ["cells/2/e0/nor_conv_3x3/conv"], "ms": 1.0, "share": 0.25},
        {"origin": ["stem/conv"], "ms": 1.0, "share": 0.25},
    ]
    rows = by_choice(space, network, kernels)
    assert rows[0] == {"site": "e0", "option": "nor_conv_3x3", "ms": 3.0, "share": 0.75, "kernels": 2}
    assert rows[1]["site"] == ""


def test_a_folder_that_names_no_space_has_no_choices(tmp_path):
    assert choices_of(tmp_path, []) == []
    (tmp_path / "architecture.json").write_text('{"space": "mine@123", "choices": [0]}')
    assert choices_of(tmp_path, []) == []

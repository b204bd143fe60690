"""A network on disk comes back as it was, without the search."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from tempograd import registry
from tempograd.errors import InputRefusedError
from tempograd.spaces.saved import architecture_json, load_architecture, load_network, rebuild_line

SPECS = [
    "nasbench201:cells=1,width=4,size=8,channels=1",
    "darts:layers=2,width=4,size=8",
    "mbconv:family=ofa,size=8,classes=5,width=0.25,stages=2,layers=3",
    "routed:base=mbv2,blocks=2/3-4/5-6,reach=2,layers=1,head=8,size=8,classes=5",
]


@pytest.fixture(params=SPECS, ids=lambda spec: spec.partition(":")[0])
def saved(request, tmp_path):
    space = registry.create("space", request.param)
    (architecture,) = space.sample(1, np.random.default_rng(3))
    network = space.to_torch(architecture).eval()
    (tmp_path / "architecture.json").write_text(json.dumps(architecture_json(space, architecture)))
    save_file(network.arrays(), tmp_path / "weights.safetensors")
    return tmp_path, space, architecture, network


def test_architecture_and_outputs_come_back(saved):
    folder, space, architecture, network = saved
    other, again = load_architecture(folder)
    assert (other.spec, again) == (space.spec, architecture)
    images = torch.randn(2, *space.graph.input_shape)
    with torch.no_grad():
        assert torch.equal(load_network(folder)(images), network(images))


@pytest.mark.slow
def test_the_line_runs_without_the_search(saved):
    folder, *_ = saved
    absent = "not [m for m in sys.modules if m.startswith(('tempograd.search', 'tempograd.profiler'))]"
    code = f"{rebuild_line(folder)}; import sys; assert not network.training; assert {absent}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_bad_files_are_refused(saved):
    folder, space, architecture, _ = saved
    others = space.sample(20, np.random.default_rng(4))
    other = next(
        a for a in others if space.network_graph(a).parameters() != space.network_graph(architecture).parameters()
    )
    save_file(space.to_torch(other).arrays(), folder / "weights.safetensors")
    with pytest.raises(InputRefusedError, match="another network"):
        load_network(folder)
    (folder / "weights.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputRefusedError, match="trained=False"):
        load_network(folder)
    assert load_network(folder, trained=False)
    for text in ("{", "[]", '{"space": "darts"}', json.dumps({"space": space.spec, "choices": None})):
        (folder / "architecture.json").write_text(text)
        with pytest.raises(InputRefusedError, match="no architecture"):
            load_architecture(folder)
    with pytest.raises(InputRefusedError, match="no architecture"):
        load_architecture(folder / "absent")

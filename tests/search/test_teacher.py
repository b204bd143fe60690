"""Teachers: a result folder and an ONNX file say the same, whatever batch the file is of."""

import json

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import save_file

from tempograd import registry
from tempograd.errors import InputRefusedError, UsageError
from tempograd.search.teacher import load_teacher, of_module
from tempograd.spaces.export import to_onnx
from tempograd.spaces.saved import architecture_json

SPACE = registry.create("space", "nasbench201:cells=1,width=4,size=8,channels=1")
NETWORK = SPACE.architecture((3, 1, 1, 1, 1, 3))
IMAGES = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    network = SPACE.to_torch(NETWORK).eval()
    save_file(network.arrays(), tmp_path / "weights.safetensors")
    (tmp_path / "architecture.json").write_text(json.dumps(architecture_json(SPACE, NETWORK)))
    for batch in (1, 2):
        onnx.save(to_onnx(SPACE.network_graph(NETWORK), network.arrays(), batch=batch), tmp_path / f"{batch}.onnx")
    return tmp_path


@pytest.mark.parametrize("name", ["", "weights.safetensors", "1.onnx", "2.onnx"])
def test_every_way_to_name_a_network_gives_its_logits(folder, name):
    torch.manual_seed(0)
    expected = SPACE.to_torch(NETWORK).eval()(IMAGES).detach()
    teacher = load_teacher(folder / name)
    assert torch.allclose(teacher(IMAGES), expected, atol=1e-4)
    assert not teacher(IMAGES).requires_grad
    teacher.check(IMAGES, (10,))
    with pytest.raises(UsageError, match="classes"):
        teacher.check(IMAGES, (11,))
    with pytest.raises(UsageError, match="cannot be asked about images of"):
        teacher.check(torch.rand(5, 2, 8, 8), (10,))


def test_other_weights_are_another_teacher(folder):
    one = load_teacher(folder)
    arrays = SPACE.to_torch(NETWORK).arrays()
    save_file({name: np.zeros_like(value) for name, value in arrays.items()}, folder / "weights.safetensors")
    assert load_teacher(folder).digest != one.digest
    assert load_teacher(folder).digest == load_teacher(folder).digest


def test_what_is_no_teacher_is_refused(folder):
    (folder / "bad.onnx").write_bytes(b"none")
    for name, told in (("bad.onnx", "cannot read the teacher"), ("a.pt", "is no teacher; allowed")):
        with pytest.raises(InputRefusedError, match=told):
            load_teacher(folder / name)


def test_a_module_teaches_in_eval_mode():
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10), torch.nn.Dropout(0.9)).train()
    teacher = of_module(module)
    assert torch.equal(teacher(IMAGES), teacher(IMAGES))

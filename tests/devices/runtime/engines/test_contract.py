"""Every runtime of the folder fulfils the contract; a new file is tested without an edit here."""

import pytest

from tempograd.registry import create, names
from tempograd.testing.runtimes import RuntimeContract, why_not

pytestmark = pytest.mark.real


@pytest.mark.slow
class TestRuntimes(RuntimeContract):
    """In the ways that they state, and in those that need a GPU. On a CPU Inductor is tested apart."""

    names = tuple(names("runtime"))
    ways = (
        "onnxruntime,provider=cuda,cuda_graph=true",
        "onnxruntime,provider=cuda,precision=fp16",
        "torch,provider=cuda,cuda_graph=true",
        "torch,provider=cuda,mode=inductor",
        "tensorrt,cuda_graph=true",
        "tensorrt_rtx,cuda_graph=true",
    )
    always = ("onnxruntime", "torch")  # they are dependencies


def test_no_two_runtimes_share_a_fingerprint():
    ids = [create("device", f"local:runtime={name}").fingerprint.id for name in names("runtime") if not why_not(name)]
    assert len(set(ids)) == len(ids) >= 2

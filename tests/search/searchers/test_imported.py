"""The file of an imported supernet: what it says, who may read it, and what it never writes over."""

import pytest
import torch

from tempograd import registry
from tempograd.errors import MismatchError, UsageError
from tempograd.search.searchers.checkpoint import is_checkpoint
from tempograd.search.searchers.imported import imported, load_imported, write_imported

SPACE = registry.create("space", "mbconv:family=ofa_mbv3,size=8,classes=5,width=0.5,stages=1,layers=2")


def test_weights_come_back_as_they_went(tmp_path):
    one, other = SPACE.supernet(), SPACE.supernet()
    write_imported(tmp_path / "net.safetensors", SPACE, one, "ofa.pth")
    assert imported(tmp_path / "net.safetensors") == {"space": SPACE.spec, "source": "ofa.pth"}
    assert is_checkpoint(tmp_path / "net.safetensors")
    load_imported(tmp_path / "net.safetensors", SPACE, other)
    state = other.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in one.state_dict().items())


def test_those_of_another_space_are_refused(tmp_path):
    wider = registry.create("space", "mbconv:family=ofa_mbv3,size=8,classes=5,width=1.0,stages=1,layers=2")
    write_imported(tmp_path / "net.safetensors", SPACE, SPACE.supernet(), "ofa.pth")
    with pytest.raises(MismatchError, match=r"width=0\.5.*not of .*width=1\.0.*search that space"):
        load_imported(tmp_path / "net.safetensors", wider, wider.supernet())


def test_what_is_not_ours_is_left_alone(tmp_path):
    (tmp_path / "net.safetensors").write_bytes(b"mine")
    with pytest.raises(UsageError):
        write_imported(tmp_path / "net.safetensors", SPACE, SPACE.supernet(), "ofa.pth")
    assert (tmp_path / "net.safetensors").read_bytes() == b"mine"


def test_any_other_file_is_none(tmp_path):
    assert imported(tmp_path / "absent") is None
    (tmp_path / "broken").write_bytes(b"nothing")
    assert imported(tmp_path / "broken") is None

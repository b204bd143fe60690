"""Graphs as JSON: networks of the user's own come back whole, and what is none is refused."""

import json

import numpy as np
import pytest

from tempograd import registry
from tempograd.spaces.written import graph_json, graph_of

SPECS = ("nasbench201:cells=1,width=4", "mbconv:family=fbnetv2,size=16,stages=2,layers=2", "recurrent:hidden=8")


@pytest.mark.parametrize("spec", SPECS)
def test_a_network_comes_back_as_it_was_written(spec):
    space = registry.create("space", spec)
    for architecture in space.sample(3, np.random.default_rng(0)):
        graph = space.network_graph(architecture)
        assert graph_of(json.loads(json.dumps(graph_json(graph)))) == graph


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"layer": "os.system"}, "no layer 'os.system'"),
        ({"layer": "Mix"}, "no layer 'Mix'"),
        ({"inputs": ["later"]}, "a takes later, which nothing before it gives"),
        ({"arguments": {"out": "many"}}, "a is no Conv"),
        ({"arguments": {"width": 3}}, "a is no Conv"),
    ],
)
def test_what_is_no_graph_is_refused(changed, told):
    node = {"name": "a", "layer": "Conv", "arguments": {"out": 4}, "inputs": ["input"]}
    graph = {"input_shape": [3, 8, 8], "nodes": [node], "output": "a"}
    assert graph_of(graph).shape == (4, 8, 8)
    with pytest.raises(ValueError, match=told):
        graph_of(graph | {"nodes": [node | changed]})
    with pytest.raises(ValueError, match="no node 'b'"):
        graph_of(graph | {"output": "b"})

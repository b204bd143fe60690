"""Vision transformers: sizes as published, and sub-networks that are parts of the largest."""

import numpy as np
import pytest
import torch

from tempograd import registry
from tempograd.errors import UsageError
from tempograd.spaces.network import inherit

DEIT = {"tiny": ("w192", "h3", 5_717_416, 1.25), "small": ("w384", "h6", 22_050_664, 4.6)}  # Touvron et al., 2012.12877


@pytest.mark.parametrize("family", DEIT)
def test_deit_is_in_the_space_with_its_published_size(family):
    width, heads, parameters, gmacs = DEIT[family]
    space = registry.create("space", f"vit:family={family},attention=plain")
    text = f"width={width};depth=d12;" + ";".join(f"h{i}={heads};m{i}=x4" for i in range(12))
    graph = space.network_graph(space.parse(text))
    assert graph.parameters() == parameters
    assert graph.macs() / 1e9 == pytest.approx(gmacs, abs=0.01)


@pytest.mark.parametrize(("family", "layers", "options"), [("tiny", 14, 4), ("small", 14, 9), ("base", 16, 9)])
def test_families_have_as_many_networks_as_their_choices_make(family, layers, options):
    space = registry.create("space", f"vit:family={family}")
    assert space.size_log10 == pytest.approx(
        np.log10(3 * sum(options**depth for depth in range(layers - 2, layers + 1)))
    )


def test_a_network_has_the_first_layers_heads_and_channels_of_the_largest():
    space = registry.create("space", "vit:layers=2,width=0.05,head=3,patch=4,size=8,classes=5")
    supernet = space.supernet()
    network = inherit(space.to_torch(space.parse("width=w10;depth=d1;h0=h3;m0=x3_5")), supernet)
    whole = supernet.shared["net/layers/0/attention/attention/k_weight"]
    assert tuple(whole.shape) == (12, 12)
    part = network.layers["net/w10/layers/0/attention/h3/attention"].k_weight
    assert torch.equal(part, whole[:9, :10])
    assert not any("layers/1" in name for name in network.layers)
    assert (
        sum(p.numel() for p in supernet.parameters())
        == space.network_graph(space.parse("width=w12;depth=d2;h0=h4;m0=x4;h1=h4;m1=x4")).parameters()
    )


def test_images_that_no_patch_divides_are_refused():
    with pytest.raises(UsageError, match=r"size=30; allowed: a multiple of patch=16"):
        registry.create("space", "vit:size=30")

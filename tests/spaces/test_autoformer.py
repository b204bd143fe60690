"""Released supernets of AutoFormer: a state of the published layout, run as published, is the network of the space."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import gelu, layer_norm, linear

from tempograd import registry
from tempograd.errors import InputRefusedError
from tempograd.search.searchers.imported import load_imported
from tempograd.spaces.autoformer import read_autoformer, spec_of
from tempograd.spaces.network import inherit
from tempograd.verbs.import_weights import import_weights

HEAD, SUPER, HEADS, SIDE, LAYERS, CLASSES = 4, 18, 4, 3, 2, 5
SPEC = f"vit:layers={LAYERS},width=0.07,head={HEAD},patch=2,size=6,classes={CLASSES}"
WIDTH = 15  # of 13, 15 and 17


@pytest.fixture(scope="module")
def space():
    return registry.create("space", SPEC)


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    wide, hidden = HEAD * HEADS, 4 * SUPER
    shapes = {"patch_embed_super.proj.weight": (SUPER, 3, 2, 2), "patch_embed_super.proj.bias": (SUPER,)}
    shapes |= {"cls_token": (1, 1, SUPER), "pos_embed": (1, 1 + SIDE**2, SUPER)}
    shapes |= {"norm.weight": (SUPER,), "norm.bias": (SUPER,), "head.weight": (CLASSES, SUPER), "head.bias": (CLASSES,)}
    for layer in range(LAYERS):
        block = {"attn.qkv.weight": (3 * wide, SUPER), "attn.qkv.bias": (3 * wide,), "attn.proj.weight": (SUPER, wide)}
        block |= {"attn.proj.bias": (SUPER,), "fc1.weight": (hidden, SUPER), "fc1.bias": (hidden,)}
        block |= {"fc2.weight": (SUPER, hidden), "fc2.bias": (SUPER,)}
        block |= {f"{kind}_layer_norm.{part}": (SUPER,) for kind in ("attn", "ffn") for part in ("weight", "bias")}
        block |= {f"attn.rel_pos_embed_{part}.embeddings_table_{way}": (30, HEAD) for part in "kv" for way in "vh"}
        shapes |= {f"blocks.{layer}.{name}": shape for name, shape in block.items()}
    return {name: torch.randn(shape) * 0.3 for name, shape in shapes.items()}


def relation(state, name):
    """``(n, n, head)``: the term of every pair of tokens, as published: one for rows and one for columns apart."""
    n = SIDE**2
    index = torch.zeros(2, n + 1, n + 1, dtype=torch.long)
    for a in range(n):
        for b in range(n):
            index[0, a + 1, b + 1] = b // SIDE - a // SIDE + 15
            index[1, a + 1, b + 1] = b % SIDE - a % SIDE + 15
    return state[f"{name}.embeddings_table_v"][index[0]] + state[f"{name}.embeddings_table_h"][index[1]]


def published(state, images, width, heads, hidden):
    """The released network as its paper's code computes it, of the width, heads and hidden numbers of every layer."""
    norm = lambda x, name: layer_norm(x, (width,), state[f"{name}.weight"][:width], state[f"{name}.bias"][:width])  # noqa: E731
    proj = (state[f"patch_embed_super.proj.{part}"][:width] for part in ("weight", "bias"))
    x = torch.conv2d(images, *proj, stride=2).flatten(2).transpose(1, 2)
    x = torch.cat([state["cls_token"][..., :width].expand(len(x), -1, -1), x], 1) + state["pos_embed"][..., :width]
    for layer in range(len(heads)):
        block, wide, (b, n, _) = f"blocks.{layer}", heads[layer] * HEAD, x.shape
        weight = state[f"{block}.attn.qkv.weight"][:, :width]
        weight = torch.cat([weight[i : 3 * wide : 3] for i in range(3)])
        told = linear(norm(x, f"{block}.attn_layer_norm"), weight, state[f"{block}.attn.qkv.bias"][: 3 * wide])
        q, k, v = told.reshape(b, n, 3, heads[layer], HEAD).permute(2, 0, 3, 1, 4)
        r_k, r_v = (relation(state, f"{block}.attn.rel_pos_embed_{part}") for part in "kv")
        seen = ((q @ k.mT + torch.einsum("bhnd,nmd->bhnm", q, r_k)) * HEAD**-0.5).softmax(-1)
        y = (seen @ v + torch.einsum("bhnm,nmd->bhnd", seen, r_v)).transpose(1, 2).reshape(b, n, wide)
        x = x + linear(y, state[f"{block}.attn.proj.weight"][:width, :wide], state[f"{block}.attn.proj.bias"][:width])
        m = hidden[layer]
        y = gelu(linear(norm(x, f"{block}.ffn_layer_norm"), state[f"{block}.fc1.weight"][:m, :width],
                        state[f"{block}.fc1.bias"][:m]))  # fmt: skip
        x = x + linear(y, state[f"{block}.fc2.weight"][:width, :m], state[f"{block}.fc2.bias"][:width])
    return linear(norm(x, "norm")[:, 1:].mean(1), state["head.weight"][:, :width], state["head.bias"])


@pytest.mark.parametrize(
    ("text", "heads", "hidden"),
    [
        ("width=w15;depth=d2;h0=h4;m0=x4;h1=h3;m1=x3_5", (4, 3), (60, 52)),
        ("width=w15;depth=d1;h0=h3;m0=x3_5", (3,), (52,)),
    ],
)
def test_networks_of_the_space_are_those_of_the_released_supernet(space, state, text, heads, hidden):
    supernet = space.supernet()
    supernet.load_state_dict(read_autoformer(state, space))
    architecture = space.parse(text)
    network = inherit(space.to_torch(architecture), supernet).eval()
    images = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    gates = {site: gate[0] for site, gate in space.gates([architecture]).items()}
    with torch.no_grad():
        expected = published(state, images, WIDTH, heads, hidden)
        assert torch.allclose(network(images), expected, atol=1e-4)
        assert torch.allclose(supernet(images, gates), expected, atol=1e-4)


def test_another_file_is_refused_by_the_name_of_the_weight(space, state):
    with pytest.raises(InputRefusedError, match=r"blocks\.1\.fc1\.weight is missing"):
        read_autoformer({name: value for name, value in state.items() if name != "blocks.1.fc1.weight"}, space)
    with pytest.raises(InputRefusedError, match=r"pos_embed is \(1, 17, 18\), .* needs \(10, 17\)"):
        read_autoformer({**state, "pos_embed": torch.zeros(1, 17, SUPER)}, space)
    with pytest.raises(InputRefusedError, match=r"head\.weight is \(3, 18\)"):
        read_autoformer({**state, "head.weight": torch.zeros(3, SUPER)}, space)
    with pytest.raises(InputRefusedError, match=r"norm\.weight is \(\)"):
        read_autoformer({**state, "norm.weight": torch.zeros(())}, space)


def test_a_released_file_becomes_the_file_of_a_supernet(space, state, tmp_path):
    torch.save({"model": state, "epoch": 500}, tmp_path / "supernet.pth")
    out = tmp_path / "supernet.safetensors"
    done = import_weights(f"vit:{tmp_path / 'supernet.pth'}", out, space=SPEC)
    assert done.document["space"] == space.spec
    supernet = space.supernet()
    load_imported(out, space, supernet)
    expected = read_autoformer(state, space)
    assert all(torch.equal(value, expected[name]) for name, value in supernet.state_dict().items())
    out.unlink()
    torch.save({"model": {**state, "norm.bias": torch.zeros(3)}}, tmp_path / "other.pth")
    with pytest.raises(InputRefusedError, match=r"other\.pth: norm\.bias is \(3,\), .* needs \(17,\)"):
        import_weights(f"vit:{tmp_path / 'other.pth'}", out, space=SPEC)
    with pytest.raises(InputRefusedError, match=r"is for the space vit, not for mbconv"):
        import_weights(f"vit:{tmp_path / 'supernet.pth'}", out, space="mbconv:family=ofa_mbv3,size=8")
    assert not out.exists()


def test_the_space_is_read_off_the_shapes_of_a_file():
    def shaped(wide):
        told = {
            "patch_embed_super.proj.weight": (wide, 3, 16, 16),
            "pos_embed": (1, 197, wide),
            "head.weight": (7, wide),
        }
        return {name: torch.empty(shape) for name, shape in told.items()} | {f"blocks.{i}.x": 0 for i in range(14)}

    spec = spec_of(shaped(448), Path("s.pth"))
    assert spec == "vit:family=small,layers=14,classes=7,patch=16,size=224,channels=3"
    assert registry.create("space", spec).network_graph
    with pytest.raises(InputRefusedError, match=r"proj\.weight is \(300, 3, 16, 16\).*allowed: embeddings 256 wide"):
        spec_of(shaped(300), Path("s.pth"))
    with pytest.raises(InputRefusedError, match=r"it has no pos_embed; allowed: supernets of AutoFormer"):
        spec_of({name: value for name, value in shaped(256).items() if name != "pos_embed"}, Path("s.pth"))

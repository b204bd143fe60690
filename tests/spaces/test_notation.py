"""Every space reads what it writes, in every notation, and shows a mistake at its place."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tempograd import registry
from tempograd.data.table import read_table
from tempograd.errors import InvalidArchitectureError
from tempograd.spaces.notation import literal, mistake

SPECS = (
    *registry.names("space"), "mbconv:family=proxyless", "mbconv:family=ofa", "mbconv:family=fbnetv2",
    "mbconv:family=ofa,size=224,resolution_options=25", "mbconv:family=ofa,stages=3,layers=2",
    "mbconv:family=ofa,width_options=2", "mbconv:family=proxyless,stages=3,layers=2,resolution_options=3",
    "routed:base=resnet",
)  # fmt: skip
SEPARABLE = "('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
GENOTYPE = (
    f"Genotype(normal=[{4 * SEPARABLE}], normal_concat=range(2, 6), reduce=[{4 * SEPARABLE}], "
    "reduce_concat=[2, 3, 4, 5])"
)
CONFIG = {"wid": None, "ks": [3, 5, 7, 3] * 5, "e": [3, 4, 6, 3] * 5, "d": [2, 3, 4, 2, 3], "r": [224]}
OFA = registry.create("space", "mbconv:family=ofa,size=224")
DARTS = registry.create("space", "darts")


@pytest.fixture(params=SPECS)
def space(request):
    return registry.create("space", request.param)


def test_every_notation_is_read_as_it_is_written_and_taken_for_no_other(space):
    for architecture in space.sample(20, np.random.default_rng(0)):
        for notation in space.notations:
            text = notation.write(architecture)
            assert space.parse(text) == architecture, notation.name
            assert next(n.name for n in space.notations if n.matches(text)) == notation.name
        assert space.format(architecture) == space.notations[0].write(architecture)


def test_tables_hold_any_notation(space, tmp_path):
    architectures = space.sample(25, np.random.default_rng(0))
    for notation in space.notations:
        columns = {"arch": [notation.write(a) for a in architectures], "y": np.linspace(20, 30, 25)}
        pq.write_table(pa.table(columns), tmp_path / "t.parquet")
        assert read_table(tmp_path / "t.parquet", space, "y[ms]").architectures == tuple(architectures)


def test_what_is_of_no_notation_is_answered_with_an_example_of_each(space):
    with pytest.raises(InvalidArchitectureError) as caught:
        space.parse("!" * 5000)
    message = str(caught.value)
    assert message.startswith("character 1, here >>> in '>>>!!!")
    assert "!" * 60 not in message  # not the whole input again
    assert all(f"{notation.name}: " in message for notation in space.notations)


def test_the_genotype_of_darts():
    found = DARTS.parse(GENOTYPE)
    assert DARTS.parse(f"DARTS_V2 = {GENOTYPE}") == DARTS.parse(GENOTYPE.replace(", ", ",\n  ")) == found
    assert DARTS.format(found).startswith("normal:|sep_conv_3x3~0|sep_conv_3x3~1|+|sep_conv_3x3~0|")
    assert DARTS.parse(GENOTYPE.replace("normal_concat=", "").replace("normal=", "")
                       .replace("reduce_concat=", "").replace("reduce=", "")
                       .replace("range(2, 6), ", "[2, 3, 4, 5], ", 1)) == found  # fmt: skip


def test_the_configuration_of_once_for_all():
    found = OFA.parse(str(CONFIG))
    row = {f"ks{i}": k for i, k in enumerate(CONFIG["ks"])} | {f"e{i}": e for i, e in enumerate(CONFIG["e"])}
    assert found == OFA.from_row(row | {f"d{s}": d for s, d in enumerate(CONFIG["d"])})
    dead = CONFIG | {"ks": [3, 5, 0, 0, *CONFIG["ks"][4:]]}  # the first stage has two layers
    assert OFA.parse(str(dead)) == found
    spread = registry.create("space", "mbconv:family=ofa,size=224,resolution_options=25")
    assert spread.sizes[spread.parse(str(CONFIG | {"r": 128})).choices[0]] == 128


def test_lists_of_blocks_by_published_name_name_here_and_number():
    fbnet = registry.create("space", "mbconv")
    names = ["k3_e1", "k3_e1_g2", "k5_e6", "skip"] * 5 + ["k3_e3", "k5_e3"]
    assert (
        fbnet.parse(str(names))
        == fbnet.parse(str([0, 1, 7, 8] * 5 + [2, 6]))
        == fbnet.parse(".".join(map(str, [0, 1, 7, 8] * 5 + [2, 6])))
    )
    proxyless = registry.create("space", "mbconv:family=proxyless")
    published = ["3x3_MBConv3", "Zero", "7x7_MBConv6", "5x5_MBConv3"] * 5 + ["7x7_MBConv3"]
    here = ["k3_e3", "skip", "k7_e6", "k5_e3"] * 5 + ["k7_e3"]
    assert proxyless.parse(str(published)) == proxyless.parse(str(here))


@pytest.mark.parametrize(
    ("space", "text", "place", "words"),
    [
        (DARTS, GENOTYPE.replace("sep_conv_3x3', 1", "sep_conv_9x9', 1", 1), "('sep_conv_9x9', 1)", "node 0"),
        (DARTS, GENOTYPE.replace("3x3', 1", "3x3', 2", 1), "('sep_conv_3x3', 2)", "source of 0..1"),
        (DARTS, GENOTYPE.replace("3x3', 1", "3x3', 0", 1), "('sep_conv_3x3', 0), ('sep_conv_3x3', 0), ('s", ""),
        (DARTS, GENOTYPE.replace("range(2, 6)", "range(3, 7)"), "range(3, 7)", "concatenates all nodes"),
        (DARTS, GENOTYPE.replace("range(2, 6)", "range(10**9)"), "10**9", "expected a number"),
        (DARTS, GENOTYPE.replace("reduce_concat", "reduced"), "[2, 3, 4, 5])", "unknown 'reduced'"),
        (DARTS, GENOTYPE[:-1], "", "bracket"),
        (DARTS, GENOTYPE.replace("range(2, 6)", "__import__('os').getcwd()"), "__import__", "expected a number"),
        (OFA, str(CONFIG | {"ks": [3, 9] + [3] * 18}), "9, 3", "allowed: 3, 5, 7"),
        (OFA, str(CONFIG | {"e": [3] * 19}), "[3, 3, 3", "19 layers; expected 20"),
        (OFA, str(CONFIG | {"d": [2, 3, 5, 2, 3]}), "5, 2, 3]", "allowed: 2, 3, 4"),
        (OFA, str(CONFIG | {"r": [160]}), "160]", "built at 224 pixels here; take a space with size=160"),
        (OFA, str(CONFIG | {"wid": 1.2}), "1.2", "one width"),
        (OFA, "{'ks': [3]}", "{'ks'", "'e' is missing"),
        (registry.create("space", "mbconv"), str(["k3_e1"] * 21 + ["k9_e1"]), "'k9_e1']", "no block of layer s6l0/op"),
        (registry.create("space", "mbconv"), str([0] * 21 + [9]), "9]", "or 0..8"),
        (registry.create("space", "nasbench201"), "|none~0|+|none~0|what~1|+|none~0|", "what~1", "node 2"),
        (registry.create("space", "routed"), "b0/layer0=k3_e3;b0/layer1=k9_e3", "k9_e3", "no option"),
        (registry.create("space", "routed"), "b0/layer0=k3_e3;b9/x=k9_e3", "b9/x", "no site"),
    ],
)  # fmt: skip
def test_a_mistake_is_shown_at_its_place(space, text, place, words):
    with pytest.raises(InvalidArchitectureError) as caught:
        space.parse(text)
    message = str(caught.value)
    assert words in message
    number = int(message.removeprefix("character ").partition(",")[0])
    if place:
        assert text[number - 1 :].startswith(place)
        assert ">>>" + text[number - 1 :][:10] in message.replace('\\"', '"').replace("\\'", "'")
    assert len(message) < 1500


def test_nothing_is_evaluated_and_deep_or_long_texts_end():
    for text in (
        "[" * 5000,
        "(" * 150 + ")" * 150,
        "[" + "1," * 20_000 + "]",
        "lambda: 0",
        "a.b(1)",
        "'a' * 9",
        "\x00",
    ):
        with pytest.raises(InvalidArchitectureError):
            literal(text).items(1, "things")
    assert "character 3, here >>> in 'ab>>>cd'" in str(mistake("abcd", 2, "why"))

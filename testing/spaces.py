# pyright: basic, reportArgumentType=false
"""What every space owes: its five readings agree."""

import itertools
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import ClassVar

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from .. import registry
from ..errors import InvalidArchitectureError, UnknownNameError, UsageError
from ..spaces.canonical import canonical
from ..spaces.circuit import SKELETON, counts
from ..spaces.export import WeightPool, to_onnx
from ..spaces.graph import INPUT, Graph, ports
from ..spaces.layers import BatchNorm
from ..spaces.network import image_of, inherit
from ..spaces.own import given
from ..spaces.space import SearchSpace
from .small import several, small_specs


def random_weights(network, seed=0):
    """Give every layer random weights and statistics, so that nothing agrees by being zero or one."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    for name, parameter in network.named_parameters():
        if parameter.ndim == 1 and name.endswith("weight"):
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        elif parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 0, 0.1)
    return network.eval()


def _told(param):
    return param.rpartition("/")[2] if isinstance(param, str) else param.__name__


def image(space, batch=2):
    """One input, or a list where the network takes several."""
    made, generator = [], torch.Generator().manual_seed(1)
    for shape, whole in ports(space.graph).values():
        size = (batch, *shape)
        made.append(torch.randint(0, 2, size) if whole else torch.randn(size, generator=generator))
    return made[0] if len(made) == 1 else made


def run(network, x, gates=None):
    """All outputs of a network as one tensor ``(b, n)``."""
    return whole(network(x, gates))


def whole(outputs):
    outputs = outputs if isinstance(outputs, tuple | list) else (outputs,)
    return torch.cat([output.reshape(len(output), -1) for output in outputs], dim=1)


def run_onnx(space, model, x):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # threads that wait for so little work only burn time
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    given = dict(zip(ports(space.graph), [x] if isinstance(x, torch.Tensor) else x, strict=True))
    fed = {one.name: given[one.name] for one in session.get_inputs()}
    if INPUT in fed and (side := session.get_inputs()[0].shape[-1]) != fed[INPUT].shape[-1]:
        fed[INPUT] = image_of(fed[INPUT], side)
    outputs = session.run(None, {name: value.numpy() for name, value in fed.items()})
    return whole([torch.from_numpy(output) for output in outputs])


def moved(x, place):
    return x.to(place) if isinstance(x, torch.Tensor) else [one.to(place) for one in x]


def by_site(space, rows):
    """Split ``(..., sum of widths)`` into each site's gates."""
    return dict(zip((site.name for site in space.sites), rows.split(list(space.widths), dim=-1), strict=True))


def slopes_are_true(function, x):
    """Tell whether gradients are finite differences: along a random direction through all inputs and outputs at once.

    The tolerance is such that a single gate of hundreds without its slope shows.
    """
    return torch.autograd.gradcheck(function, (x,), fast_mode=True, atol=1e-8, rtol=1e-6)


def close(a, b, tolerance):
    return float((a - b).abs().max()) <= tolerance * max(1.0, float(b.abs().max()))


class SpaceContract:
    """The five readings of a space agree.

    Every name is tested on the small instances that its class states (`SearchSpace.small`), else with its defaults.

    Attributes:
        names: the spaces' names in the registry.
        own: spaces that are in no registry: ``FILE.py:NAME``, or functions that return one.
    """

    names: ClassVar[Sequence[str]] = ()
    own: ClassVar[Sequence[str | Callable[[], SearchSpace]]] = ()

    def pytest_generate_tests(self, metafunc):
        """Run every test on every small instance."""
        if "space" in metafunc.fixturenames:
            specs = [spec for name in self.names for spec in small_specs(name)]
            metafunc.parametrize("space", [*specs, *self.own], indirect=True, scope="class", ids=_told)

    @pytest.fixture(scope="class")
    @classmethod
    def space(cls, request):
        return given(request.param if isinstance(request.param, str) else request.param())

    @pytest.fixture(scope="class")
    @classmethod
    def sample(cls, space):
        return several(space, 20, seed=0)

    def test_its_name_is_that_of_the_registry(self, space):
        name, _, digest = space.spec.partition(":")[0].partition("@")
        assert name == space.name
        assert bool(digest) == (space.name not in self.names)

    def test_samples_are_distinct_and_a_longer_one_begins_with_the_shorter(self, space):
        long = several(space, 600, seed=3)
        count = len(long)
        assert len(set(long)) == count
        assert space.sample(count // 6, np.random.default_rng(3)) == long[: count // 6]

    def test_equal_numbers_are_of_equal_networks_only(self, space):
        """`groups` may say one of two that differ in how weights are shared; work and shapes of both are the same."""
        architectures = several(space, 60, seed=3)
        count = len(architectures)
        groups = space.groups([*architectures, *architectures])
        assert (groups[:count] == groups[count:]).all()
        forms: dict[str, int] = {}
        for architecture, group in zip(architectures, groups.tolist(), strict=False):
            assert forms.setdefault(canonical(space.network_graph(architecture)), group) == group
        assert len(set(groups.tolist())) > min(10, count // 4)
        assert space.groups([]).shape == (0,)

    def test_a_network_is_connected_where_one_that_is_built_reads_its_input(self, space):
        for architecture in several(space, 200, seed=4):
            reads = any(INPUT in node.inputs for node in space.network_graph(architecture).nodes)
            assert space.is_connected(architecture) == reads

    def test_the_number_of_architectures_is_that_of_the_list(self, space):
        if space.size_log10 > 4.5:
            pytest.skip(f"{space.spec} has 10^{space.size_log10:.0f} architectures: too many to list")
        listed = list(space.enumerate())
        assert len(listed) == len(set(listed)) == round(10**space.size_log10)

    def test_a_site_that_decides_nothing_makes_no_other_architecture(self, space, sample):
        edges = np.cumsum(space.widths)[:-1]
        for architecture in sample:
            live = space.live(architecture.choices)
            assert live == [choice >= 0 for choice in architecture.choices]
            assert [bool(part.any()) for part in np.split(space.encode([architecture], "raw")[0], edges)] == live
            for i, site in enumerate(space.sites):
                if not live[i]:
                    for option in range(len(site.options)):
                        choices = [*architecture.choices[:i], option, *architecture.choices[i + 1 :]]
                        assert space.architecture(choices) == architecture

    def test_every_option_is_sampled(self, space):
        taken = np.array([a.choices for a in several(space, 1500, seed=0)])
        for index, site in enumerate(space.sites):
            live = {i for i, option in enumerate(site.options) if option != "none"}
            assert live <= set(taken[:, index]), site

    def test_encoding_round_trips_and_is_never_shared(self, space):
        architectures = several(space, 1000, seed=5)
        encoded = space.encode(architectures, "raw")
        assert encoded.shape == (len(architectures), sum(space.widths))
        assert space.decode(encoded) == architectures
        assert len({row.tobytes() for row in encoded}) == len(architectures)

    def test_text_and_key_round_trip(self, space, sample):
        for architecture in sample:
            assert space.parse(space.format(architecture)) == architecture
            assert space.parse(architecture.key) == architecture
            assert space.from_key(architecture.key) == architecture

    def test_relaxed_encoding_at_one_hots_is_the_encoding(self, space, sample):
        for encoding in (e.name for e in space.encodings if e.slope):
            relaxed = space.relax(space.gates(sample), encoding)
            assert np.array_equal(relaxed.numpy(), space.encode(sample, encoding))

    def test_encodings_are_values_with_names_of_their_own(self, space, sample):
        names = [encoding.name for encoding in space.encodings]
        assert len(set(names)) == len(names)
        assert space.encoding() == space.encodings[0]
        assert sum(encoding.sparing for encoding in space.encodings) == 1
        for encoding in space.encodings:
            encoded = encoding.encode(space, sample)
            assert np.array_equal(encoded, space.encode(sample, encoding.name))
            assert encoding.encode(space, []).shape == (0, encoded.shape[1])
            if encoding.sparing:
                assert sum(encoding.blocks(space)) == encoded.shape[1]
            if not encoding.slope:
                with pytest.raises(UsageError, match=f"'{encoding.name}' has no slope"):
                    space.relax(space.gates(sample), encoding.name)
        with pytest.raises(UnknownNameError, match=f"allowed: {', '.join(sorted(names))}"):
            space.encoding("none of these")

    def test_relaxed_encoding_is_differentiable(self, space):
        gates = torch.rand(2, sum(space.widths), dtype=torch.float64, requires_grad=True)
        for encoding in (e.name for e in space.encodings if e.slope):
            assert slopes_are_true(lambda rows, e=encoding: space.relax(by_site(space, rows), e), gates)

    @pytest.mark.parametrize("folded", [True, False])
    def test_onnx_runtime_equals_torch_on_random_weights(self, space, sample, folded):
        x = image(space)
        for architecture in sample[:10:2] if folded else sample[1:10:2]:
            network = random_weights(space.to_torch(architecture))
            model = to_onnx(network.graph, network.arrays(), batch=2, fold_batchnorm=folded)
            onnx.checker.check_model(model, full_check=True)
            with torch.no_grad():
                assert close(run_onnx(space, model.SerializeToString(), x), run(network, x), 1e-4)

    def test_written_onnx_equals_torch_with_the_shared_weights(self, space, sample, tmp_path):
        x, pool = image(space), WeightPool.of(space.graph, 7)
        for architecture in sample[10:15]:
            path, digest = space.write_onnx(architecture, tmp_path, batch=2, seed=7)
            network = space.to_torch(architecture).eval()
            network.load_arrays(pool.weights(network.graph))
            with torch.no_grad():
                assert close(run_onnx(space, path, x), run(network, x), 1e-4)
            assert digest == sha256(path.read_bytes()).hexdigest()
            assert path.stat().st_size < 150_000

    def test_written_onnx_is_the_same_in_every_run(self, space, sample, tmp_path):
        first = [space.write_onnx(a, tmp_path / "a")[1] for a in sample]
        assert [space.write_onnx(a, tmp_path / "b")[1] for a in sample] == first
        assert len(set(first)) == len({space.network_graph(a) for a in sample})

    def test_supernet_at_one_hot_gates_equals_the_built_network(self, space, sample):
        x, supernet = image(space), random_weights(space.supernet())
        for architecture in sample[:12]:
            network = inherit(space.to_torch(architecture), supernet).eval()
            gates = {site: gate[0] for site, gate in space.gates([architecture]).items()}
            with torch.no_grad():
                assert close(run(supernet, x, gates), run(network, x), 1e-5)

    def test_residual_branches_begin_at_scale_0_and_supernets_of_cells_have_no_scale(self, space, sample):
        if space.teacher() is not None:
            pytest.skip("it begins with weights that were trained")
        supernet = space.supernet()
        for network in (supernet, space.to_torch(sample[0])):
            weights = network.weights()
            for node, _ in network.graph.walk():
                if isinstance(node.operation, BatchNorm):
                    weight = weights.get(f"layers.{node.name}.weight")
                    assert (
                        weight is None
                        if network is supernet and not space.affine
                        else (torch.all(weight == (0 if node.operation.residual else 1)))
                    )

    def test_gates_are_sent_to_where_the_images_are(self, space):
        """On a device without numbers: a gate that stayed on the CPU would be an error, and so would reading one."""
        supernet = space.supernet().to("meta")
        gates = {s.name: torch.full((len(s.options),), 1 / len(s.options)) for s in space.sites}
        assert run(supernet, moved(image(space, 4), "meta"), gates).device.type == "meta"

    def test_supernet_gives_every_gate_its_gradient(self, space):
        supernet = random_weights(space.supernet()).train()  # a residual branch begins at scale 0
        gates = {s.name: torch.full((len(s.options),), 1 / len(s.options), requires_grad=True) for s in space.sites}
        run(supernet, image(space, 4), gates).square().sum().backward()
        for site in space.sites:
            gradient = gates[site.name].grad
            live = [i for i, option in enumerate(site.options) if option != "none"]
            assert gradient is not None
            assert (gradient[live] != 0).all()

    def test_an_option_with_gate_zero_is_not_run(self, space, sample):
        supernet, calls = space.supernet().eval(), []
        for name, layer in supernet.layers.items():
            layer.register_forward_hook(lambda *_, name=name: calls.append(name))
        gates = {site: gate[0] for site, gate in space.gates(sample[:1]).items()}
        supernet(image(space), gates)
        raw = {node.name for node in space.raw_graph(sample[0]).nodes}
        assert set(calls) <= raw

    @pytest.mark.parametrize("unit", ["macs", "parameters"])
    def test_circuit_at_one_hot_gates_equals_the_counter_of_the_network(self, space, sample, unit):
        table = counts(space.graph, space.operations, unit)
        counted = [getattr(space.raw_graph(a), unit)() for a in sample]
        assert np.allclose(space.circuit.cost(table, space.gates(sample)).double().numpy(), counted, rtol=1e-6)

    def test_parameter_counter_equals_torch(self, space, sample):
        for architecture in sample[:5]:
            network = space.to_torch(architecture)
            assert network.graph.parameters() == sum(p.numel() for p in network.parameters())

    def test_circuit_at_probabilities_equals_enumeration(self, space):
        """Two sites vary, the others are fixed: the expectation over their 4 to 64 combinations."""
        rng = np.random.default_rng(2)
        table = {key: float(rng.uniform(0.1, 1)) for key in space.circuit.keys}
        base = space.sample(1, rng)[0].choices
        for first, second in ((0, 1), (0, len(space.sites) - 1)):
            p, q = (rng.dirichlet(np.ones(space.widths[i])) for i in (first, second))
            gates = {
                s.name: torch.nn.functional.one_hot(torch.tensor(max(base[i], 0)), space.widths[i]).double()
                for i, s in enumerate(space.sites)
            }
            expected = 0.0
            for i, j in itertools.product(range(len(p)), range(len(q))):
                one = dict(gates)
                one[space.sites[first].name] = torch.eye(len(p), dtype=torch.float64)[i]
                one[space.sites[second].name] = torch.eye(len(q), dtype=torch.float64)[j]
                expected += p[i] * q[j] * float(space.circuit.cost(table, one))
            gates[space.sites[first].name], gates[space.sites[second].name] = torch.tensor(p), torch.tensor(q)
            assert float(space.circuit.cost(table, gates)) == pytest.approx(expected, rel=1e-9)

    def test_circuit_gradient_equals_finite_differences(self, space):
        rng = np.random.default_rng(4)
        table = {key: float(rng.uniform(0.1, 1)) for key in space.circuit.keys}
        gates = np.concatenate([rng.dirichlet(np.ones(k)) for k in space.widths])
        gates = torch.tensor(gates, requires_grad=True)
        assert slopes_are_true(lambda rows: space.circuit.cost(table, by_site(space, rows)), gates)

    def test_circuit_refuses_a_table_with_a_hole(self, space, sample):
        table = dict.fromkeys(space.circuit.keys, 1.0)
        table.pop(next(key for key in table if key != SKELETON))
        with pytest.raises(UnknownNameError, match="cost table"):
            space.circuit.cost(table, space.gates(sample))

    def test_operations_are_the_table_keys_and_run_alone(self, space):
        assert {*space.operations, SKELETON} == space.circuit.keys
        for graph in space.operations.values():
            assert isinstance(graph, Graph)
            assert to_onnx(graph, WeightPool.of(space.graph, 0)).graph.output

    def test_wrong_architectures_are_refused(self, space, sample):
        with pytest.raises(InvalidArchitectureError, match="sites"):
            space.architecture([0])
        with pytest.raises(InvalidArchitectureError, match="allowed"):
            space.architecture([99] * len(space.sites))
        with pytest.raises(InvalidArchitectureError):
            space.parse("no such network")
        with pytest.raises(UnknownNameError, match="encoding"):
            space.encode(sample, "nonsense")
        foreign = type(sample[0])("elsewhere", sample[0].choices)
        with pytest.raises(InvalidArchitectureError, match="elsewhere"):
            space.network_graph(foreign)

    def test_spec_names_the_same_space(self, space):
        again = registry.create("space", space.spec)
        assert again == space
        assert again.spec == space.spec
        assert again.sample(3, np.random.default_rng(0)) == space.sample(3, np.random.default_rng(0))

    @pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
    def test_networks_learn_under_autocast(self, space, sample, precision):
        """Layers with a way back of their own too; the batch is large enough for them."""
        x = image(space, 32)
        for architecture in sample[:6]:
            network = random_weights(space.to_torch(architecture)).train()
            with torch.autocast("cpu", precision):
                outputs = whole(network(x))
            outputs.float().square().mean().backward()
            assert all(one.grad.isfinite().all() for one in network.parameters() if one.grad is not None)

    @pytest.mark.parametrize("mixed", [False, True], ids=["network", "supernet"])
    def test_gradients_are_laid_out_as_their_maps(self, space, sample, mixed):
        """Where they are not, BatchNorm learns many times more slowly; the numbers are the same."""
        connected = next(architecture for architecture in sample if space.is_connected(architecture))
        network = (space.supernet() if mixed else space.to_torch(connected)).train()
        gates = {site.name: torch.full((len(site.options),), 1 / len(site.options)) for site in space.sites}
        apart = []

        def watch(name):
            def on_output(module, inputs, output):
                last = output.is_contiguous(memory_format=torch.channels_last)
                order = torch.channels_last if last else torch.contiguous_format

                def on_gradient(gradient):
                    if not gradient.is_contiguous(memory_format=order):
                        apart.append((name, gradient.stride()))

                output.register_hook(on_gradient)

            return on_output

        norms = {name: module for name, module in network.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
        for name, module in norms.items():
            module.register_forward_hook(watch(name))
        run(network, image(space), gates if mixed else None).sum().backward()
        assert bool(norms) == any(isinstance(node.operation, BatchNorm) for node, _ in network.graph.walk())
        assert not apart

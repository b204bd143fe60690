import numpy as np

from tempograd import registry
from tempograd.spaces.export import WeightPool, to_onnx


def test_the_pool_is_seeded_and_scaled_by_fan_in():
    graph = registry.create("space", "nasbench201").graph
    pool = WeightPool.of(graph, 0)
    assert np.array_equal(pool.values, WeightPool.of(graph, 0).values)
    assert not np.array_equal(pool.values, WeightPool.of(graph, 1).values)
    shape = (64, 64, 3, 3)
    weights = pool.values[pool.start(shape, 5) : pool.start(shape, 5) + np.prod(shape)]
    assert np.isclose(weights.std(), np.sqrt(2 / (64 * 9)), rtol=0.02)


def test_equal_layers_see_different_weights():
    """Equal weights on equal inputs would let a runtime merge two layers into one."""
    space = registry.create("space", "nasbench201:cells=1,width=4,size=8")
    graph = space.network_graph(space.architecture([3] * 6))
    weights = WeightPool.of(space.graph, 0).weights(graph)
    cell = [v.tobytes() for k, v in weights.items() if k.startswith("cells/0/") and v.ndim == 4]
    assert len(set(cell)) == len(cell) == 6


def test_folding_leaves_no_batch_norm_behind_a_convolution():
    space = registry.create("space", "nasbench201:cells=1,width=4,size=8")
    graph, pool = space.network_graph(space.architecture([3] * 6)), WeightPool.of(space.graph, 0)
    kinds = [n.op_type for n in to_onnx(graph, pool).graph.node]
    plain = [n.op_type for n in to_onnx(graph, pool, fold_batchnorm=False).graph.node]
    assert kinds.count("BatchNormalization") == 1  # the one before the classifier follows a sum
    short_cuts = 2  # the 1x1 beside each reduction has none
    assert plain.count("BatchNormalization") == 1 + kinds.count("Conv") - short_cuts


def test_batch_and_metadata_are_in_the_model():
    space = registry.create("space", "nasbench201:cells=1,width=4,size=8")
    graph = space.network_graph(space.architecture([1] * 6))
    model = to_onnx(graph, WeightPool.of(space.graph, 0), batch=3, metadata={"space": space.spec})
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [3, 3, 8, 8]
    assert {p.key: p.value for p in model.metadata_props} == {"space": space.spec}

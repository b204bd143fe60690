"""Kernels: what they move, and what changes their time."""

import numpy as np
from onnx import TensorProto, helper

from tempograd.graphs.kernels import Array, kernel_of


def test_a_kernel_counts_what_it_moves_and_is_told_apart_by_what_changes_its_time():
    def kernel(channels=8, **attributes):
        node = helper.make_node("Conv", ["x", "w"], ["y"], "conv", **attributes)
        read = [Array("float32", (1, 4, 8, 8)), Array("float32", (channels, 4, 1, 1))]
        return kernel_of(node, read, [Array("float32", (1, channels, 8, 8))], ms=1.0)

    one = kernel()
    assert (one.read_bytes, one.written_bytes) == (4 * (256 + 32), 4 * 512)
    assert one.signature == kernel().signature
    assert len({one.signature, kernel(16).signature, kernel(strides=[1, 1]).signature}) == 3
    assert np.dtype("float32").itemsize == TensorProto.FLOAT * 4

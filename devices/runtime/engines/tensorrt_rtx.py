"""NVIDIA TensorRT for RTX on the GPU, in the measuring process; see `tensorrt_engine`.

Its wheels are on PyPI. It builds for compute capabilities 7.5, 8.0, 8.6, 8.9 and 12, without a GPU at hand too.
"""

from __future__ import annotations

from ....arguments import Threads
from ..packages import Package
from ..tensorrt import TensorRt

PACKAGE = Package.extra("TensorRT-RTX", "tensorrt-rtx-cu13-bindings", extra="tensorrt-rtx")


class TensorRtRtx(TensorRt):
    """TensorRT-RTX 1.4 and newer; the arguments are those of `TensorRt`."""

    ways = ("",)

    def __init__(
        self,
        *,
        threads: Threads = 1,
        precision: str = "fp32",
        level: int = 3,
        cuda_graph: bool = False,
        engine_cache: bool = False,
    ) -> None:
        super().__init__(
            module="tensorrt_rtx_bindings", package=PACKAGE, provider="TensorRT-RTX", threads=threads,
            precision=precision, level=level, cuda_graph=cuda_graph, engine_cache=engine_cache,
        )  # fmt: skip


RUNTIME = TensorRtRtx

"""NVIDIA TensorRT on the GPU, in the measuring process; see `tensorrt_engine`."""

from __future__ import annotations

from ....arguments import Threads
from ..packages import Package
from ..tensorrt import TensorRt

PACKAGE = Package(
    "TensorRT", ("tensorrt",), "pip install 'tempograd[tensorrt]' --extra-index-url https://pypi.nvidia.com"
)


class ClassicTensorRt(TensorRt):
    """TensorRT 8.6 to 11; the arguments are those of `TensorRt`."""

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
            module="tensorrt", package=PACKAGE, provider="TensorRT", threads=threads, precision=precision, level=level,
            cuda_graph=cuda_graph, engine_cache=engine_cache,
        )  # fmt: skip


RUNTIME = ClassicTensorRt

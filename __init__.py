"""tempograd: the best network that runs on your device in T milliseconds.

The repository root is this package: ``profiler/`` is ``tempograd.profiler``. Importing it is light; torch and the
inference runtimes are imported where they are used.
"""

from tempograd.errors import TempogradError

__version__ = "0.1.0"
__all__ = ["TempogradError", "__version__"]

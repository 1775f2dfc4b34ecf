"""Front doors under the names and with the arguments that documents about these techniques use.

Each gives what strop itself offers under another name: an instruction for a recipe, which ``strop.train``,
``strop.optimize`` and ``strop.inline`` take, or a function.
"""

from strop.compat.batching import dynamic_batching
from strop.compat.training import MemoryCompressor, NumericStabilityMonitor, distributed

__all__ = ["MemoryCompressor", "NumericStabilityMonitor", "distributed", "dynamic_batching"]

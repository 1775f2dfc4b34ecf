"""Imports of packages that would otherwise report their use."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

_REPORTER = "openvino_telemetry"


def import_openvino() -> ModuleType:
    """Import ``openvino`` without its usage reporting.

    OpenVINO and NNCF treat the package ``openvino_telemetry`` as optional: where it cannot be imported they use a stub
    that does nothing. Marking it as absent in this process, before either is imported, therefore keeps them from writing
    a client id into the home folder and from preparing any event; the user's own consent file is not touched.
    A reporter that the calling program imported itself is left alone, as it is that program's decision.
    """
    sys.modules.setdefault(_REPORTER, None)  # type: ignore[arg-type]  # None marks a module as absent
    return import_module("openvino")


@cache
def openvino_core() -> Any:
    """Return this process's ``openvino.Core``.

    There is one, because the end of a second one that overlaps it can leave the process with a signal stack that is gone,
    and the next signal kills it.
    """
    return import_openvino().Core()


def import_nncf() -> ModuleType:
    """Import ``nncf`` without its usage reporting; see :func:`import_openvino`."""
    import_openvino()
    return import_module("nncf")


def import_onnxruntime() -> ModuleType:
    """Import ``onnxruntime`` with its telemetry events switched off (they exist in Windows builds only)."""
    onnxruntime = import_module("onnxruntime")
    onnxruntime.disable_telemetry_events()
    return onnxruntime

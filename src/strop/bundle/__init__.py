"""The deployable result: an artefact with a manifest that says what it is, what it needs and whether it is whole."""

from strop.bundle.manifest import FORMAT, Manifest, Origin
from strop.bundle.open import check_files, open_bundle, read_manifest
from strop.bundle.write import MANIFEST, update_manifest, write_bundle

__all__ = [
    "FORMAT",
    "MANIFEST",
    "Manifest",
    "Origin",
    "check_files",
    "open_bundle",
    "read_manifest",
    "update_manifest",
    "write_bundle",
]

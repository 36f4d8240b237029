"""TwoForms: a manifest as it is stored, and as clients that do not know its types take it."""

from __future__ import annotations

from dataclasses import dataclass

from fusefs.artifacts.manifest import DOCKER_MANIFEST, IMAGE_LAYERS, OCI_MANIFEST, Manifest
from fusefs.artifacts.modelpack import modelpack_of
from fusefs.errors import InvalidManifest
from fusefs.offers.catalog import Document


@dataclass(frozen=True, slots=True)
class TwoForms:
    """Both forms of one model.

    Attributes:
        stored: the manifest as it lies there.
        oci: as an OCI artifact; `stored` itself where that needs no other form.
        config: what `oci` names as its config, where it was made for it.
    """

    stored: Document
    oci: Document
    config: Document | None = None

    @classmethod
    def of(cls, stored: Document) -> TwoForms:
        """Both forms of a manifest that has been parsed."""
        if stored.media_type != DOCKER_MANIFEST:
            return cls(stored, stored)
        manifest = Manifest.parse(stored.raw)
        if all(layer.media_type.startswith(IMAGE_LAYERS) for layer in manifest.layers):
            return cls(stored, stored)  # Docker's own types: every client takes them
        try:
            made = modelpack_of(manifest)
        except InvalidManifest:  # names that no client of ours takes: for others to judge
            made = None
        if made is None:
            return cls(stored, stored)
        return cls(stored, Document(made[0], OCI_MANIFEST), Document(made[1]))

    def manifest(self, reference: object) -> Document | None:
        """The manifest that has the digest."""
        return next((document for document in (self.stored, self.oci) if document.digest == reference), None)

    def blob(self, reference: object) -> Document | None:
        """What of this has the digest: a registry gives manifests as blobs, too."""
        if self.config is not None and self.config.digest == reference:
            return self.config
        return self.manifest(reference)

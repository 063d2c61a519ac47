"""A bill of materials for an image, as CycloneDX: Debian's and Python's packages, the server's binary, models."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from email.parser import HeaderParser

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from images.oci import Image
from model.contract import METADATA_FILE

# Where distroless says what it is made of, a file for each package; and where Debian does, one for all.
DEBIAN = r"var/lib/dpkg/(status\.d/[^/]+(?<!\.md5sums)|status)"
PYTHON = r".*\.dist-info/METADATA"
SERVER = r"usr/bin/tensorflow_model_server"
MODELS = rf".*/assets\.extra/{re.escape(METADATA_FILE)}"
KEEP = (DEBIAN, PYTHON, SERVER, MODELS)  # what `read_layout` has to keep for `bill`


def bill(image: Image) -> Bom:
    """All that was put into one platform's image."""
    bom = Bom()
    bom.metadata.component = Component(
        type=ComponentType.CONTAINER,
        name=f"sightline-{image.name}",
        version=image.digest,
        bom_ref="image",
        properties=[Property(name="platform", value=image.platform)],
    )
    found = [*_debian(image), *_python(image), *_server(image), *_models(image)]
    bom.components.update(found)
    bom.register_dependency(bom.metadata.component, found)
    return bom


def as_json(bom: Bom) -> str:
    """CycloneDX 1.6 in JSON."""
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1)


def _debian(image: Image) -> Iterator[Component]:
    stanzas = [
        one for _path, data in image.kept(DEBIAN) for one in data.decode().split("\n\n") if one.strip()
    ]
    for fields in map(HeaderParser().parsestr, stanzas):
        name, version = fields["Package"], fields["Version"]
        yield Component(
            type=ComponentType.LIBRARY,
            name=name,
            version=version,
            bom_ref=f"deb-{name}",
            purl=PackageURL("deb", "debian", name, version, {"arch": fields["Architecture"]}),
        )


def _python(image: Image) -> Iterator[Component]:
    licenses = LicenseFactory()
    for _path, data in image.kept(PYTHON):
        fields = HeaderParser().parsestr(data.decode())
        name, version, declared = fields["Name"], fields["Version"], fields["License-Expression"]
        yield Component(
            type=ComponentType.LIBRARY,
            name=name,
            version=version,
            bom_ref=f"pypi-{name}",
            purl=PackageURL("pypi", None, name.lower().replace("_", "-"), version),
            licenses=[licenses.make_from_string(declared)] if declared else [],
        )


def _server(image: Image) -> Iterator[Component]:
    for path, data in image.kept(SERVER):
        name = path.rpartition("/")[2]
        sha256 = HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(data).hexdigest())
        yield Component(type=ComponentType.APPLICATION, name=name, bom_ref=name, hashes=[sha256])


def _models(image: Image) -> Iterator[Component]:
    for path, data in image.kept(MODELS):
        facts = json.loads(data)
        name, version = path.split("/")[-4:-2]
        yield Component(
            type=ComponentType.MACHINE_LEARNING_MODEL,
            name=name,
            version=version,
            bom_ref=f"model-{version}",
            properties=[
                Property(name=key, value=str(facts[key]))
                for key in ("weights", "weights_sha256", "precision")
            ],
        )

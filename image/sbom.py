#!/usr/bin/env python3
"""image/sbom.py PACKAGES CRATES VERSION ARCH: the image's contents as CycloneDX 1.5 JSON, on standard output.

PACKAGES has "name version architecture source" a line (dpkg-query), CRATES "name vVERSION licence" (cargo tree).
"""

import json
import os
import sys
from datetime import datetime, timezone
from urllib.parse import quote


def package(line):
    name, version, arch, *source = line.split()
    purl = f"pkg:deb/debian/{quote(name)}@{quote(version)}?arch={arch}&distro=trixie"
    component = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if source and source[0] != name:
        component["properties"] = [{"name": "debian:source", "value": source[0]}]
    return component


def crate(line):
    name, version, *rest = line.split()
    version = version.removeprefix("v")
    purl = f"pkg:cargo/{quote(name)}@{quote(version)}"
    component = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    licence = " ".join(word for word in rest if not word.startswith("(")).replace("/", " OR ").strip()
    if licence:
        component["licenses"] = [{"expression": licence}]
    return component


def main():
    packages, crates, version, arch = sys.argv[1:]
    with open(packages) as debian, open(crates) as rust:
        components = [package(line) for line in sorted(debian) if line.strip()]
        components += [crate(line) for line in sorted(rust) if line.strip()]
    time = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    whole = {"type": "operating-system", "bom-ref": "kurir-image", "name": f"kurir-image-{arch}", "version": version}
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"timestamp": time, "component": whole},
        "components": components,
    }
    json.dump(document, sys.stdout, indent=1, sort_keys=True)
    print()


main()

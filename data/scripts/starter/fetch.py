"""Fetch and unpack the packages that the starter model is made from.

    python data/scripts/starter/fetch.py WORK

Debian's packages are unpacked, not installed, into WORK/debian (`apt-get update` must have been run); the npm packages
go to WORK/npm without running their scripts.  WORK/versions.json says which versions came.
"""

import argparse
import json
import subprocess
from pathlib import Path

from sources import DEBIAN_PACKAGES, NPM_PACKAGES


def main() -> None:
    """Fill WORK/debian and WORK/npm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    work: Path = parser.parse_args().work
    archives, npm = work / "archives", work / "npm"
    for folder in (archives, npm, work / "debian"):
        folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", *DEBIAN_PACKAGES], cwd=archives, check=True)
    versions = {}
    for archive in sorted(archives.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", archive, work / "debian"], check=True)
        name, version = subprocess.run(
            ["dpkg-deb", "-W", "--showformat=${Package} ${Version}", archive],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        versions[name] = version
    (npm / "package.json").write_text('{"private": true}', encoding="utf-8")
    subprocess.run(
        ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", *NPM_PACKAGES], cwd=npm, check=True
    )
    for package in NPM_PACKAGES:
        manifest = json.loads((npm / "node_modules" / package / "package.json").read_text(encoding="utf-8"))
        versions[package] = manifest["version"]
    (work / "versions.json").write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Compiles heldout/_kernel.c into the wheel, or beside it in an editable install, where a C compiler is.

Without one the build goes on: the pure-Python reference serves, slower, and `heldout --version` says so.
`HELDOUT_KERNEL=require` makes a missing compiler an error (release builds), `HELDOUT_KERNEL=off` skips it.
"""

import os
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("heldout") / "_kernel.c"


class KernelHook(BuildHookInterface[Any]):
    """Builds the extension for the stable ABI, so that one wheel serves every later Python."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and tell the wheel about it."""
        wanted = os.environ.get("HELDOUT_KERNEL", "auto")
        if self.target_name != "wheel" or wanted == "off":
            return
        root = Path(self.root)
        suffix = ".pyd" if sys.platform == "win32" else ".abi3.so"
        built = root / "heldout" / f"_kernel{suffix}"
        try:
            self._compile(root, built)
        except Exception as error:
            if wanted == "require":
                raise
            self.app.display_warning(f"heldout: no native kernel ({error}); the pure-Python reference will serve")
            return
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"cp311-abi3-{platform}"
        if version != "editable":
            build_data["force_include"][str(built)] = f"heldout/{built.name}"

    def _compile(self, root: Path, built: Path) -> None:
        from setuptools import Distribution, Extension
        from setuptools.command.build_ext import build_ext

        flags = [] if sys.platform == "win32" else ["-O3", "-std=c11", "-Wall", "-Wextra", "-fvisibility=hidden"]
        extension = Extension("_kernel", [str(root / SOURCE)], extra_compile_args=flags, py_limited_api=True)
        with tempfile.TemporaryDirectory() as folder:
            command = build_ext(Distribution({"name": "heldout", "ext_modules": [extension]}))
            command.build_lib = folder
            command.build_temp = folder
            command.finalize_options()
            command.run()
            (made,) = Path(folder).glob("_kernel*.*[od]")
            # A rename, so that a process that has the old one mapped keeps it.
            staged = built.with_suffix(".new")
            staged.write_bytes(made.read_bytes())
            staged.chmod(0o755)
            staged.replace(built)

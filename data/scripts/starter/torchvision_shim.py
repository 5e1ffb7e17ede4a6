"""Let `import torchvision` work where its compiled operators cannot be loaded.

PyPI's torchvision for x86_64 is a CUDA build.  Beside a CPU-only torch its operator library does not load, and
importing the package fails because `torchvision/_meta_registrations.py` refers to operators that nobody declared.
open_clip uses only the Python parts (transforms), so declaring the missing operators' schemas is enough.  Where
torchvision imports by itself nothing is changed.

Call `ensure_torchvision()` before `import open_clip`.  The declared operators have no kernels: do not call `nms` & co.
"""

import importlib
import re
import sys

_MISSING = re.compile(r"operator torchvision::(\w+) does not exist")
_SCHEMA = "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[object] = []  # a torch Library forgets its operators when it is collected


def ensure_torchvision() -> None:
    """Import torchvision, declaring the operators it misses one after the other.

    Raises:
        RuntimeError: torchvision does not import for another reason.
    """
    while True:
        try:
            importlib.import_module("torchvision")
        except RuntimeError as error:
            missing = _MISSING.search(str(error))
            if missing is None or len(_declared) > 20:
                raise
            torch = importlib.import_module("torch")
            library = torch.library.Library("torchvision", "FRAGMENT")
            library.define(missing.group(1) + _SCHEMA)
            _declared.append(library)
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
        else:
            return

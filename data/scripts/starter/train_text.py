"""Distil the teacher into the small text tower.

    python data/scripts/starter/train_text.py WORK trunk --until 01:50
    python data/scripts/starter/train_text.py WORK joint --until 02:30 [--image image.pt]

`trunk` needs nothing but captions and teacher embeddings: the tower, through a linear head that is thrown away later,
learns the teacher's 384 numbers.  `joint` starts from the trunk, sets the projection in closed form (ridge regression)
to what the image run's map P makes of the teacher's embeddings, and fine-tunes everything towards that.  Titles of
held-out pictures are not among the texts; one text in a hundred is left out of training and watched. Writes
WORK/text_trunk.pt or WORK/text_joint.pt; the first is a checkpoint that the same command takes up again.
"""

import argparse
import datetime as dt
import json
import math
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from recipe import BPE_NAME, EMBED_DIM, TEACHER_DIM, TEXT_WIDTH, build, tokenizer, write_merges
from torch import Tensor, nn
from torch.nn import functional
from train_image import deadline

BATCH = 256
POOL = 16  # batches drawn and sorted by length together, so that little is padded
RATE = {"trunk": 1.5e-3, "joint": 6e-4}
WEIGHT_DECAY = 0.02
CAPTION_SHARE = 0.5  # of the draws that are captions of pictures; the rest is any text
COSINE_WEIGHT, CONTRAST_WEIGHT, CONTRAST_SCALE = 4.0, 0.25, 20.0
RIDGE = 10.0
WATCHED = 100  # one text in so many
REPORT_SECONDS, CHECKPOINT_SECONDS = 180, 600


class TextTower:
    """The text half of the model, run on no more positions than a batch needs."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = build()
        self.parameters = {
            name: p
            for name, p in self.model.named_parameters()
            if not name.startswith("visual.") and name != "logit_scale"
        }

    def trunk(self, tokens: Tensor) -> Tensor:
        """(n, TEXT_WIDTH) of the end-of-text position, before the projection."""
        length = int((tokens > 0).sum(1).max())
        tokens = tokens[:, :length]
        x = self.model.token_embedding(tokens) + self.model.positional_embedding[:length]
        x = self.model.ln_final(self.model.transformer(x, attn_mask=self.model.attn_mask[:length, :length]))
        return x[torch.arange(len(tokens)), tokens.argmax(1)]

    def __call__(self, tokens: Tensor) -> Tensor:
        """(n, EMBED_DIM)."""
        return self.trunk(tokens) @ self.model.text_projection


class Texts:
    """The texts that may be learnt from, in length-sorted batches."""

    def __init__(self, work: Path) -> None:
        captions = json.loads((work / "captions.json").read_text(encoding="utf-8"))
        ids = [json.loads(line)["id"] for line in (work / "rows.jsonl").open(encoding="utf-8")]
        training = set(json.loads((work / "splits.json").read_text(encoding="utf-8"))["training"])
        mine = [i for i, name in enumerate(ids) if name in training]
        occurring = np.array([n for i in mine for n in (*captions["names"][i], *captions["tags"][i])])
        allowed = np.unique(np.concatenate([occurring, np.array(captions["vocabulary"])]))
        self.watched = allowed[::WATCHED]
        self._captions = np.setdiff1d(occurring, self.watched)
        self.learnt = np.setdiff1d(allowed, self.watched)
        write_merges(work)
        self.tokens = tokenizer(work)(captions["strings"])
        self.length = (self.tokens > 0).sum(1).numpy()
        self.teacher = torch.from_numpy(np.load(work / "teacher.npy")).float()
        self._chance = np.random.default_rng(0)
        self._queue: list[np.ndarray] = []

    def next(self) -> np.ndarray:
        """Numbers of BATCH texts of similar length."""
        if not self._queue:
            captions = int(BATCH * POOL * CAPTION_SHARE)
            some = np.concatenate([
                self._chance.choice(self._captions, captions), self._chance.choice(self.learnt, BATCH * POOL - captions)
            ])  # fmt: skip
            some = np.unique(some)
            batches = np.array_split(
                some[np.argsort(self.length[some], kind="stable")], max(1, round(len(some) / BATCH))
            )
            self._queue = [batches[i] for i in self._chance.permutation(len(batches))]
        return self._queue.pop()


def ridge(tower: TextTower, texts: Texts, target: Tensor, numbers: np.ndarray) -> float:
    """Set the projection to the best linear map from trunk outputs to the target; the cosine it reaches.

    Args:
        tower: its `text_projection` is overwritten.
        texts: tokens.
        target: (n, EMBED_DIM) unit rows, for the texts `numbers`.
        numbers: (n,).
    """
    with torch.no_grad():
        x = torch.cat([tower.trunk(texts.tokens[some]) for some in np.array_split(numbers, 24)])
        solved = torch.linalg.solve(x.T @ x + RIDGE * torch.eye(TEXT_WIDTH), x.T @ target)
        tower.model.text_projection.copy_(solved)
        return functional.cosine_similarity(x @ solved, target, dim=-1).mean().item()


def main() -> None:
    """Train until the deadline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("phase", choices=["trunk", "joint"])
    parser.add_argument("--until", required=True, metavar="HH:MM", type=deadline)
    parser.add_argument("--image", default="image.pt", help="the image run's checkpoint, for `joint`")
    arguments = parser.parse_args()
    work, phase, until = arguments.work, arguments.phase, arguments.until
    torch.set_num_threads(1)
    texts, tower = Texts(work), TextTower()
    head: nn.Linear = nn.Linear(EMBED_DIM, TEACHER_DIM, bias=False)
    goal = texts.teacher
    result = work / f"text_{phase}.pt"
    step, started = 0, time.time()
    if phase == "joint":
        tower.model.load_state_dict(torch.load(work / "text_trunk.pt", weights_only=True)["text"], strict=False)
        project = torch.load(work / arguments.image, weights_only=True)["project"]["weight"]
        goal = functional.normalize(texts.teacher @ project.T, dim=-1)
        numbers = np.sort(np.random.default_rng(1).choice(texts.learnt, 8_000, replace=False))
        numbers = numbers[np.argsort(texts.length[numbers])]
        print(f"ridge: cosine {ridge(tower, texts, goal[numbers], numbers):.3f}", flush=True)
    learnt = [*tower.parameters.values(), *(head.parameters() if phase == "trunk" else ())]
    optimizer = torch.optim.AdamW(learnt, lr=RATE[phase], weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98))
    if phase == "trunk" and result.exists():
        state = torch.load(result, weights_only=True)
        tower.model.load_state_dict(state["text"], strict=False)
        head.load_state_dict(state["head"])
        optimizer.load_state_dict(state["optimizer"])
        step, started = state["step"], state["started"]

    def embedded(numbers: np.ndarray) -> Tensor:
        features = tower(texts.tokens[numbers]).float()
        return functional.normalize(head(features) if phase == "trunk" else features, dim=-1)

    def save() -> None:
        text = {name: p.detach() for name, p in tower.parameters.items()}
        state = {
            "text": text,
            "head": head.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "started": started,
        }
        torch.save(state, result.with_suffix(".new"))
        result.with_suffix(".new").replace(result)

    losses: list[tuple[float, float]] = []
    saved = reported = time.time()
    print(f"{len(texts.learnt):,} texts, {texts.tokens.shape[1]} positions, {BPE_NAME}, step {step}", flush=True)
    while time.time() < until:
        gone = min(1.0, (time.time() - started) / (until - started))
        for group in optimizer.param_groups:
            group["lr"] = RATE[phase] * min(1, (step + 1) / 200) * (0.5 * (1 + math.cos(math.pi * gone)) + 0.003)
        numbers = texts.next()
        target = goal[numbers]
        with torch.autocast("cpu", torch.bfloat16):
            features = tower(texts.tokens[numbers])
        features = features.float()
        made = functional.normalize(head(features) if phase == "trunk" else features, dim=-1)
        cosine_loss = (1 - (made * target).sum(1)).mean()
        contrast = functional.cross_entropy(
            CONTRAST_SCALE * made @ target.T, torch.arange(len(numbers))
        )  # keeps neighbours apart
        optimizer.zero_grad(set_to_none=True)
        (COSINE_WEIGHT * cosine_loss + CONTRAST_WEIGHT * contrast).backward()
        nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        step += 1
        losses.append((cosine_loss.item(), contrast.item()))
        if time.time() - saved > CHECKPOINT_SECONDS:
            save()
            saved = time.time()
        if time.time() - reported > REPORT_SECONDS or step in {20, 200}:
            with torch.no_grad():
                watched = (embedded(texts.watched) * goal[texts.watched]).sum(1).mean().item()
            cosine, contrast_mean = np.mean(losses[-300:], 0)
            print(
                f"{dt.datetime.now(dt.UTC):%H:%M:%S} step {step} cosine loss {cosine:.3f} contrast {contrast_mean:.3f}"
                f" watched cosine {watched:.3f}",
                flush=True,
            )
            reported = time.time()
    save()
    print(f"done: {step} steps", flush=True)


if __name__ == "__main__":
    main()

"""Train the image tower against the teacher's fixed text embeddings.

    python data/scripts/starter/train_image.py WORK --until 02:25 [--run image]

The text side costs nothing: the teacher's embeddings of all captions are computed before, and one trained linear map P
brings them from 384 to 256 numbers.  The loss is CLIP's, in which every caption of a picture counts as right for it,
with thousands of further captions as negatives, and a second view of a part of the batch that must find its first.
The learning rate follows the clock, so that it is down to nothing at `--until` (UTC) however fast the machine is.
A checkpoint is written every ten minutes and on SIGTERM, and taken up again by the same command.
"""

import argparse
import copy
import datetime as dt
import json
import math
import os
import queue
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # a waiting thread must not spin on a core that somebody else needs

import numpy as np
import torch
from augment import Augmenter
from monitor import Monitor
from numpy.typing import NDArray
from recipe import EMBED_DIM, TEACHER_DIM, build
from torch import Tensor, nn
from torch.nn import functional

BATCH = 128
SECOND_VIEWS = 48
BANK = 3_072  # captions that serve as negatives in a step
SAME_MEANING = 0.75  # teacher cosine above which a caption of the bank is not held against a picture
PEAK_RATE, WEIGHT_DECAY = 2e-3, 0.1
WARM_UP = 100  # steps
SECOND_VIEW_WEIGHT, SECOND_VIEW_TEMPERATURE = 0.4, 0.1
SOFT_SHARE, SOFT_TEMPERATURE = 0.1, 0.07  # of the target that the teacher's own similarities make
TAG_SHARE = 0.35  # of the draws that take a single true word instead of a name
EMA = 0.999
LARGEST_SCALE = 60.0
ARTIST_CAP = 250  # an openclipart artist with more pictures is drawn as often as one with so many
CHECKPOINT_SECONDS = 600
REPORT_SECONDS = 300


@dataclass
class TrainingSet:
    """What a step draws from."""

    rows: list[dict[str, Any]]
    index: NDArray[np.int64]  # of the training pictures
    chance: NDArray[np.float64]  # of each of them to be drawn
    names: list[list[int]]
    tags: list[list[int]]
    true: Tensor  # (n, longest) int32, all captions of a picture, padded with -1
    bank: NDArray[np.int64]  # captions of training pictures, as often as they occur
    teacher: Tensor  # (captions, 384)


def load_set(work: Path) -> TrainingSet:
    """Read what `captions.py`, `teacher.py` and `split.py` wrote."""
    rows = [json.loads(line) for line in (work / "rows.jsonl").open(encoding="utf-8")]
    captions = json.loads((work / "captions.json").read_text(encoding="utf-8"))
    training = set(json.loads((work / "splits.json").read_text(encoding="utf-8"))["training"])
    index = np.array([i for i, row in enumerate(rows) if row["id"] in training])
    by_artist: dict[str, int] = {}
    for i in index:
        by_artist[rows[i]["artist"]] = by_artist.get(rows[i]["artist"], 0) + 1
    weight = [
        rows[i]["weight"]
        * (min(1, ARTIST_CAP / by_artist[rows[i]["artist"]]) if rows[i]["source"] == "openclipart" else 1)
        for i in index
    ]
    chance = np.array(weight) / sum(weight)
    names, tags = captions["names"], captions["tags"]
    both = [list(dict.fromkeys([*a, *b])) for a, b in zip(names, tags, strict=True)]
    true = torch.full((len(rows), max(map(len, both))), -1, dtype=torch.int32)
    for i, some in enumerate(both):
        true[i, : len(some)] = torch.tensor(some, dtype=torch.int32)
    bank = np.concatenate([np.array(both[i]) for i in index])
    teacher = torch.from_numpy(np.load(work / "teacher.npy")).float()
    return TrainingSet(rows, index, chance, names, tags, true, bank, teacher)


@dataclass
class Batch:
    """One step's pictures and captions."""

    views: Tensor  # (BATCH + SECOND_VIEWS, 3, size, size)
    embedded: Tensor  # (BATCH, 384) teacher embeddings of the captions
    positive: Tensor  # (BATCH, BATCH) bool, caption j is true of picture i
    bank: Tensor  # (BANK, 384)
    neutral: Tensor  # (BATCH, BANK) bool, captions of the bank that are true of the picture or mean nearly the same


def draw(data: TrainingSet, augmenter: Augmenter, chance: np.random.Generator) -> Batch:
    """One random batch."""
    index = chance.choice(data.index, BATCH, p=data.chance)
    captions = []
    for i in index:
        use_tags = data.tags[i] and chance.random() < TAG_SHARE
        captions.append(chance.choice(data.tags[i] if use_tags else data.names[i]))
    bank = torch.from_numpy(chance.choice(data.bank, BANK))
    true = data.true[index]
    drawn = torch.tensor(captions)
    embedded, bank_embedded = data.teacher[drawn], data.teacher[bank]
    neutral = embedded @ bank_embedded.T > SAME_MEANING
    for i, some in enumerate(true):
        neutral[i] |= torch.isin(bank, some[some >= 0].long())
    positive = (true[:, :, None] == drawn.int()[None, None]).any(1)
    views = augmenter.views(torch.from_numpy(np.concatenate([index, index[:SECOND_VIEWS]])))
    return Batch(views, embedded, positive, bank_embedded, neutral)


def loss_of(features: Tensor, batch: Batch, project: nn.Linear, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    """CLIP's loss and the second views' loss.

    Args:
        features: (BATCH + SECOND_VIEWS, 256) of the batch's views.
        batch: the step's batch.
        project: the map P from the teacher's space.
        log_scale: logarithm of the inverse temperature.
    """
    features = functional.normalize(features.float(), dim=-1)
    first, second = features[:BATCH], features[BATCH:]
    text = functional.normalize(project(batch.embedded), dim=-1)
    bank = functional.normalize(project(batch.bank), dim=-1)
    scale = log_scale.exp().clamp(max=LARGEST_SCALE)
    own = scale * first @ text.T
    others = (scale * first @ bank.T).masked_fill(batch.neutral, -1e4)
    soft = functional.softmax(batch.embedded @ batch.embedded.T / SOFT_TEMPERATURE, 1)
    positive = batch.positive.float()
    to_text = (1 - SOFT_SHARE) * positive / positive.sum(1, keepdim=True) + SOFT_SHARE * soft
    to_image = (1 - SOFT_SHARE) * positive.T / positive.T.sum(1, keepdim=True) + SOFT_SHARE * soft
    image_loss = -(to_text * functional.log_softmax(torch.cat([own, others], 1), 1)[:, :BATCH]).sum(1).mean()
    text_loss = -(to_image * functional.log_softmax(own.T, 1)).sum(1).mean()
    view_loss = functional.cross_entropy(second @ first.T / SECOND_VIEW_TEMPERATURE, torch.arange(len(second)))
    return (image_loss + text_loss) / 2, view_loss


class Feeder:
    """Makes batches in a thread of its own, so that drawing pictures and learning from them overlap."""

    def __init__(self, data: TrainingSet, augmenter: Augmenter, seed: int) -> None:
        self._ready: queue.Queue[Batch] = queue.Queue(maxsize=6)
        self._data, self._augmenter, self._chance = data, augmenter, np.random.default_rng(seed)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        torch.set_num_threads(1)
        while True:
            self._ready.put(draw(self._data, self._augmenter, self._chance))

    def next(self) -> Batch:
        """The next batch; waits for it."""
        return self._ready.get()


class Trainer:
    """Image tower, P and temperature, with their optimizer, their moving average and their clock."""

    def __init__(self, data: TrainingSet, checkpoint: Path, until: float) -> None:
        """Start anew, or from the checkpoint when there is one."""
        torch.manual_seed(0)
        self.data, self.checkpoint = data, checkpoint
        self.tower = build().visual.to(memory_format=torch.channels_last)
        self.project = nn.Linear(TEACHER_DIM, EMBED_DIM, bias=False)
        nn.init.orthogonal_(self.project.weight)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.average = copy.deepcopy(self.tower).eval()
        matrices = [p for p in self.tower.parameters() if p.ndim > 1]
        vectors = [p for p in self.tower.parameters() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "weight_decay": WEIGHT_DECAY, "factor": 1.0},
            {"params": [*vectors, self.log_scale], "weight_decay": 0.0, "factor": 1.0},
            {"params": list(self.project.parameters()), "weight_decay": 0.0, "factor": 0.3},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98))
        self.step, self.cpu_seconds, self.started, self.until = 0, 0.0, time.time(), until
        if checkpoint.exists():
            state = torch.load(checkpoint, weights_only=True)
            self.tower.load_state_dict(state["tower"])
            self.average.load_state_dict(state["average"])
            self.project.load_state_dict(state["project"])
            self.optimizer.load_state_dict(state["optimizer"])
            with torch.no_grad():
                self.log_scale.copy_(state["log_scale"])
            self.step, self.started, self.cpu_seconds = state["step"], state["started"], state["cpu_seconds"]

    def save(self) -> None:
        """Write the checkpoint, then move it into place."""
        state = {
            "tower": self.tower.state_dict(),
            "average": self.average.state_dict(),
            "project": self.project.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "log_scale": self.log_scale.detach(),
            "step": self.step,
            "started": self.started,
            "cpu_seconds": self.cpu_seconds + time.process_time(),
        }
        torch.save(state, self.checkpoint.with_suffix(".new"))
        self.checkpoint.with_suffix(".new").replace(self.checkpoint)

    def rate(self) -> float:
        """The learning rate of this moment: a half cosine over the time given, after a warm-up."""
        gone = min(1.0, (time.time() - self.started) / (self.until - self.started))
        return PEAK_RATE * min(1, (self.step + 1) / WARM_UP) * (0.5 * (1 + math.cos(math.pi * gone)) + 0.003)

    def learn(self, batch: Batch) -> tuple[float, float]:
        """One step; the two losses."""
        rate = self.rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        with torch.autocast("cpu", torch.bfloat16):
            features = self.tower(batch.views)
        clip_loss, view_loss = loss_of(features, batch, self.project, self.log_scale)
        self.optimizer.zero_grad(set_to_none=True)
        (clip_loss + SECOND_VIEW_WEIGHT * view_loss).backward()
        nn.utils.clip_grad_norm_(self.tower.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        keep = min(EMA, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for mean, now in zip(self.average.state_dict().values(), self.tower.state_dict().values(), strict=True):
                if mean.dtype.is_floating_point:
                    mean.lerp_(now, 1 - keep)
                else:
                    mean.copy_(now)
        return clip_loss.item(), view_loss.item()


class Threads:
    """Now and then tries two threads against one and keeps the faster: the second core may be somebody else's."""

    def __init__(self) -> None:
        self._seconds: dict[int, list[float]] = {1: [], 2: []}
        self.now = 1
        torch.set_num_threads(1)

    def took(self, step: int, seconds: float) -> None:
        """Tell how long a step took."""
        at = step % 300
        if at < 16:
            self._seconds[self.now].append(seconds)
        if at == 0:
            self._seconds = {1: [], 2: []}
        self.now = 2 if at < 8 else 1
        if at >= 16:
            one, two = (float(np.median(self._seconds[n] or [9.0])) for n in (1, 2))
            self.now = 2 if two < 0.8 * one else 1  # two must be worth the second core
        torch.set_num_threads(self.now)


def deadline(clock: str) -> float:
    """Seconds since the epoch of the next time it is `clock` (HH:MM, UTC)."""
    now = dt.datetime.now(dt.UTC)
    hour, minute = map(int, clock.split(":"))
    then = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return (then if then > now else then + dt.timedelta(days=1)).timestamp()


def main() -> None:
    """Train until the deadline; WORK/<run>.pt is the checkpoint and the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--until", required=True, metavar="HH:MM", type=deadline)
    parser.add_argument("--run", default="image")
    arguments = parser.parse_args()
    work: Path = arguments.work
    data = load_set(work)
    pictures = torch.from_numpy(np.load(work / "pictures.npy"))
    silhouette = torch.tensor([bool(row.get("silhouette")) for row in data.rows])
    trainer = Trainer(data, work / f"{arguments.run}.pt", arguments.until)
    monitor = Monitor(work, Augmenter(pictures, silhouette, 0))
    feeder = Feeder(data, Augmenter(pictures, silhouette, 1 + trainer.step), 1 + trainer.step)
    parameters = sum(p.numel() for p in trainer.tower.parameters())
    print(f"{parameters / 1e6:.2f} M parameters, {len(data.index):,} pictures, step {trainer.step}", flush=True)
    threads = Threads()
    losses: list[tuple[float, float]] = []
    saved = reported = time.time()
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    while time.time() < trainer.until and not stopped.is_set():
        before = time.time()
        losses.append(trainer.learn(feeder.next()))
        threads.took(trainer.step, time.time() - before)
        if time.time() - saved > CHECKPOINT_SECONDS:
            trainer.save()
            saved = time.time()
        if time.time() - reported > REPORT_SECONDS or trainer.step in {20, 100}:
            clip_loss, view_loss = np.mean(losses[-300:], 0)
            seen = monitor.measure(trainer.average, trainer.project)
            per_second = len(losses) / (time.time() - reported)
            epoch = trainer.step * BATCH / len(data.index)
            print(
                f"{dt.datetime.now(dt.UTC):%H:%M:%S} step {trainer.step} epoch {epoch:.1f}"
                f" clip {clip_loss:.3f} views {view_loss:.3f}"
                f" scale {trainer.log_scale.exp().item():.1f} rate {trainer.rate():.2e}"
                f" steps/s {per_second:.2f} threads {threads.now} | {seen}",
                flush=True,
            )
            reported, losses = time.time(), []
    trainer.save()
    print(f"done: {trainer.step} steps, {monitor.measure(trainer.average, trainer.project)}", flush=True)


if __name__ == "__main__":
    main()

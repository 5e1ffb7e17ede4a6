"""Let the text tower move a little from the teacher towards the pictures of a locked image tower.

    python data/scripts/starter/tune_text.py WORK --until 02:35 [--image image.pt] [--text text_joint.pt]

P is linear and the teacher knows words by their use, not by what they look like.  Here the text tower is trained
by CLIP's loss on the training pictures' vectors, computed once, and held near P's targets on all texts.  Prints how
validation titles and words do before and after.  Writes WORK/text_tuned.pt.
"""

import argparse
import datetime as dt
import math
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from augment import Augmenter
from monitor import TextMonitor
from recipe import build
from torch import Tensor, nn
from torch.nn import functional
from train_image import TAG_SHARE, deadline, load_set
from train_text import Texts, TextTower

BATCH = 384
PICTURES = 12_000  # drawn from the training set as training draws them
VIEWS = 1  # of each picture, beside the plain one
RATE, WEIGHT_DECAY = 2e-4, 0.02
HOLD_WEIGHT = 4.0  # of the cosine distance to P's targets
REPORT_SECONDS = 60


@torch.inference_mode()
def vectors(tower: nn.Module, augmenter: Augmenter, index: np.ndarray) -> Tensor:
    """(1 + VIEWS, n, EMBED_DIM) unit rows of the pictures, plain and augmented."""
    ways = [augmenter.plain, *[augmenter.views] * VIEWS]
    with torch.autocast("cpu", torch.bfloat16):
        made = [[tower(way(some)).float() for some in torch.from_numpy(index).split(256)] for way in ways]
    return torch.stack([functional.normalize(torch.cat(some), dim=-1) for some in made])


def main() -> None:
    """Tune until the deadline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--until", required=True, metavar="HH:MM", type=deadline)
    parser.add_argument("--image", default="image.pt")
    parser.add_argument("--text", default="text_joint.pt")
    arguments = parser.parse_args()
    work, until = arguments.work, arguments.until
    torch.set_num_threads(1)
    torch.manual_seed(0)
    chance = np.random.default_rng(0)
    data, texts, tower = load_set(work), Texts(work), TextTower()
    state = torch.load(work / arguments.image, weights_only=True)
    image = build().visual.to(memory_format=torch.channels_last).eval()
    image.load_state_dict(state["average"])
    tower.model.load_state_dict(torch.load(work / arguments.text, weights_only=True)["text"], strict=False)
    goal = functional.normalize(texts.teacher @ state["project"]["weight"].T, dim=-1)
    scale = state["log_scale"].exp()
    pictures = torch.from_numpy(np.load(work / "pictures.npy"))
    silhouette = torch.tensor([bool(row.get("silhouette")) for row in data.rows])
    augmenter = Augmenter(pictures, silhouette, 0)
    drawn = np.unique(chance.choice(data.index, PICTURES, p=data.chance))
    features = vectors(image, augmenter, drawn)
    monitor = TextMonitor(work, image, augmenter)
    print(f"before: {monitor.measure(tower)}; the teacher through P: {monitor.measure_goal(goal)}", flush=True)

    learnt = list(tower.parameters.values())
    optimizer = torch.optim.AdamW(learnt, lr=RATE, weight_decay=WEIGHT_DECAY, betas=(0.9, 0.98))
    started = reported = time.time()
    step, losses = 0, []
    while time.time() < until:
        gone = min(1.0, (time.time() - started) / (until - started))
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 50) * (0.5 * (1 + math.cos(math.pi * gone)) + 0.003)
        places = chance.choice(len(drawn), BATCH)
        index = drawn[places]
        use_tags = chance.random(BATCH) < TAG_SHARE
        captions = np.array([
            chance.choice(data.tags[i] if data.tags[i] and tag else data.names[i])
            for i, tag in zip(index, use_tags, strict=True)
        ])  # fmt: skip
        others = texts.next()
        with torch.autocast("cpu", torch.bfloat16):
            made, kept = tower(texts.tokens[captions]), tower(texts.tokens[others])
        made, kept = (functional.normalize(x.float(), dim=-1) for x in (made, kept))
        seen = features[chance.integers(1 + VIEWS), places]
        positive = (data.true[index][:, :, None] == torch.from_numpy(captions).int()[None, None]).any(1).float()
        logits = scale * seen @ made.T
        to_text = -(positive / positive.sum(1, keepdim=True) * functional.log_softmax(logits, 1)).sum(1).mean()
        to_image = -(positive.T / positive.T.sum(1, keepdim=True) * functional.log_softmax(logits.T, 1)).sum(1).mean()
        hold = (1 - (kept * goal[others]).sum(1)).mean() + (1 - (made * goal[captions]).sum(1)).mean()
        loss = (to_text + to_image) / 2
        optimizer.zero_grad(set_to_none=True)
        (loss + HOLD_WEIGHT * hold / 2).backward()
        nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        step += 1
        losses.append((loss.item(), hold.item() / 2))
        if time.time() - reported > REPORT_SECONDS:
            clip_loss, distance = np.mean(losses[-50:], 0)
            now = f"{dt.datetime.now(dt.UTC):%H:%M:%S} step {step}"
            print(f"{now} clip {clip_loss:.3f} hold {distance:.3f} | {monitor.measure(tower)}", flush=True)
            reported = time.time()
    torch.save({"text": {name: p.detach() for name, p in tower.parameters.items()}}, work / "text_tuned.pt")
    print(f"done: {step} steps, {monitor.measure(tower)}", flush=True)


if __name__ == "__main__":
    main()

"""Watches the validation slice during training: can a title, embedded by the teacher, find its picture?"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from augment import Augmenter
from concepts import precision_at_10, relevance
from recipe import tokenizer
from torch import Tensor, nn
from torch.nn import functional


class Monitor:
    """Title recall and concept precision over the validation pictures, copies over their augmented views."""

    def __init__(self, work: Path, augmenter: Augmenter) -> None:
        """Read the validation slice and its texts' teacher embeddings."""
        rows = [json.loads(line) for line in (work / "rows.jsonl").open(encoding="utf-8")]
        captions = json.loads((work / "captions.json").read_text(encoding="utf-8"))
        number = {text: i for i, text in enumerate(captions["strings"])}
        teacher = np.load(work / "teacher.npy", mmap_mode="r")
        held = set(json.loads((work / "splits.json").read_text(encoding="utf-8"))["validation"])
        self._index = torch.tensor([i for i, row in enumerate(rows) if row["id"] in held])
        mine = [rows[i] for i in self._index]
        words, self._relevant = relevance(mine)
        known = np.array([word in number for word in words])
        self._relevant = self._relevant[known]
        self._words = self._embedded(teacher, [number[word] for word in words if word in number])
        self._titles = self._embedded(teacher, [captions["names"][i][0] for i in self._index])
        self._same = torch.tensor([[a["title"] == b["title"] for b in mine] for a in mine])
        self._augmenter = augmenter

    @staticmethod
    def _embedded(teacher: np.ndarray, numbers: list[int]) -> Tensor:
        return torch.from_numpy(np.array(teacher[numbers])).float()

    @torch.inference_mode()
    def measure(self, tower: nn.Module, project: nn.Linear) -> str:
        """A line of figures."""
        with torch.autocast("cpu", torch.bfloat16):
            plain = functional.normalize(tower(self._augmenter.plain(self._index)).float(), dim=-1)
            views = functional.normalize(tower(self._augmenter.views(self._index)).float(), dim=-1)
        scores = functional.normalize(project(self._titles), dim=-1) @ plain.T
        best = scores.masked_fill(~self._same, -9).amax(1, keepdim=True)
        rank = (scores > best).sum(1)
        recall = [(rank < k).float().mean().item() for k in (1, 10)]
        concept = precision_at_10(
            (functional.normalize(project(self._words), dim=-1) @ plain.T).numpy(), self._relevant
        )
        copy = ((views @ plain.T).argmax(1) == torch.arange(len(plain))).float().mean().item()
        titles = f"title R@1 {recall[0]:.3f} R@10 {recall[1]:.3f}"
        return f"{titles} concept P@10 {concept.mean():.3f} ({len(concept)}) copy R@1 {copy:.3f}"


class TextMonitor:
    """All names of the validation pictures, and the concept words, through a text tower."""

    def __init__(self, work: Path, image: nn.Module, augmenter: Augmenter) -> None:
        """Embed the validation pictures with the finished image tower."""
        rows = [json.loads(line) for line in (work / "rows.jsonl").open(encoding="utf-8")]
        captions = json.loads((work / "captions.json").read_text(encoding="utf-8"))
        held = set(json.loads((work / "splits.json").read_text(encoding="utf-8"))["validation"])
        index = [i for i, row in enumerate(rows) if row["id"] in held]
        words, self._relevant = relevance([rows[i] for i in index])
        number = {text: i for i, text in enumerate(captions["strings"])}
        self._numbers = [number[word] for word in words if word in number]
        self._relevant = self._relevant[[word in number for word in words]]
        pairs = [(n, place) for place, i in enumerate(index) for n in captions["names"][i]]
        self._names, self._place = (torch.tensor(some) for some in zip(*pairs, strict=True))
        tokens = tokenizer(work)
        self._tokens = tokens([captions["strings"][n] for n in self._names])
        self._words = tokens([captions["strings"][n] for n in self._numbers])
        with torch.inference_mode():
            self._pictures = functional.normalize(image(augmenter.plain(torch.tensor(index))).float(), dim=-1)

    def _figures(self, names: Tensor, words: Tensor) -> str:
        scores = functional.normalize(names.float(), dim=-1) @ self._pictures.T
        rank = (scores > scores.gather(1, self._place[:, None])).sum(1).float()
        concept = precision_at_10(
            (functional.normalize(words.float(), dim=-1) @ self._pictures.T).numpy(), self._relevant
        )
        recall, reciprocal = (rank < 10).float().mean().item(), (1 / (rank + 1)).mean().item()
        return f"name R@10 {recall:.3f} MRR {reciprocal:.3f} ({len(rank)}) concept P@10 {concept.mean():.3f}"

    @torch.inference_mode()
    def measure(self, tower: Callable[[Tensor], Tensor]) -> str:
        """A line of figures for a text tower that takes tokens."""
        return self._figures(torch.cat([tower(some) for some in self._tokens.split(256)]), tower(self._words))

    def measure_goal(self, goal: Tensor) -> str:
        """The same with the targets that the tower was distilled to."""
        return self._figures(goal[self._names], goal[self._numbers])

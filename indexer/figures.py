"""The figures of an evaluation, and how a person reads them."""

import io
import json
import statistics
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class CopyRecall:
    """Share of copies found, for one transform."""

    transform: str
    clip_r1: float
    """The nearest picture by CLIP is the original."""
    clip_r5: float
    pdq_r1: float
    """The nearest picture by PDQ, upright, is the original."""
    pdq_match: float
    """The original is within the matching distance, upright."""
    pdq_match_any: float
    """The same in any of the 8 orientations: what search and filter do."""
    either: float
    """First by CLIP, or matched by PDQ in any orientation."""


@dataclass(frozen=True)
class Evaluation:
    """All figures of one run."""

    dataset: str
    generation: int
    model_tag: str
    image_index: str
    n_pictures: int
    n_queries: int
    seed: int
    index_recall: dict[str, dict[str, float]]
    """Kind of query (`image`, `near-copy`, `text`) -> recall@1 and recall@10 against exact search."""
    copies: list[CopyRecall]
    concepts: dict[str, Any] | None
    latency_ms: dict[str, float]
    """Single request: median on the clock, and mean of the processor's time, which a busy machine does not lengthen."""

    def to_json(self) -> str:
        """Indented JSON."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"


def format_table(result: Evaluation) -> str:
    """The figures for a person."""
    out = io.StringIO()
    print(
        f"{result.dataset} generation {result.generation}: {result.n_pictures:,} pictures, model {result.model_tag}, "
        f"index {result.image_index}; {result.n_queries} copies each, seed {result.seed}",
        file=out,
    )
    if not result.copies:
        print("\nno copies were made: the release holds embeddings, and no pictures", file=out)
    heads = ("transform", "CLIP R@1", "CLIP R@5", "PDQ R@1", "PDQ<=31", "any turn", "either")
    rows = [tuple(asdict(row).values()) for row in result.copies]
    if rows:
        print(f"\n{heads[0]:<20}" + "".join(f"{head:>10}" for head in heads[1:]), file=out)
        rows.append(("mean", *(statistics.fmean(row[column] for row in rows) for column in range(1, 7))))
    for row in rows:
        print(f"{row[0]:<20}" + "".join(f"{value:>10.3f}" for value in row[1:]), file=out)
    for kind, recall in result.index_recall.items():
        said = ", ".join(f"{name} {value:.4f}" for name, value in recall.items())
        print(f"\nindex against exact search, {kind}: {said}", file=out)
    if result.concepts is not None:
        means_at_10 = result.concepts["precision@10"]
        said = ", ".join(f"{name} {value:.3f}" for name, value in means_at_10.items())
        print(f"\nconcepts ({result.concepts['n']} queries), P@10: {said}", file=out)
        for row in sorted(result.concepts["queries"], key=lambda row: -row["clip"]):
            print(
                f"  {row['query']:<24} {row['clip']:.1f}  captions {row['caption']:.1f}  right {row['right']}", file=out
            )
    said = ", ".join(f"{name} {value:.2f}" for name, value in result.latency_ms.items())
    print(f"\nlatency of one request, ms: {said}", file=out)
    return out.getvalue()

"""An open_clip model to an ONNX encoder folder that runs without torch. Needs the extra `clip`.

Weights are stored as float16 and cast back when the session loads (constant folding), so the files are half as large
and the arithmetic stays float32. The tokenizer becomes a `tokenizers` file with the very ids of open_clip's own.
"""

import functools
import hashlib
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import regex  # type: ignore[import-untyped]
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from heldout.errors import ConflictError, InputError
from indexer.encoder import ENCODER_FILE
from indexer.onnx_encoder import ENCODER_FORMAT, IMAGE_FILE, TEXT_FILE, TOKENIZER_FILE
from indexer.openclip import OpenClipEncoder
from indexer.tokenizer import END_TOKEN, START_TOKEN

OPSET = 17
HALF_FROM = 1024
"""Tensors of at least so many values are stored as float16; smaller ones (norms, biases) stay float32."""

_CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")


def export_encoder(encoder: OpenClipEncoder, out: Path) -> None:
    """Write `encoder` as the folder `out`, which appears by one rename.

    Raises:
        ConflictError: `out` exists and is not an encoder folder.
        InputError: the model's tokenizer is not CLIP's BPE.
    """
    if out.exists() and not (out / ENCODER_FILE).is_file():
        raise ConflictError(f"{out} exists and is no encoder folder: name another, or remove it")
    tokenizer = build_tokenizer(encoder.tokenizer)
    work = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    work.mkdir(parents=True)
    try:
        context_length = int(encoder.tokenizer.context_length)
        _export_towers(encoder, context_length, work)
        tokenizer.save(str(work / TOKENIZER_FILE), pretty=False)
        description = {
            "format": ENCODER_FORMAT,
            "model_tag": encoder.tag,
            "d": encoder.d,
            "preprocess": encoder.preprocess.to_config(),
            "context_length": context_length,
            "files": {name: _describe(work / name) for name in (IMAGE_FILE, TEXT_FILE, TOKENIZER_FILE)},
        }
        (work / ENCODER_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        if out.exists():
            shutil.rmtree(out)
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": path.stat().st_size}


def _export_towers(encoder: OpenClipEncoder, context_length: int, folder: Path) -> None:
    import torch

    class Tower(torch.nn.Module):
        """One tower, ending in unit rows."""

        def __init__(self, encode: str) -> None:
            super().__init__()
            self.model = encoder.model.float().cpu()
            self.encode = encode

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(getattr(self.model, self.encode)(batch), dim=-1)

    fast_attention = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # a fused operator that ONNX does not have
    try:
        # Two rows, so that no dimension of the batch is traced as the constant 1.
        pixels = torch.zeros(2, 3, *encoder.preprocess.size)
        tokens = torch.from_numpy(np.asarray(encoder.tokenizer(["a picture", "another"])))
        for name, tower, batch, file in (
            ("pixels", Tower("encode_image"), pixels, IMAGE_FILE),
            ("tokens", Tower("encode_text"), tokens[:, :context_length], TEXT_FILE),
        ):
            with warnings.catch_warnings(), torch.inference_mode():
                warnings.simplefilter("ignore")  # tracing warns of shapes that are constant by design
                torch.onnx.export(
                    tower.eval(),
                    (batch,),
                    str(folder / file),
                    dynamo=False,  # the newer exporter needs onnxscript and gains nothing for these graphs
                    input_names=[name],
                    output_names=["embedding"],
                    dynamic_axes={name: {0: "n"}, "embedding": {0: "n"}},
                    opset_version=OPSET,
                )
            _store_half(folder / file)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_attention)


def _store_half(path: Path) -> None:
    """Store large float32 weights as float16 with a cast behind each."""
    model = onnx.load(str(path))
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or int(np.prod(tensor.dims)) < HALF_FROM:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.isfinite(half).all():
            continue  # beyond float16's range (an attention mask's -inf): leave as it is
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    model.producer_version = ""
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def build_tokenizer(source: Any) -> Tokenizer:  # noqa: ANN401 - open_clip's SimpleTokenizer, untyped
    """A `tokenizers` Tokenizer with the ids of `source`, an open_clip SimpleTokenizer.

    Raises:
        InputError: `source` is of another kind, or cleans or truncates text in another way.
    """
    clean = getattr(getattr(source, "clean_fn", None), "__name__", None)
    if not hasattr(source, "bpe_ranks") or clean != "_clean_lower" or getattr(source, "reduction_fn", None):
        raise InputError(f"only CLIP's own BPE tokenizer can be exported; this model has {type(source).__name__}")
    merges = [merge for merge, _ in sorted(source.bpe_ranks.items(), key=lambda item: item[1]) if len(merge) == 2]
    vocabulary = {token: number for token, number in source.encoder.items() if token}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>"))
    split = pre_tokenizers.Split(Regex(split_pattern()), behavior="removed", invert=True)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    return tokenizer


def split_pattern() -> str:
    """CLIP's split pattern with every class and case variant spelt out by the `regex` module, as open_clip uses it."""
    letters, numbers = _ranges(r"\p{L}"), _ranges(r"\p{N}")
    other = _ranges(r"[^\s\p{L}\p{N}]")
    literals = "|".join(_any_case(word) for word in (START_TOKEN, END_TOKEN, *_CONTRACTIONS))
    return f"{literals}|[{letters}]+|[{numbers}]|[{other}]+"


def _any_case(word: str) -> str:
    return "".join(f"[{_ranges(regex.escape(sign))}]" for sign in word)


def _ranges(pattern: str) -> str:
    """The code points that match, ignoring case, as the inside of a character class.

    Case counts for classes too: U+0345, a mark, folds to a letter. Surrogates are no text and are left out.
    """
    spans = [
        (start + match.start(), start + match.end() - 1)
        for start, text in ((0, _text(0, 0xD800)), (0xE000, _text(0xE000, 0x110000)))
        for match in regex.finditer(f"(?:{pattern})+", text, regex.IGNORECASE)
    ]
    return "".join(
        f"\\x{{{first:x}}}" if first == last else f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in spans
    )


@functools.cache
def _text(start: int, stop: int) -> str:
    return "".join(map(chr, range(start, stop)))

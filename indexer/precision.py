"""In which precision and with which batch a torch model runs here: measured and reckoned once, when it is loaded.

bfloat16 halves the memory and, on processors that multiply it, quarters the time of large models; small ones lose more
by its conversions than they gain. So it is taken where the processor has it and two short runs of this very model say
that it pays. Its vectors lie at a cosine of at least `AGREEMENT` from float32's, where copies of one picture lie at
0.99: they may be compared, and the model tag stays the same.
"""

import copy
import threading
import time
from typing import Any, Final

from heldout.errors import InputError
from indexer.encoder import PRECISIONS
from indexer.machine import available_memory, count_cores, has_bfloat16

AGREEMENT: Final = 0.999
"""Smallest cosine between a picture's vectors in two precisions."""
GAIN: Final = 1.2
"""bfloat16 must be so many times as fast to be chosen."""
MAX_BATCH: Final = 32
"""Pictures of one forward pass on a processor: larger ones are no faster and fall out of its caches."""
MAX_CUDA_BATCH: Final = 256
_BATCH_BYTES: Final = 256 * 1024 * 1024
"""Working memory of one forward pass on a processor, about."""
_LAYERS_ALIVE: Final = 4
"""Tensors of the size of the largest that a forward pass holds at once."""
_TRIAL: Final = 4
"""Pictures of a timed run."""


def place(torch: Any, model: Any, size: tuple[int, int], precision: str) -> tuple[Any, str, str]:  # noqa: ANN401 - untyped
    """`model` on its device and in its precision; the device's name; the precision's.

    Raises:
        InputError: there is no such precision.
    """
    if precision not in PRECISIONS:
        raise InputError(f"there is no precision {precision!r}: known are {', '.join(PRECISIONS)}")
    model = model.eval()
    if torch.cuda.is_available():
        chosen = "float16" if precision == "auto" else precision
        return model.to("cuda", getattr(torch, chosen)), "cuda", chosen
    if precision == "auto":
        model, chosen = _faster(torch, model, size) if has_bfloat16() else (model, "float32")
        return model, "cpu", chosen
    return model.to(getattr(torch, precision)), "cpu", precision


def _faster(torch: Any, model: Any, size: tuple[int, int]) -> tuple[Any, str]:  # noqa: ANN401 - as above
    """The model as it is, or in bfloat16 where that pays."""
    half = copy.deepcopy(model).to(torch.bfloat16)
    pixels = torch.randn(_TRIAL, 3, *size, generator=torch.Generator().manual_seed(0))
    seconds = []

    def measure() -> None:
        torch.set_num_threads(1)  # of this thread: as an ingest runs it
        for one, batch in ((model, pixels), (half, pixels.to(torch.bfloat16))):
            seconds.append(min(_timed(torch, one, batch) for _ in range(3)))

    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
    return (half, "bfloat16") if seconds[0] > GAIN * seconds[1] else (model, "float32")


def _timed(torch: Any, model: Any, batch: Any) -> float:  # noqa: ANN401 - as above
    # Processor time of this thread: other processes' work does not count.
    began = time.thread_time()
    with torch.inference_mode():
        model.encode_image(batch)
    return time.thread_time() - began


def size_batch(torch: Any, model: Any, size: tuple[int, int], device: str) -> tuple[int, int]:  # noqa: ANN401 - as above
    """Pictures of one forward pass, and the threads that memory allows to do one at a time.

    On a processor the batch follows from the model alone: so do the bytes of a release. On CUDA it follows from what
    the device has free.
    """
    needed = _LAYERS_ALIVE * _largest_tensor(torch, model, size)
    if device == "cuda":
        free, _ = torch.cuda.mem_get_info()
        return _power_of_two(free // 4 // needed, MAX_CUDA_BATCH), 2  # one copies while the other computes
    batch = _power_of_two(_BATCH_BYTES // needed, MAX_BATCH)
    free = available_memory()
    threads = count_cores() if free is None else min(count_cores(), max(1, free // 2 // (batch * needed)))
    return batch, threads


def _power_of_two(most: int, limit: int) -> int:
    most = max(1, min(most, limit))
    return 1 << (most.bit_length() - 1)


def _largest_tensor(torch: Any, model: Any, size: tuple[int, int]) -> int:  # noqa: ANN401 - as above
    """Bytes of the largest output of any layer for one picture."""
    largest = 1

    def note(_module: object, _inputs: object, output: object) -> None:
        nonlocal largest
        for tensor in output if isinstance(output, tuple) else (output,):
            if isinstance(tensor, torch.Tensor):
                largest = max(largest, tensor.numel() * tensor.element_size())

    hooks = [module.register_forward_hook(note) for module in model.visual.modules()]
    weight = next(model.parameters())
    try:
        with torch.inference_mode():
            model.encode_image(torch.zeros(1, 3, *size, device=weight.device, dtype=weight.dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return largest

"""int8 after training: calibrated on some of the user's pictures, judged on others; layers it would spoil stay fp32."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from ...engine.allocator import use
from ...engine.evaluate import Evaluation
from ...errors import ConvatlasError
from ...net.layers import macs
from ...net.model import Convnet
from ..backends import Backend, Predictor, backend_of
from ..backends.base import Tell, floating, quiet
from ..choose import TOLERANCE, Candidate, Report, difference, measured, resident, setup_failure
from ..graph.rewrite import rewrite
from .figures import Accuracy, Int8, Sensitivity, Trial
from .pictures import Evaluator, Labeled, Pictures, calibration, evaluator
from .sensitivity import layers, sensitivities

CANDIDATES = ("native", "openvino", "onnxruntime")        # of auto
COUNT = 300         # pictures that calibrate
# quantisations of one backend, beyond which the number of layers in fp32 is not narrowed down further
TRIALS = 12
SEEN = 32           # calibration pictures on which int8 and fp32 are compared



class Quantized(nn.Module):
    """A network's scores in int8.

    Input and output are the network's; `report` says what was measured, `files` is the network by name.
    """

    def __init__(self, predictor: Predictor, report: Report, files: dict[str, bytes]) -> None:
        super().__init__()
        self.predictor, self.report, self.files = predictor, report, files

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) as the network takes them to its scores, in float32."""
        return self.predictor(floating(x))


def share(text: str | float) -> float:
    """`0.5%` or `0.005` as 0.005; a ConvatlasError for what is no share of at least 0 and less than 1."""
    try:
        value = (float(text.strip().removesuffix("%")) / 100 if isinstance(text, str) and text.strip().endswith("%")
                 else float(text))
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise ConvatlasError(f"max_drop {text!r} is refused: it is the share of top-1 that may be lost, such as "
                             "0.5% or 0.005")
    return value


def quantize(model: Convnet, images: Pictures, backend: str = "auto", *, count: int = COUNT,
             evaluate: Labeled | None = None, max_drop: str | float | None = None,
             sensitivity: bool = False, batch: int = 1, candidates: Sequence[str] = CANDIDATES,
             data_dir: str | None = None, seconds: float | None = None, tell: Tell = quiet) -> Quantized:
    """`model` in int8: weights symmetric per channel, activations between the bounds that `count` of `images` show.

    `images` are a folder (of pictures, or of classes), a named data set (in `data_dir`), opened data or inputs (n, C,
    h, w); `evaluate` are labelled ones, whose validation part gives top-1, loss and agreement before and after. Where
    top-1 falls by more than `max_drop` (`0.5%`, or 0.005), layers are ranked by what each alone in int8 does to the
    scores, and the most sensitive stay in fp32: 1, 2, 4 … until the bound is met, then fewer by bisection, TRIALS
    quantisations in all. `sensitivity` gives the ranking in any case. auto does this for each of `candidates` and takes
    the fastest at `batch` images, in `seconds` of measuring; without `evaluate`, scores that are off by half of the
    largest are refused. Raises ConvatlasError for pictures that do not fit, and where no backend meets the bound.
    """
    bound = None if max_drop is None else share(max_drop)
    if bound is not None and evaluate is None:
        raise ConvatlasError("max_drop bounds the loss of top-1, which needs labelled pictures: give --eval "
                             "DATA (evaluate=…)")
    if any(module.training for module in model.modules()):
        raise ConvatlasError(f"{model.name} is in training mode: call model.eval() first")
    engines = [backend_of(name) for name in (candidates if backend == "auto" else (backend,))]
    here = next(model.parameters())
    if backend != "auto":
        engines[0].check(here, "int8")
    pictures = calibration(model, images, count, data_dir)
    judged = None if evaluate is None else evaluator(model, evaluate, data_dir)
    for note in () if judged is None else judged.notes:
        tell(note)
    use("auto", macs(model) * batch, here.device)
    example = pictures[torch.arange(batch) % len(pictures)]
    work = _Work(model, pictures, example, judged, bound, sensitivity, tell)
    tried = [reason if (reason := _refused(engine, here)) else _attempt(engine, work) for engine in engines]
    ready = [each for each in tried if isinstance(each, _Ready)]
    table = _table(tried, ready, example, seconds)
    if not ready:
        raise ConvatlasError(f"{model.name} was not quantised: " + "; ".join(f"{c.name}: {c.refused}" for c in table))
    best = min(ready, key=lambda each: next(c.latency or 0.0 for c in table if c.name == each.candidate.name))
    return Quantized(best.predictor, Report(table, best.candidate.name, int8=best.figures), best.files)


@dataclass
class _Work:
    """State shared by all backends; what takes long is done once, when it is first needed."""

    model: Convnet
    pictures: Tensor
    example: Tensor
    judge: Evaluator | None
    bound: float | None
    wanted: bool                # the ranking, in any case
    tell: Tell
    ranking: tuple[Sensitivity, ...] = ()
    before: Evaluation | None = None

    def ranked(self) -> tuple[Sensitivity, ...]:
        """The layers, the most sensitive first."""
        if not self.ranking:
            self.tell("ranking the layers by what int8 does to the scores")
            self.ranking = sensitivities(self.model, self.pictures, self.tell)
        return self.ranking


@dataclass(frozen=True)
class _Ready:
    """A backend with the network in int8, and in fp32 to compare with."""

    candidate: Candidate
    predictor: Predictor
    plain: Predictor
    figures: Int8
    files: dict[str, bytes]


@dataclass(frozen=True)
class _Try:
    """One quantisation."""

    kept: tuple[str, ...]
    predictor: Predictor
    files: dict[str, bytes]
    accuracy: Accuracy | None


def _refused(engine: Backend, like: Tensor) -> Candidate | None:
    reason = engine.refusal(like, "int8")
    return Candidate(engine.name, refused=reason) if reason else None


def _attempt(engine: Backend, work: _Work) -> "_Ready | Candidate":
    """One backend's int8 within the bound, or why not."""
    before, began = resident(), time.perf_counter()
    try:
        with TemporaryDirectory() as folder:
            ready = _built(engine, work, Path(folder))
    except ConvatlasError as error:
        return Candidate(engine.name, refused=str(error))
    except Exception as error:      # an engine that fails on a network, in whatever way, is no candidate for it
        return setup_failure(engine.name, error)
    after = resident()
    memory = None if before is None or after is None else max(0, after - before)
    candidate = replace(ready.candidate, setup=time.perf_counter() - began, memory=memory)
    if work.judge is None and not (candidate.error or 0.0) <= TOLERANCE["int8"]:
        return replace(candidate, refused=f"scores differ by {candidate.error:.1e} of the largest: give --eval DATA "
                       "and --max-drop, so that the layers at fault stay in fp32")
    return replace(ready, candidate=candidate)


def _built(engine: Backend, work: _Work, folder: Path) -> _Ready:
    model, example = work.model, work.example
    written = folder / "fp32"
    written.mkdir()
    engine.write(model, example, "fp32", written)
    plain = engine.open(written, example, "fp32")
    off = difference(model, example, plain(example))
    if not off <= TOLERANCE["fp32"]:
        raise ConvatlasError(f"in fp32 already its scores differ by {off:.1e} of the largest")
    if work.judge is not None and work.before is None:
        work.before = work.judge(plain)
    weights = layers(rewrite(model))
    done: dict[int, _Try] = {}

    def attempt(kept: tuple[str, ...]) -> _Try:
        began, target = time.perf_counter(), folder / f"int8-{len(kept)}"
        target.mkdir()
        engine.quantize(written, target, work.pictures, weights, kept)
        scores = engine.open(target, example, "int8")
        found = None if work.judge is None or work.before is None else _accuracy(work.judge(scores), work.before)
        files = {file.name: file.read_bytes() for file in sorted(target.iterdir())}
        told = "" if found is None or work.before is None else (
            f": top-1 {found.top1:.2%}, fp32 {work.before.top1:.2%}, the best class alike on {found.agreement:.2%}")
        work.tell(f"{engine.name}: {len(weights) - len(kept)} of {len(weights)} layers in int8{told} "
                  f"({time.perf_counter() - began:.0f} s)")
        done[len(kept)] = _Try(kept, scores, files, found)
        return done[len(kept)]

    best = attempt(())
    if work.bound is not None and work.before is not None and not _within(best, work.before, work.bound):
        best = _narrowed([row.layer for row in work.ranked()], attempt, done, work.before, work.bound)
    ranking = work.ranked() if work.wanted else work.ranking
    seen = work.pictures[:SEEN]
    with torch.inference_mode():
        agreement = float((best.predictor(seen).argmax(1) == model(seen).argmax(1)).double().mean())
    size, size32 = sum(map(len, best.files.values())), sum(file.stat().st_size for file in written.iterdir())
    figures = Int8(engine.name, len(work.pictures), len(weights), best.kept, agreement, size, size32,
                   None if work.before is None else _accuracy(work.before, work.before), best.accuracy, work.bound,
                   tuple(Trial(len(each.kept), each.accuracy) for each in done.values()), ranking)
    error = difference(model, seen, best.predictor(seen))
    return _Ready(Candidate(engine.name, error=error, size=size), best.predictor, plain, figures, best.files)


def _narrowed(order: Sequence[str], attempt: Callable[[tuple[str, ...]], _Try], done: dict[int, _Try],
              before: Evaluation, bound: float) -> _Try:
    """The first layers of `order` in fp32, as few as are found to be enough; more than none is known to be needed."""
    fails, keep = 0, 1
    while True:
        keep = min(keep, len(order))
        found = attempt(tuple(order[:keep]))
        if _within(found, before, bound):
            break
        if keep == len(order):
            raise ConvatlasError(f"even with all its {keep} layers in fp32 top-1 falls from {before.top1:.2%} to "
                                 f"{_top1(found):.2%}, by more than {bound:.2%}: take --precision bf16 or fp32, or a "
                                 "larger --max-drop")
        fails, keep = keep, 2 * keep
    while keep - fails > 1 and len(done) < TRIALS:
        middle = (fails + keep) // 2
        closer = attempt(tuple(order[:middle]))
        if _within(closer, before, bound):
            keep, found = middle, closer
        else:
            fails = middle
    if keep == len(order):
        raise ConvatlasError(f"top-1 falls by no more than {bound:.2%} only with every layer in fp32: take --precision "
                             "bf16 or fp32, or a larger --max-drop")
    return found


def _within(found: _Try, before: Evaluation, bound: float) -> bool:
    return before.top1 - _top1(found) <= bound + 1e-9       # shares of whole images


def _top1(found: _Try) -> float:
    assert found.accuracy is not None
    return found.accuracy.top1


def _accuracy(found: Evaluation, before: Evaluation) -> Accuracy:
    alike = float((found.predictions == before.predictions).double().mean()) if found.count == before.count else 0.0
    return Accuracy(found.top1, found.loss, found.count, alike)


def _table(tried: Sequence["_Ready | Candidate"], ready: Sequence[_Ready], example: Tensor,
           seconds: float | None) -> tuple[Candidate, ...]:
    """Every candidate with its times, and each one's fp32 beside it."""
    plain = [Candidate(f"{each.candidate.name}, fp32", size=each.figures.fp32_size, refused="to compare with")
             for each in ready]
    calls = [*(each.predictor for each in ready), *(each.plain for each in ready)]
    timed = measured([each.candidate for each in ready] + plain, calls, example, seconds)
    by_name = {candidate.name: candidate for candidate in timed}
    rows: list[Candidate] = []
    for each in tried:
        candidate = each.candidate if isinstance(each, _Ready) else each
        rows += [by_name.get(candidate.name, candidate)] + ([by_name[f"{candidate.name}, fp32"]]
                                                            if isinstance(each, _Ready) else [])
    return tuple(rows)

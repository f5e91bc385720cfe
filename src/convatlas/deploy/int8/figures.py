"""Figures of quantisation to int8: accuracy before and after, layers kept in fp32, sensitivities."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sensitivity:
    """Sensitivity of one layer: the loss when it alone is int8 and everything else fp32."""

    layer: str              # its name in the rewritten network
    change: float           # squared change of the scores, over their squared spread between the classes of an image
    agreement: float        # share of the images whose best class stays


@dataclass(frozen=True)
class Accuracy:
    """A network on the images that judge it."""

    top1: float
    loss: float             # by the loss that it was trained with
    images: int
    agreement: float        # share of the images with the fp32 network's best class


@dataclass(frozen=True)
class Trial:
    """One quantisation on the way: how many layers stayed in fp32, and what came of it."""

    kept: int
    accuracy: Accuracy | None


@dataclass(frozen=True)
class Int8:
    """Account of a quantisation. Sizes are bytes of all files; shares are 0 to 1."""

    backend: str
    calibrated_on: int                          # images
    layers: int                                 # convolutions and linear layers
    kept: tuple[str, ...]                       # those left in fp32, the most sensitive first
    agreement: float                            # with fp32, of the best class on the calibration images
    size: int
    fp32_size: int
    before: Accuracy | None = None              # fp32 on the validation images; None where none were given
    after: Accuracy | None = None
    max_drop: float | None = None
    trials: tuple[Trial, ...] = ()
    sensitivity: tuple[Sensitivity, ...] = ()   # the most sensitive layer first; empty where it was not asked for

    @property
    def drop(self) -> float | None:
        """Top-1 before minus after, a share."""
        return None if self.before is None or self.after is None else self.before.top1 - self.after.top1

    def __str__(self) -> str:
        kept = f"; in fp32 stay {', '.join(self.kept)}" if self.kept else ""
        lines = [f"int8 by {self.backend}: {self.layers - len(self.kept)} of {self.layers} layers, calibrated on "
                 f"{self.calibrated_on} images; {self.size / 1e6:.1f} MB, fp32 {self.fp32_size / 1e6:.1f} MB{kept}"]
        if self.before is None or self.after is None:
            lines.append(f"the best class is fp32's on {self.agreement:.1%} of calibration images; accuracy was not "
                         "measured (no --eval)")
        else:
            lines.append(f"top-1 {self.before.top1:.2%} before, {self.after.top1:.2%} after, on {self.before.images} "
                         f"images; loss {self.before.loss:.4f} before, {self.after.loss:.4f} after; the best class is "
                         f"fp32's on {self.after.agreement:.2%}")
        if self.sensitivity:
            wide = max(len(row.layer) for row in self.sensitivity)
            lines += ["", f"{'layer, alone in int8':<{max(wide, 20)}}  change of scores  same best class"]
            lines += [f"{row.layer:<{max(wide, 20)}}  {row.change:>16.2e}  {row.agreement:>15.1%}"
                      for row in self.sensitivity]
        return "\n".join(lines)

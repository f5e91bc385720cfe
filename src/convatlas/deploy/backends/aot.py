"""AOTInductor: the network compiled beforehand into one package, which torch runs without tracing anything."""

from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

from ...errors import ConvatlasError
from ...files import put
from ...net.model import Convnet
from .base import Backend, Precision, Predictor, exported, no_compiler


class Aot(Backend):
    """Needs a C++ compiler where it is made, and a machine of the same kind where it is run."""

    name, file, precisions = "aot", "model.pt2", ("fp32",)

    def missing(self) -> str | None:
        """Name the missing compiler, or None."""
        return no_compiler(self.name)

    def write(self, model: Convnet, example: Tensor, precision: Precision, folder: Path) -> None:
        """As the base class says."""
        package = BytesIO()         # torch aborts the process where the disk is full
        torch._inductor.aoti_compile_and_package(exported(model, example), package_path=package,
                                                 inductor_configs={"freezing": True})
        put(folder / self.file, package.getvalue())

    def open(self, folder: Path, example: Tensor, precision: Precision) -> Predictor:
        """As the base class says."""
        try:
            package = torch._inductor.aoti_load_package(str(folder / self.file))
        except RuntimeError as error:
            raise ConvatlasError(f"{str(folder / self.file)!r} does not run here ({str(error).splitlines()[0]}): it "
                                 "was made for another machine or another torch; deploy again here") from error

        def scores(x: Tensor) -> Tensor:
            with torch.inference_mode():
                out: Tensor = package(x.contiguous())
                return out

        return scores

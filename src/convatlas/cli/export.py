"""`convatlas export`."""

from pathlib import Path
from typing import Annotated, Literal

from rich.markup import escape

from . import console
from .inspections.common import Network
from .options import OUTPUT, Debug, Json, argument, option


def export(
    model: Network,
    file: Annotated[Path, argument("FILE", "The file to write: .onnx, .pt2 (torch.export), .xml (OpenVINO) or .pte "
                                   "(ExecuTorch).")],
    format: Annotated[Literal["onnx", "torch", "openvino", "executorch"] | None, option(
        "--format", panel=OUTPUT, help="What to write; left out: what FILE's suffix says.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a network as a file that other programs run, read it back with its engine, and compare the scores. It takes
    images (batch, channels, height, width) that are resized and normalised already: any batch, of ExecuTorch one; where
    pixels are scored any height and width that the network takes.

    [bold]Examples[/]
      convatlas export runs/2026-11-24-resnet18-flowers flowers.onnx
      convatlas export mobilenet_v2.safetensors phone.pte
    """
    with console.loading():
        from ..deploy import export as write
        from .inspections.common import network

    done = write(network(model), file, format)
    if as_json:
        console.document({"file": str(done.path), "format": done.format, "bytes": done.size,
                          "difference": done.difference, "takes": done.takes})
        return
    console.out.print(f"written: {escape(str(done.path))} ({done.format}, {console.short(done.size)}B; its scores "
                      f"differ by at most {done.difference:.1e} of the largest)", soft_wrap=True)
    console.plain(f"takes {done.takes}")

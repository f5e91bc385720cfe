"""`convatlas deploy`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from ..errors import ConvatlasError
from . import console
from .inspections.common import Network
from .options import COUNT, OUTPUT, SPEED, DataDir, Debug, Json, option, switch

if TYPE_CHECKING:
    from ..deploy.choose import Report

BackendName = Literal["auto", "eager", "native", "compile", "aot", "onnxruntime", "openvino"]
PRECISION = "int8"      # the panel of --help


def deploy(
    model: Network,
    out: Annotated[Path, option("--out", "-o", panel=OUTPUT, metavar="DIR", help="The folder to write.")],
    backend: Annotated[BackendName, option(
        "--backend", panel=SPEED, help="What runs it; [bold]auto[/] measures those that are installed and takes the "
        "fastest.", show_default=True)] = "auto",
    precision: Annotated[Literal["fp32", "bf16", "fp16", "int8"], option(
        "--precision", panel=SPEED,
        help="What it computes in; fp16 on GPUs only, int8 by native, wasm, openvino and onnxruntime.",
        show_default=True)] = "fp32",
    target: Annotated[Literal["here", "wasm"], option(
        "--target", panel=SPEED, help="Where it runs; [bold]wasm[/]: in browsers, as WebAssembly with a page that "
        "answers a picture, in fp32 or int8, or with weights in fp16.", show_default=True)] = "here",
    batch: Annotated[int, option(
        "--batch", "-b", panel=SPEED, parser=COUNT, help="Images at a time that it is made fast for.",
        show_default=True)] = 1,
    image_size: Annotated[int | None, option(
        "--image-size", panel=SPEED, metavar="PIXELS", parser=COUNT,
        help="Side of the images; left out: the network's own.")] = None,
    calibrate: Annotated[str | None, option(
        "--calibrate", panel=PRECISION, metavar="DATA", help="Pictures that show what values occur: a folder, or a "
        "named data set. Of a run folder its own training images, if left out.")] = None,
    calibration_images: Annotated[int, option(
        "--calibration-images", panel=PRECISION, parser=COUNT, help="How many of them are used.",
        show_default=True)] = 300,
    judged: Annotated[str | None, option(
        "--eval", panel=PRECISION, metavar="DATA", help="Labelled pictures: accuracy before and after. Of a run folder "
        "those that it held out, if --calibrate is left out too.")] = None,
    max_drop: Annotated[str | None, option(
        "--max-drop", panel=PRECISION, metavar="SHARE", help="Most top-1 that may be lost, such as 0.5%; layers stay "
        "in fp32 until that holds.")] = None,
    sensitivity: Annotated[bool, switch(
        "--sensitivity", panel=PRECISION, help="Show what each layer alone in int8 does to the scores.")] = False,
    data_dir: DataDir = None,
    force: Annotated[bool, switch("--force", panel=OUTPUT, help="Replace a deployed network that is there.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a network as a folder that answers fast: its weights for one engine, how pictures are prepared, and its
    classes.

    [bold]Examples[/]
      convatlas deploy runs/2026-11-24-resnet18-flowers --out flowers
      convatlas predict flowers rose.jpg
      convatlas deploy resnet50.safetensors --out fast --backend openvino --precision bf16 --batch 16
      convatlas deploy runs/flowers --out site/flowers --target wasm --precision fp16
      convatlas deploy runs/photos --out small --precision int8 --max-drop 0.5%
      convatlas deploy resnet50.pth --out small --precision int8 --calibrate photos/ --eval photos/ --sensitivity
    """
    with console.loading():
        from dataclasses import asdict

        from ..deploy.bundle import deploy as write
        from ..deploy.int8.pictures import of_run
        from ..deploy.int8.quantization import share
        from .inspections.common import network

    if target == "wasm" and backend != "auto":
        raise typer.BadParameter(f"wasm has kernels of its own: leave --backend {backend} out", param_hint="--target")
    if max_drop is not None:
        try:
            share(max_drop)         # before anything that takes long
        except ConvatlasError as error:
            raise typer.BadParameter(str(error), param_hint="--max-drop") from None
    pictures, labeled = of_run(model, calibrate, judged) if precision == "int8" else (calibrate, judged)
    report = write(network(model), out, target if target == "wasm" else backend, precision, batch,
                   image_size=image_size, force=force, calibrate=pictures, calibration_count=calibration_images,
                   evaluate=labeled, max_drop=max_drop, sensitivity=sensitivity, data_dir=data_dir,
                   tell=lambda text: console.plain(text, to=console.err))
    if as_json:
        console.document(asdict(report) | {"out": str(out)})
        return
    console.plain(str(report))
    if slower := _slower(report):
        console.warn(slower)
    console.out.print(f"written: {escape(str(out))}", soft_wrap=True)


def _slower(report: "Report") -> str | None:
    """A sentence, where int8 is no faster here than the same engine in fp32."""
    speeds = {candidate.name: candidate.throughput for candidate in report.candidates}
    ours, plain = speeds.get(report.chosen), speeds.get(f"{report.chosen}, fp32")
    if ours is None or plain is None or ours > plain:
        return None
    return (f"int8 is not faster here: {ours:.0f} images/s, {plain:.0f} in fp32 by the same engine; it may be for "
            "larger networks or batches")

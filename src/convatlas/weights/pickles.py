"""Pickles looked at before torch reads them: what they ask for, and how much work they are. Nothing is executed.

torch's own reader executes nothing either, but it follows any number of instructions, and its errors advise to read the
file without that care.
"""

import pickletools
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any

from .. import bounded
from ..errors import ConvatlasError

STEPS = 2**18           # instructions, of which a tensor takes about 25
LONG = 64               # whole numbers of more than 64 bits, as states of generators have a few
TENSORS = {f"torch._utils.{name}" for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3",
                                               "_rebuild_parameter", "_rebuild_parameter_with_state")}
# what tensors and plain values need; numpy's and pathlib's names have moved between versions
HARMLESS = TENSORS | {"torch._tensor._rebuild_from_type_v2", "torch.Tensor", "torch.Size", "torch.device",
                      "torch.nn.parameter.Parameter", "torch.serialization._get_layout", "torch.storage.TypedStorage",
                      "torch.storage.UntypedStorage", "torch.storage._LegacyStorage", "collections.OrderedDict",
                      "collections.Counter", "collections.defaultdict", "argparse.Namespace", "types.SimpleNamespace",
                      "datetime.datetime", "datetime.date", "datetime.timedelta", "_codecs.encode",
                      "numpy.ndarray", "numpy.dtype",
                      *(f"{home}.{name}" for home in ("builtins", "__builtin__")
                        for name in ("set", "complex", "dict", "list", "int", "float", "str", "tuple", "bool")),
                      *(f"numpy.{home}.multiarray.{name}" for home in ("core", "_core")
                        for name in ("_reconstruct", "scalar"))}
DTYPES = ("float", "half", "double", "bfloat", "int", "long", "short", "uint", "bool", "complex", "cfloat", "cdouble",
          "quint", "qint", "bits")
MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."     # the first pickle of torch.save's older format
CODECS = {"idna", "punycode", "zlib", "bz2", "zlib_codec", "bz2_codec"}     # slow, and no text's


def check(path: Path) -> None:
    """Refuse a PyTorch file whose pickle asks for more than tensors and plain values, is too much work, or is damaged;
    say what another kind of file is.
    """
    left = STEPS
    try:
        for stream in _pickles(path):
            left -= _checked(stream, path, left)
    except ConvatlasError:
        raise
    except Exception as error:      # on broken bytes zipfile and pickletools raise nearly anything
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConvatlasError(f"{str(path)!r} cannot be read as a PyTorch file: {why}") from error


def _pickles(path: Path) -> Iterator[IO[bytes]]:
    """The pickles in a file: of a zip archive the one called data.pkl, else one behind the other, five in all."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            saved = file.read(len(MAGIC)) == MAGIC
            file.seek(0)
            for _ in range(5 if saved else 1):
                yield file
        if not saved:
            raise ValueError("torch.save did not write it")
        return
    with bounded.archive(path) as members:
        names = [entry.filename.lower() for entry in members.infolist()]
        script = any(name.endswith("constants.pkl") or "/code/" in name for name in names)
        if script:
            raise ConvatlasError(f"{str(path)!r} is a TorchScript program, not weights: save the state_dict() of what "
                                 "torch.jit.load gives")
        found = [entry for entry in members.infolist() if entry.filename.lower().endswith("data.pkl")]
        if not found:
            raise ConvatlasError(f"{str(path)!r} is a zip archive that torch.save did not write "
                                 f"({', '.join(names[:3]) or 'empty'}): unpack it, and give the file of weights in it")
        for entry in found:
            with members.open(entry) as stream:
                yield stream


def _checked(stream: IO[bytes], path: Path, most: int) -> int:
    """The number of instructions in the pickle that begins here."""
    texts, memo, count, large, protocol = ["", ""], dict[int, str](), 0, 0, 2
    code: pickletools.OpcodeInfo
    value: Any
    for code, value, _ in islice(pickletools.genops(stream), most + 1):
        count += 1
        if code.name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            memo[len(memo) if value is None else value] = texts[-1]
        elif code.name in ("BINGET", "LONG_BINGET", "GET"):
            texts = [texts[-1], memo.get(value, "")]
        elif code.name in ("GLOBAL", "STACK_GLOBAL"):
            name = str(value).replace(" ", ".") if code.name == "GLOBAL" else ".".join(texts)
            if not _harmless(name):
                raise ConvatlasError(f"{str(path)!r} is a pickle of more than plain tensors ({name}), which could run "
                                     "code when it is read; where you trust it, save its state_dict() alone with the "
                                     "program that wrote it")
        elif code.name != "PROTO":
            texts = [texts[-1], value if isinstance(value, str) else ""]
            if texts[-1].lower().replace("-", "_") in CODECS:
                raise ConvatlasError(f"{str(path)!r} asks for the codec {value!r}, which no weights need: it is "
                                     "refused")
            large += isinstance(value, int) and value.bit_length() > 64
        else:
            protocol = value
        if count > most:
            raise ConvatlasError(f"{str(path)!r} is a pickle of more than {STEPS:,} instructions, as no network's is: "
                                 "save its state_dict() alone")
        if large > LONG:
            raise ConvatlasError(f"{str(path)!r} is a pickle of many numbers beyond 64 bits: it is refused")
    if protocol != 2:
        raise ValueError(f"its pickle is of protocol {protocol}, and only torch.save's own, 2, is read")
    return count


def _harmless(name: str) -> bool:
    """True for what tensors and plain values need, whichever storage or type of numbers."""
    home, _, leaf = name.rpartition(".")
    return (name in HARMLESS or (home == "torch" and (leaf.endswith("Storage") or leaf.startswith(DTYPES)))
            or home == "numpy.dtypes" or (home in ("pathlib", "pathlib._local") and leaf.endswith("Path")))

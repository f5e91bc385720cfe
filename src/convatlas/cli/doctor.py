"""`convatlas doctor`."""

from . import console
from .options import Debug, Json


def doctor(json: Json = False, debug: Debug = False) -> None:
    """Say what this machine has to run networks with: kernels, engines, rates of arithmetic and memory, caches; and
    what is missing, with the way to install it.

    [bold]Examples[/]
      convatlas doctor
      convatlas doctor --json
    """
    with console.loading():
        from ..deploy.doctor import examined

        found = examined()
    if json:
        console.document(found)
        return
    machine, kernels = found["machine"], found["kernels"]
    say = console.plain
    say(f"machine    {machine['processor']}, {machine['cores']} cores, {machine['threads']} threads, "
        f"{machine['system']}")
    say(f"           {found['matrix'] / 1e9:.0f} GFLOP/s in a product of matrices (float32), "
        f"{found['bandwidth'] / 1e9:.1f} GB/s in a copy, as measured now")
    say(f"versions   Python {machine['python']}, convatlas {machine['convatlas']}, "
        + ", ".join(f"{name} {version}" for name, version in found["packages"].items()))
    say(f"kernels    {kernels['missing'] or kernels['from']}" + (f", for {kernels['instructions']}"
                                                               if kernels["instructions"] else ""))
    for what in ("library", "compiler"):
        if kernels[what]:
            say(f"           {what} {kernels[what]}")
    for i, (name, missing) in enumerate(found["backends"].items()):
        say(f"{'' if i else 'backends':<10} {name}: {missing or 'ready'}")
    for i, cache in enumerate(found["caches"]):
        say(f"{'' if i else 'caches':<10} {cache['path']}: {cache['bytes'] / 1e6:.1f} MB")
    if not found["caches"]:
        say(f"caches     {found['cache']}: nothing yet")

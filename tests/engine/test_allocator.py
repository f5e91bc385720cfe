"""The allocator: what each setting comes to, and that kept memory takes no page faults."""

import json
import subprocess
import sys

import pytest
import torch

from convatlas.engine import allocator
from convatlas.engine.threads import SMALL, resolve_layout, small

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")

FAULTS = """
import json, resource, sys, threading, torch
from convatlas.engine import allocator
found = allocator.use(sys.argv[1], 10**9, torch.device("cpu"))
def faults():
    for number in range(20):        # glibc before 2.38 needs some rounds until freed pieces have grown together
        if number == 17:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(2**24)           # 64 MB, above every threshold that glibc chooses by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
counts = [faults()]
thread = threading.Thread(target=lambda: counts.append(faults()))
thread.start()
thread.join()
print(json.dumps([found, *counts]))
"""


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes calls of `keep` instead of changing this process."""
    calls: list[str] = []
    monkeypatch.setattr(allocator, "keep", lambda: bool(calls.append("keep") or True))
    return calls


@pytest.mark.parametrize("setting, macs, device, found", [
    ("auto", SMALL, CPU, "keep"), ("auto", SMALL - 1, CPU, "system"), ("auto", 10**12, CUDA, "system"),
    ("keep", 1, CPU, "keep"), ("keep", 1, CUDA, "keep"), ("system", 10**12, CPU, "system"),
])
def test_settings(kept: list[str], setting: str, macs: int, device: torch.device, found: str) -> None:
    assert allocator.use(setting, macs, device) == found
    assert len(kept) == (found == "keep")


def test_nothing_to_keep_without_glibc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))       # musl
    assert not allocator.keep.__wrapped__()


@pytest.mark.skipif(not allocator.has_glibc(), reason="there is nothing to set up without glibc")
def test_kept_memory_takes_no_page_faults() -> None:
    def faults(setting: str) -> list[object]:
        done = subprocess.run([sys.executable, "-c", FAULTS, setting], capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    found, main, thread = faults("system")
    assert found == "system" and main > 40_000 and thread > 40_000
    found, main, thread = faults("keep")
    assert found == "keep" and main < 500 and thread < 500


@pytest.mark.parametrize("setting, macs, device, on", [
    (None, SMALL, CPU, True), (None, SMALL - 1, CPU, False), (None, 1, CUDA, True), (None, 10**12, MPS, False),
    (True, 1, CPU, True), (False, 10**12, CUDA, False),
])
def test_layout(setting: bool | None, macs: int, device: torch.device, on: bool) -> None:
    assert resolve_layout(setting, macs, device) is on


def test_only_the_cpu_has_small_networks() -> None:
    assert small(SMALL - 1, CPU) and not small(SMALL - 1, CUDA) and not small(SMALL, CPU)

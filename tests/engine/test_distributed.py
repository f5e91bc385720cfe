"""Two processes over gloo. One launch does several jobs, since importing torch is what takes the time.

The quick test sets the environment that torchrun sets; a slow one starts torchrun, which has to import torch as well.
"""

import json
import os
import socket
import subprocess
import sys

import engine_toys
import pytest
import torch
from safetensors.torch import load_file

from convatlas import run
from convatlas.engine.distributed import World
from convatlas.engine.evaluate import evaluate
from convatlas.engine.records import read_rows

THAWED = {"net": "plain", "train__freeze": ["0"], "train__unfreeze": [[1, "0"]]}
SPARSE = {"net": "plain", "sparse__sparsity": 0.5, "sparse__every": 4}
HERE = World(0, 1, torch.device("cpu"))


def torchrun(processes, *arguments):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, *arguments], env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr


def together(processes, *arguments):
    """What torchrun would start, without torchrun: the exit status and the error output of each process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = []
    for rank in map(str, range(processes)):
        environment = {**os.environ, **shared, "WORLD_SIZE": str(processes), "RANK": rank, "LOCAL_RANK": rank}
        command = [sys.executable, "-X", "faulthandler", *arguments]
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    errors = [process.communicate(timeout=280)[1] for process in started]
    return [process.returncode for process in started], errors


def told(folder, rank=0):
    return json.loads((folder / f"told-{rank}.json").read_text())


def newest(folder):
    return load_file(sorted((folder / "checkpoints").glob("step-*"))[-1] / "state.safetensors")


def farthest(a, b):
    a, b = newest(a), newest(b)
    names = [name for name in a if name.startswith(("model.", "optim."))]
    assert names == [name for name in b if name.startswith(("model.", "optim."))]
    return max(float((a[name] - b[name]).abs().max()) for name in names)


def same(a, b):
    a, b = newest(a), newest(b)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_two_processes(tmp_path):
    odd = {"net": "plain", "data__batch_size": 89}          # the last batch is one image: rank 1 gets a filler
    jobs = [
        ["plain", {"net": "plain"}],                        # 90 images in batches of 16: the last has 10
        ["odd", odd],
        ["whole", {}],
        ["halves", {"stop": 8, "stop_rank": 1}],            # only one of them is told to stop
        ["halves", {"resume": True}],
        ["alone", {"stop": 8, "stop_rank": 1}],
        ["normed", {"net": "normed"}],
        ["parts", {"net": "plain", "train__accumulate": 3, "train__ema": 0.9}],
        ["thawed", THAWED],
        ["thawed halves", {**THAWED, "stop": 8}],           # after the thaw
        ["thawed halves", {**THAWED, "resume": True}],
        ["sparse", SPARSE],
        ["sharded", {"net": "plain", "train__parallel": "fsdp"}],
    ]
    jobs = [[str(tmp_path / name), over] for name, over in jobs]
    codes, errors = together(2, engine_toys.__file__, json.dumps(jobs))
    assert codes == [0, 0], "\n".join(errors)[-4000:]
    they_step_as_one(tmp_path / "plain", tmp_path / "one", net="plain")
    assert farthest(tmp_path / "sharded", tmp_path / "one") < 1e-6
    they_step_as_one(tmp_path / "odd", tmp_path / "one-odd", **odd)
    each_validation_image_counts_once_everywhere(tmp_path / "plain", tmp_path / "measured")
    # Stopping one of them stopped both. Going on is exact: BatchNorm, dropout, noise, each with its own numbers.
    assert [told(tmp_path / "alone", rank)["interrupted"] for rank in (0, 1)] == [True, True]
    assert same(tmp_path / "whole", tmp_path / "halves")
    one_goes_on_from_two(tmp_path / "alone")
    they_normalize_as_one_by_shares(tmp_path / "normed", tmp_path / "one-normed", 2)
    they_step_as_one(tmp_path / "parts", tmp_path / "one-parts", net="plain", train__ema=0.9)
    they_step_as_one(tmp_path / "thawed", tmp_path / "one-thawed", **THAWED)
    assert same(tmp_path / "thawed", tmp_path / "thawed halves")
    they_step_as_one(tmp_path / "sparse", tmp_path / "one-sparse", **SPARSE)
    files = {path.name for path in (tmp_path / "whole").rglob("*") if path.is_file()}
    files = {name for name in files if not name.startswith(("events.out", "told-"))}
    assert files == {"metrics.csv", "model.safetensors", "state.json", "state.safetensors"}


def they_step_as_one(two, one, **over):
    engine_toys.train(one, HERE, **over)
    assert farthest(two, one) < 1e-6
    for ours, theirs in zip(read_rows(two / "metrics.csv"), read_rows(one / "metrics.csv"), strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-6)
        assert (ours["train_top1"], ours["val_top1"]) == (theirs["train_top1"], theirs["val_top1"])


def they_normalize_as_one_by_shares(many, one, processes):
    """BatchNorm over each process's share is one process that computes the batch share by share."""
    engine_toys.train(one, HERE, net="normed", shares=processes, train__accumulate=processes)
    a, b = newest(many), newest(one)
    moving = [name for name in a if name.startswith(("model.", "optim.")) and "running" not in name
              and "tracked" not in name]
    assert len(moving) == 16 and max(float((a[name] - b[name]).abs().max()) for name in moving) < 1e-6
    apart, whole = engine_toys.train(one.with_name("whole-normed"), HERE,
                                     net="normed")[0], load_file(one / "model.safetensors")
    assert float((apart.state_dict()["0.weight"]
                  - whole["0.weight"]).abs().max()) > 1e-4, "shares of the batch make a difference"
    for ours, theirs in zip(read_rows(many / "metrics.csv"), read_rows(one / "metrics.csv"), strict=True):
        assert (ours["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-6)
                and ours["train_top1"] == theirs["train_top1"])


def each_validation_image_counts_once_everywhere(two, one):
    model, _ = engine_toys.train(one, HERE, net="plain")
    loader = engine_toys.Loader(engine_toys.Pictures(37, seed=2), 16)
    alone = evaluate(model, loader, run.Loss(), HERE, engine_toys.CLASSES)
    assert alone.count == 37
    assert alone.top1 == int(alone.confusion.diag().sum()) / 37
    for rank in (0, 1):
        measured = told(two, rank)
        assert measured["indices"] == list(range(37))
        assert measured["loss"] == pytest.approx(alone.loss, abs=1e-6)
        assert measured["confusion"] == alone.confusion.tolist()


def one_goes_on_from_two(folder):
    notes = engine_toys.Notes()
    _, outcome = engine_toys.train(folder, HERE, resume=True, watch=notes)
    assert outcome.epochs == 3
    assert "written by 2 processes and goes on with 1" in notes.told[0]
    rows = read_rows(folder / "metrics.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    # The tallies of both went on: the second epoch's accuracy is a share of all 90 images.
    assert rows[1]["train_top1"] * 90 == pytest.approx(round(rows[1]["train_top1"] * 90), abs=1e-6)


@pytest.mark.slow
def test_three_processes(tmp_path):
    # With two, a sum does not depend on the order; with three it does.
    jobs = [["whole", {}], ["halves", {"stop": 8, "stop_rank": 2}], ["halves", {"resume": True}],
            ["plain", {"net": "plain"}], ["normed", {"net": "normed"}]]
    codes, errors = together(3, engine_toys.__file__, json.dumps([[str(tmp_path / name), over] for name, over in jobs]))
    assert codes == [0, 0, 0], "\n".join(errors)[-4000:]
    assert same(tmp_path / "whole", tmp_path / "halves")
    they_step_as_one(tmp_path / "plain", tmp_path / "one", net="plain")
    they_normalize_as_one_by_shares(tmp_path / "normed", tmp_path / "one-normed", 3)


@pytest.mark.slow
def test_sharded_training(tmp_path):
    fsdp = {"train__parallel": "fsdp"}
    (tmp_path / "one").mkdir()
    engine_toys.train(tmp_path / "one", HERE, net="plain")
    engine_toys.train(tmp_path / "grow", HERE, stop=8)
    jobs = [
        ["plain", {"net": "plain", **fsdp}],
        ["adam", {"net": "plain", "optim__name": "adamw", "optim__clip_grad": 0.5, **fsdp}],
        ["whole", fsdp],
        ["halves", {"stop": 8, "stop_rank": 1, **fsdp}],
        ["halves", {"resume": True, **fsdp}],
        ["alone", {"stop": 8, **fsdp}],
        ["ddp", {}],                                # DDP, in the same launch
        ["mixed", {"stop": 8}],
        ["mixed", {"resume": True, **fsdp}],        # from DDP to shards
        ["grow", {"resume": True, **fsdp}],         # from one process to two
    ]
    torchrun(2, engine_toys.__file__, json.dumps([[str(tmp_path / name), options] for name, options in jobs]))
    engine_toys.train(tmp_path / "adam-one", HERE, net="plain", optim__name="adamw", optim__clip_grad=0.5)
    assert farthest(tmp_path / "plain", tmp_path / "one") < 1e-6
    assert farthest(tmp_path / "adam", tmp_path / "adam-one") < 1e-5
    assert same(tmp_path / "whole", tmp_path / "halves")
    assert farthest(tmp_path / "mixed", tmp_path / "ddp") < 1e-6
    assert told(tmp_path / "grow")["epochs"] == 3
    assert "written by 1 process and goes on with 2" in told(tmp_path / "grow")["told"][0]
    _, outcome = engine_toys.train(tmp_path / "alone", HERE, resume=True)
    assert outcome.epochs == 3
    best = load_file(tmp_path / "whole" / "model.safetensors")
    assert best.keys() == engine_toys.network("noisy").state_dict().keys()
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pkl", ".pt", ".pth", ".distcp")]


@pytest.mark.slow
def test_a_lost_process_is_named(tmp_path):
    script = tmp_path / "lost.py"
    script.write_text(
        "import os, sys, torch\n"
        "from convatlas.engine.distributed import agree, world\n"
        "from convatlas.errors import ConvatlasError\n"
        "try:\n"
        "    with world('cpu') as here:\n"
        "        agree(here, False)\n"
        "        if here.rank == 1:\n"
        "            os._exit(3)\n"
        "        agree(here, False)\n"
        "except ConvatlasError as error:\n"
        "    print(error, file=sys.stderr, flush=True)\n"
    )
    codes, errors = together(2, str(script))
    assert codes == [0, 3]
    assert "process 0 of 2 lost another one" in errors[0]

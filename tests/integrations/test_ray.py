"""The same run on Ray's workers. Starting Ray takes about a minute."""

import sys

import pytest

import convatlas
from convatlas import ConvatlasError, run
from convatlas.engine.records import read_rows


def test_without_ray_it_says_what_to_install(monkeypatch, tmp_path):
    from convatlas.integrations.ray import train

    monkeypatch.setitem(sys.modules, "ray.train", None)
    with pytest.raises(ConvatlasError, match=r"uv pip install -e '.\[ray\]'"):
        train(run.Run(), out=tmp_path / "run")


@pytest.mark.slow
def test_two_workers_give_the_run_of_one_process(monkeypatch, tmp_path):
    ray = pytest.importorskip("ray", reason="Ray is an extra")
    from convatlas.integrations.ray import train

    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "180")
    short = convatlas.recipe("lenet5").change("data.source", "digits", "train.epochs", 1)
    ray.init(num_cpus=2, include_dashboard=False)
    try:
        train(short, out=tmp_path / "two", workers=2)
    finally:
        ray.shutdown()
    convatlas.train(short, out=tmp_path / "one")
    two, one = (read_rows(tmp_path / name / "metrics.csv")[0] for name in ("two", "one"))
    assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-5)
    assert two["val_top1"] == one["val_top1"]

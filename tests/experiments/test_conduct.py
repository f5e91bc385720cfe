"""The machinery of experiments: verdicts from numbers, trials that go on, images that are held out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convatlas import trials
from convatlas.errors import ConvatlasError, DivergedError
from convatlas.evaluation.statistics import paired
from convatlas.experiments import experiment
from convatlas.experiments.machinery import conduct as conducting
from convatlas.experiments.machinery.ablate import ablate, arms
from convatlas.experiments.machinery.conduct import conduct
from convatlas.experiments.machinery.page import again, columns, current, leave, overview, place, read, results_of
from convatlas.experiments.machinery.pictures import dots
from convatlas.experiments.machinery.plan import Claim, Experiment, Images, Protocol
from convatlas.experiments.machinery.reproduce import planned, reproduce
from convatlas.experiments.machinery.trial import Arm, Trial, epochs_to, final
from convatlas.experiments.machinery.verdict import judge
from convatlas.run import Data, Model, Optim, Run, Train

BASE = Run(model=Model(name="lenet5_modern"), data=Data(batch_size=16), optim=Optim(name="sgd", lr=0.05, momentum=0.9),
           train=Train(epochs=2))
TINY = Protocol(arms=(Arm("relu", {"model.fields": {"act": "relu"}}), Arm("tanh", {"model.fields": {"act": "tanh"}})),
                minutes=1, base=BASE, images=Images("digits", train=60, test=40), seeds=2)
CLAIM = Claim("one is better", lambda seed: seed["b"]["error"] - seed["a"]["error"], "points")


def of(*differences: float) -> list[dict[str, dict[str, float]]]:
    return [{"a": {"error": 10.0}, "b": {"error": 10.0 + each}} for each in differences]


def asked(protocol: Protocol, measure: object = final) -> Experiment:
    claim = Claim("tanh is worse", lambda seed: seed["tanh"]["test_error"] - seed["relu"]["test_error"], "points")
    return Experiment("Is it?", "nobody", (claim,), lambda results: dots(results, "test_error", "%"), protocol,
                      measure=measure)     # type: ignore[arg-type]


def heard(lines: list[str]) -> object:
    return lines.append


# -- verdicts --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("differences", "word"), [
    ((2.0, 2.2, 1.9, 2.1, 2.0), "holds"),
    ((-2.0, -2.2, -1.9, -2.1, -2.0), "does not hold here"),
    ((2.0, -2.2, 1.9, -2.1, 0.3), "too small to tell"),
    ((2.0,), "too small to tell"),                  # one seed says nothing
    ((2.0, 2.0, float("nan")), "too small to tell"),
])
def test_a_verdict_follows_from_its_numbers(differences: tuple[float, ...], word: str) -> None:
    assert judge([CLAIM], of(*differences))[0].word == word


def test_claims_share_the_confidence() -> None:
    effects = of(0.9, 1.6, 0.2, 1.3, 0.7)
    alone, among = judge([CLAIM], effects)[0], judge([CLAIM] * 9, effects)[0]
    assert alone.word == "holds" and among.word == "too small to tell"
    assert among.high - among.low > alone.high - alone.low


def test_a_claim_without_loss_must_stay_above_its_margin() -> None:
    claim = Claim("without loss", lambda seed: seed["a"]["error"] - seed["b"]["error"], "points", above=-1.0)
    assert judge([claim], of(0.1, 0.2, -0.1, 0.0, 0.1))[0].word == "holds"
    assert judge([claim], of(2.1, 2.2, 1.9, 2.0, 2.1))[0].word == "does not hold here"
    assert judge([claim], of(1.1, 0.2, 2.0, 0.9, 0.4))[0].word == "too small to tell"


def test_an_identity_needs_no_interval() -> None:
    claim = Claim("equal", lambda seed: -abs(seed["b"]["error"] - seed["a"]["error"]), "bits", by_chance=False)
    assert judge([claim], of(0.0))[0].word == "holds"
    assert judge([claim], of(0.0, 1e-9))[0].word == "does not hold here"


def test_the_interval_is_students() -> None:
    from scipy.stats import ttest_1samp

    values = [1.0, 2.5, 0.3, 1.8, 2.2]
    mean, low, high = paired(values, 0.95)
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low, expected.high)) and mean == pytest.approx(1.56)


def test_epochs_to_an_error_are_between_two_epochs() -> None:
    rows = [{"epoch": epoch, "train_top1": 1 - error / 100} for epoch, error in ((1, 50), (2, 30), (3, 10))]
    assert epochs_to(rows, "train_top1", 60) == 1
    assert epochs_to(rows, "train_top1", 20) == pytest.approx(2.5)
    assert epochs_to(rows, "train_top1", 5) == 4          # never


# -- conduct ---------------------------------------------------------------------------------------------------------

def test_trials_go_on_where_they_were_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = conduct(asked(TINY), TINY, tmp_path / "whole", seeds=2, workers=0, tell=lambda text: None).results
    count, really = 0, trials.train

    def once(run: Run, **options: object) -> object:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return really(run, **options)      # type: ignore[arg-type]

    monkeypatch.setattr(trials, "train", once)
    with pytest.raises(KeyboardInterrupt):
        conduct(asked(TINY), TINY, tmp_path / "parts", seeds=2, workers=0, tell=lambda text: None)
    lines: list[str] = []
    parts = conduct(asked(TINY), TINY, tmp_path / "parts", seeds=2, workers=0, tell=lines.append).results
    assert lines[0] == "2 of 4 trials are done already."
    assert [without_seconds(each) for each in parts.paired] == [without_seconds(each) for each in whole.paired]


def without_seconds(by_arm: object) -> object:
    return {arm: {name: value for name, value in figures.items() if name != "seconds"}
            for arm, figures in by_arm.items()}      # type: ignore[attr-defined]


def test_a_run_that_diverges_counts_as_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverging(run: Run, **options: object) -> object:
        raise DivergedError("the loss is not finite")

    monkeypatch.setattr(trials, "train", diverging)
    results = conduct(asked(TINY), TINY, tmp_path, seeds=2, workers=0, tell=lambda text: None).results
    assert results.of("relu", "test_error") == pytest.approx([90, 90])


def test_a_segmenter_that_diverges_counts_as_chance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverging(run: Run, **options: object) -> object:
        raise DivergedError("the loss is not finite")

    monkeypatch.setattr(trials, "train", diverging)
    base = Run(model=Model(name="unet_same"), data=Data(source="nuclei"))
    protocol = Protocol((Arm("a", {}),), 1, base)
    results = conduct(asked(protocol), protocol, tmp_path, seeds=1, workers=0, tell=lambda text: None).results
    assert results.of("a", "test_iou") == pytest.approx([100 / 3])


def test_a_trial_that_is_measured_otherwise_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    conduct(asked(TINY), TINY, tmp_path, seeds=1, workers=0, tell=told.append)
    metrics = tmp_path / "trials" / "relu" / "seed-0" / "metrics.csv"
    trained = metrics.read_bytes()      # with the seconds that it took
    conduct(asked(TINY), TINY, tmp_path, seeds=1, workers=0, tell=told.append)
    assert told[-1] == "2 of 2 trials are done already."
    monkeypatch.setattr(conducting, "_text", lambda module: "another way to measure")
    conduct(asked(TINY), TINY, tmp_path, seeds=1, workers=0, tell=told.append)
    assert told[-1].startswith("2 of 2 trials: tanh") and metrics.read_bytes() == trained


def test_arms_that_would_share_a_folder_are_refused(tmp_path: Path) -> None:
    protocol = Protocol((Arm("with a=1", {}), Arm("with a:1", {})), 1, BASE)
    with pytest.raises(ConvatlasError, match="'with a=1' and 'with a:1' would share the folder with-a-1"):
        conduct(asked(protocol), protocol, tmp_path, seeds=1, workers=0, tell=lambda text: None)


def test_rates_are_tried_on_training_images_only(tmp_path: Path) -> None:
    protocol = Protocol(TINY.arms[:1], 1, BASE, Images("digits", 400, 40), rates=(0.05, 1e-6))
    done = conduct(asked(protocol), protocol, tmp_path, seeds=2, workers=0, tell=lambda text: None)
    assert done.tuning["relu"].chosen == 0.05 and set(done.tuning["relu"].errors) == {0.05, 1e-6}
    whole, tuning = (np.load(tmp_path / name) for name in ("images.npz", "tuning.npz"))
    learned, judged = ({image.tobytes() for image in whole[part]} for part in ("x_train", "x_val"))
    tried = [{image.tobytes() for image in tuning[part]} for part in ("x_train", "x_val")]
    assert (len(whole["x_train"]), len(whole["x_val"])) == (400, 40)
    assert tried[0] | tried[1] == learned and not tried[0] & tried[1] and not (tried[0] | tried[1]) & judged
    config = (tmp_path / "trials" / "relu" / "seed-0" / "config.yaml").read_text()
    assert "lr: 0.05" in config


def test_sizes_have_folders_of_their_own_and_one_page_shows_all(tmp_path: Path) -> None:
    assert place(tmp_path, "tiny", "quick") == tmp_path / "tiny"
    assert place(tmp_path, "tiny", "standard") == tmp_path / "tiny-standard"
    assert again("tiny", "quick", "digits") == "convatlas reproduce tiny --quick"
    assert again("tiny", "standard", "my photos") == "convatlas reproduce tiny --data 'my photos'"   # without it: quick
    reproduce_tiny(tmp_path / "tiny")
    page = overview(tmp_path).read_text(encoding="utf-8")
    assert 'href="tiny/report.html"' in page and 'src="tiny/picture.svg"' in page and "Is it?" in page


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    done = reproduce_tiny(tmp_path)
    stored = read(tmp_path / "results.json")
    results = results_of(stored)
    assert results.arms == ("relu", "tanh") and len(results.rows[0]["relu"]) == 2
    assert [verdict["word"] for verdict in stored["verdicts"]] == [verdict.word for verdict in done]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Tanh is worse" in page and "model.fields.act = tanh" in page and "<svg" in page
    with pytest.raises(ConvatlasError, match="99"):
        (tmp_path / "results.json").write_text(json.dumps({**stored, "format": 99}))
        read(tmp_path / "results.json")


def reproduce_tiny(out: Path) -> object:
    done = conduct(asked(TINY), TINY, out, seeds=2, workers=0, tell=lambda text: None)
    return leave(out, "tiny", "What it is.", asked(TINY), TINY, "quick", done)


def test_results_are_current_while_protocol_and_claims_say_the_same(tmp_path: Path) -> None:
    reproduce_tiny(tmp_path)
    stored, now = read(tmp_path / "results.json"), asked(TINY)
    claim = now.claims[0]

    def with_claim(changed: Claim) -> Experiment:
        return replace(now, claims=(changed, *now.claims[1:]))

    assert current(stored, now) and current(stored, with_claim(replace(claim, text="In better words")))
    assert not current(stored, with_claim(replace(claim, above=claim.above + 1)))
    assert not current(stored, with_claim(replace(claim, effect=lambda seed: -1 - claim.effect(seed))))
    assert not current(stored, replace(now, quick=replace(now.quick, minutes=now.quick.minutes + 1)))
    images = stored["protocol"]["images"]
    for source, counts in ((f"{images['source']}-jpeg", True), (f"{images['source']}100", False), ("others", False)):
        stored["protocol"]["images"] = {**images, "source": source}
        assert current(stored, now) is counts


def test_what_cannot_be_asked_is_said() -> None:
    with pytest.raises(ConvatlasError, match="did you mean 'lenet-family'"):
        experiment("lenet-famly")
    with pytest.raises(ConvatlasError, match="no full protocol"):
        planned("lenet-family", "full", None)
    with pytest.raises(ConvatlasError, match="too few"):
        reproduce("lenet-family", Path("nowhere"), seeds=1)


def test_columns_keep_rows() -> None:
    assert columns([{"epoch": 1, "val_top1": 0.5}, {"epoch": 2, "val_top1": 0.123456789}]) == {
        "epoch": [1, 2], "val_top1": [0.5, 0.12346]}


# -- ablation --------------------------------------------------------------------------------------------------------

def test_an_ablation_has_an_arm_per_difference(tmp_path: Path) -> None:
    run = BASE.change("data.source", "digits", "train.epochs", 1, "loss.label_smoothing", 0.1)
    done = ablate(run, None, ["label-smoothing"], ["act=tanh"], tmp_path, seeds=2, workers=0, command="again")
    assert [verdict.text for verdict in done.verdicts] == ["it is better for its label-smoothing",
                                                           "act=tanh makes it better"]
    stored = read(tmp_path / "results.json")
    assert list(stored["protocol"]["arms"]) == ["as it is", "without label-smoothing", "with act=tanh"]
    whole, tanh = stored["figures"]["0"]["as it is"], stored["figures"]["0"]["with act=tanh"]
    assert done.verdicts[1].effects[0] == pytest.approx(whole["test_error"] - tanh["test_error"])


@pytest.mark.parametrize(("taken", "changes", "said"), [
    (["lrn"], [], "lenet5_modern and its run have none of it; what they have is momentum"),
    (["drpout"], [], "did you mean 'dropout'"),
    (["label-smoothing"], [], "have none of it"),
    ([], ["act=relu"], "that is how it is"),
    ([], ["act=tanx"], "is refused"),
    ([], ["optim.rl=1"], "rl"),
    ([], [], "needs something to take away"),
    ([], ["act=tanh", "act=tanh"], "twice"),
])
def test_an_ablation_of_nothing_is_refused(taken: list[str], changes: list[str], said: str) -> None:
    with pytest.raises(ConvatlasError, match=said):
        arms(BASE, taken, changes)


def test_a_network_that_is_its_part_cannot_be_without_it() -> None:
    with pytest.raises(ConvatlasError, match="se_resnet50 cannot be without it"):
        arms(BASE.change("model.name", "se_resnet50"), ["excite"], [])


@pytest.mark.parametrize(("model", "part", "field"), [
    ("alexnet", "lrn", "lrn"), ("alexnet", "dropout", "drop_rate"), ("vgg16_bn", "batch-norm", "batch_norm"),
    ("convnext_tiny", "layer-scale", "layer_scale"), ("googlenet", "aux", "aux"),
    ("efficientnet_b0", "stochastic-depth", "drop_path_rate"),
])
def test_parts_can_be_taken_from_networks_that_have_them(model: str, part: str, field: str) -> None:
    from convatlas.net import registry

    arm = arms(BASE.change("model.name", model), [part], [])[1]
    assert registry.card(model, arm.changes["model.fields"]).spec != registry.variant(model).spec
    assert field in arm.changes["model.fields"]


def test_the_last_epoch_is_what_a_trial_loads(tmp_path: Path) -> None:
    from convatlas.engine.checkpoint import newest

    conduct(asked(TINY), TINY, tmp_path, seeds=2, workers=0, tell=lambda text: None)
    folder = tmp_path / "trials" / "relu" / "seed-0"
    saved = newest(folder)
    assert saved is not None
    last = Trial(TINY.arms[0], 0, folder).network().state_dict()
    assert all((tensor == saved.tensors[f"model.{name}"]).all() for name, tensor in last.items())


def test_all_of_a_data_set_in_a_folder_of_one_s_own_is_found_by_its_trials(tmp_path: Path) -> None:
    digits = np.random.default_rng(0).integers(0, 256, (60, 16, 16), dtype=np.uint8)
    labels = np.arange(60) % 10
    np.savez(tmp_path / "usps.npz", x_train=digits[:40], y_train=labels[:40], x_test=digits[40:], y_test=labels[40:])
    protocol = Protocol(arms=TINY.arms, minutes=1, base=BASE.change("train.epochs", 1), images=Images("usps"), seeds=1)
    done = conduct(asked(protocol), protocol, tmp_path / "out", seeds=1, workers=0, tell=print, data_dir=str(tmp_path))
    assert set(done.results.figures[0]) == {"relu", "tanh"}

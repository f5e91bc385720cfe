"""What the command line answers by itself: help, version, and every kind of wrong word, without torch."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from convatlas import __version__, known, run, zoo
from convatlas.cli import app, configuration, main, paths
from convatlas.errors import ConvatlasError

COMMANDS = ("train", "eval", "predict", "deploy", "export", "list", "info", "compare", "facts", "recipe",
            "recipe list", "recipe show")

# Runs the command line, then says on stderr's last line which heavy modules it pulled in.
PROBE = """
import sys
from convatlas.cli import main
code = main(sys.argv[1:])
print("HEAVY", *sorted({"torch", "torchvision", "matplotlib", "tensorboard"} & set(sys.modules)), file=sys.stderr)
raise SystemExit(code)
"""


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    for name in ("CONVATLAS_DEBUG", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "RANK"):
        monkeypatch.delenv(name, raising=False)


def started(command: list[str] | str, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run to its end in a process that speaks UTF-8 unless told otherwise."""
    encoding = settings.pop("encoding", "utf-8")
    return subprocess.run(command, capture_output=True, text=True, encoding=encoding, timeout=60,
                          env={**os.environ, "PYTHONIOENCODING": encoding}, shell=isinstance(command, str), **settings)


def light(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run in a process of its own; assert that it stays without torch, and take the probe's line off stderr."""
    done = started([sys.executable, "-c", PROBE, *words], cwd=cwd)
    done.stderr, _, heavy = done.stderr.rstrip("\n").rpartition("HEAVY")
    assert heavy.strip() == "", f"{words} imported {heavy}"
    return done


def flat(text: str) -> str:
    """Text as one line, without boxes: what wraps at 80 columns is still found."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


@pytest.mark.parametrize("words", [
    ("--help",), ("--version",), ("train", "--help"), ("recipe", "list"), ("recipe", "show", "modern"),
    ("list", "lenet*"), ("list", "--pretrained", "resnet*"), ("info", "lenet5"), ("compare", "alexnet", "vgg16"),
    ("train", "lenet5", "digits", "--device", "tpu"), ("train", "lenet5", "--set", "optim.nme=adamw"),
    ("train", "lenet5", "--recipe", "modren"), ("predict", "runs/none", "a.png"),
], ids=" ".join)
def test_these_answers_need_no_torch(words: tuple[str, ...], tmp_path: Path) -> None:
    light(*words, cwd=tmp_path)


def computed(words: list[str], inside: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the command says where nothing is stored."""
    monkeypatch.setattr(known, "account", lambda name: None)
    monkeypatch.setattr(known, "listed", lambda: None)
    return str(inside(*words).stdout)


@pytest.mark.parametrize("words", [
    ["list"], ["list", "--json"], ["info", "zipcode_net", "--receptive-field"], ["info", "unet", "--json"],
    ["compare", "lenet5", "googlenet", "resnet20_cifar"], ["compare", "lenet5", "lenet5_modern", "--json"],
], ids=" ".join)
def test_what_is_stored_reads_as_what_is_computed(
    words: list[str], inside: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise AssertionError("computed")

    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "convatlas.net.registry", raising=False)         # as before torch is imported
        for name in ("account", "listed"):
            patch.setattr(zoo, name, fail)
        stored = inside(*words)
    assert stored.returncode == 0 and stored.stdout == computed(words, inside, monkeypatch)


def test_version() -> None:
    done = light("--version")
    assert (done.returncode, done.stdout) == (0, f"convatlas {__version__}\n")


@pytest.mark.parametrize("words", ["", *COMMANDS])
@pytest.mark.parametrize("width", [80, 120])
def test_every_help_names_its_words_and_gives_examples(
    words: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert main([*words.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= width
    assert f"Usage: convatlas {words}".rstrip() in text
    assert "[bold]" not in text and "[/]" not in text
    if words not in ("recipe list", "recipe show"):
        examples = [line for line in text.splitlines() if re.match(r" (convatlas|torchrun) ", line)]
        assert len(examples) >= 2, text


def test_help_without_words_and_for_a_group() -> None:
    for words in ((), ("recipe",)):
        done = light(*words)
        assert "Usage: convatlas" in done.stdout + done.stderr


def test_train_writes_out_the_common_flags(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "--help"])
    text = capsys.readouterr().out
    for flag in ("--recipe", "--config", "-c", "--set", "--out", "--resume", "--force", "--data-dir", "--download",
                 "--epochs", "--batch-size", "-b", "--lr", "--optimizer", "--weight-decay", "--seed", "--device",
                 "--workers", "--amp", "--image-size", "--in-chans", "--weights", "--strict", "--parallel", "--debug"):
        assert re.search(rf"(?<![\w-]){flag}(?![\w-])", text), flag
    assert "over all processes" in flat(text)


def test_the_choices_are_those_of_a_run() -> None:
    from convatlas.cli.options import DeviceName
    from convatlas.cli.train import Optimizer

    assert get_args(DeviceName) == get_args(run.Train.model_fields["device"].annotation)
    assert get_args(Optimizer) == get_args(run.Optim.model_fields["name"].annotation)


@pytest.mark.parametrize(("words", "said"), [
    (["trian"], "'train'"),
    (["train", "lenet5", "--epoch", "3"], "--epochs"),
    (["train", "lenet5", "--epochs", "many"], "'many' is not a whole number"),
    (["train", "lenet5", "--device", "tpu"], "'cuda'"),
    (["train", "lenet5", "digits", "more"], "more"),
    (["train", "--resume", ".", "--force"], "own folder"),
    (["predict", "."], "IMAGE"),
    (["predict", ".", "x.png", "--top-k", "0"], "'0' is too small: at least 1"),
    (["recipe", "shwo"], "'show'"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_wrong_words_get_a_clear_answer_and_code_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert said in flat(shown.err) and shown.out == ""


@pytest.mark.parametrize(("words", "said"), [
    (["train"], "no network is named"),
    (["train", "lenet5", "--set", "optim.nme=adamw"], "'optim.nme'; did you mean 'name'"),
    (["train", "lenet5", "--set", "nonsense"], "FIELD=VALUE"),
    (["train", "lenet5", "--lr", "-1"], "optim.lr = -1.0"),
    (["train", "lenet5", "--batch-size", "0"], "data.batch_size = 0"),
    (["train", "lenet5", "--recipe", "modren"], "did you mean 'modern'"),
    (["train", "lenet5", "--config", "absent.yaml"], "absent.yaml"),
    (["train", "lenet5", "-c", "bad.yaml"], "bad.yaml: there is no field 'train.epoch'"),
    (["train", "lenet5", "--image-size", "12x"], "'12x'"),
    (["train", "--resume", "runs/absent"], "'runs/absent'"),
    (["train", "--resume", "runs/b"], "did you mean 'runs/a'"),
    (["eval", "runs/absent", "digits"], "'runs/absent'"),
    (["predict", "runs/a", "empty"], "no images"),
    (["predict", "runs/a", "*.jpg"], "no file matches '*.jpg'"),
    (["recipe", "show", "lenett5"], "did you mean 'lenet5'"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_what_a_user_can_mend_is_one_sentence_and_code_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text("train: {epoch: 3}\n")
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("error: ") and shown.err.count("\n") == 1
    assert said in shown.err


@pytest.mark.parametrize("words", [["--debug", "recipe", "show", "x"], ["recipe", "show", "x", "--debug"]],
                         ids=" ".join)
def test_debug_shows_the_traceback_wherever_it_stands(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_debug_from_the_environment(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVATLAS_DEBUG", "1")
    assert main(["recipe", "show", "x"]) == 2
    assert "Traceback" in capsys.readouterr().err


class Odd(ConvatlasError):
    exit_code = 7


@pytest.mark.parametrize(("error", "code", "said"), [
    (Odd("a [bold]sentence[/]"), 7, "error: a [bold]sentence[/]\n"),
    (ValueError("two\nlines"), 1,
     "error: something unexpected went wrong (ValueError: two lines); run again with --debug for the traceback\n"),
    (KeyboardInterrupt(), 130, ""),
    (BrokenPipeError(32, "Broken pipe"), 1, ""),
], ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "")
def test_each_failure_has_its_code_and_its_sentence(
    error: BaseException, code: int, said: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from convatlas import recipes

    def fail(name: str) -> run.Run:
        raise error

    monkeypatch.setattr(recipes, "recipe", fail)
    assert main(["recipe", "show", "lenet5"]) == code
    shown = capfd.readouterr()
    assert shown.err == said and shown.out == ""


def test_a_reader_that_leaves_early_is_no_error() -> None:
    done = started(f'"{sys.executable}" -m convatlas recipe show lenet5 | head -n 1')
    assert done.stdout.startswith("# LeNet-5") and done.stderr == ""


def test_signs_that_an_encoding_lacks_do_not_break_it() -> None:
    done = started([sys.executable, "-m", "convatlas", "recipe", "show", "lenet5"], encoding="ascii")
    assert done.returncode == 0 and "28?28" in done.stdout


def test_a_recipe_is_shown_as_a_configuration_file(capsys: pytest.CaptureFixture[str]) -> None:
    from convatlas.recipes import names, recipe

    for name in names():
        assert main(["recipe", "show", name]) == 0
        assert run.Run.from_yaml(capsys.readouterr().out) == recipe(name)


class TestPlan:
    """Recipe < config file < flags < --set, and what a resumed run may change."""

    def test_precedence(self, tmp_path: Path) -> None:
        config = tmp_path / "c.yaml"
        config.write_text("optim: {lr: 0.2, momentum: 0.5, weight_decay: 0.1}\n")
        flags = [("model.name", "lenet5"), ("optim.momentum", 0.6), ("optim.weight_decay", 0.2), ("train.epochs", None)]
        found, _ = configuration.configured(flags, recipe="modern", config=config, sets=["optim.weight_decay=0.3"])
        assert (found.optim.lr, found.optim.momentum, found.optim.weight_decay) == (0.2, 0.6, 0.3)
        assert (found.recipe, found.model.name, found.train.epochs) == ("modern", "lenet5", 30)

    def test_digits_are_the_data_unless_somebody_says_otherwise(self, tmp_path: Path) -> None:
        config = tmp_path / "c.yaml"
        config.write_text("data: {source: usps}\nmodel: {name: lenet5}\n")
        # not its paper's
        assert configuration.configured([], recipe="lenet5", config=None, sets=())[0].data.source == "digits"
        assert configuration.configured([], recipe="lenet5", config=config, sets=())[0].data.source == "usps"
        assert configuration.configured([("data.source", "mnist")], recipe="lenet5", config=config,
                                        sets=())[0].data.source == "mnist"

    def test_a_configuration_names_its_recipe(self, tmp_path: Path) -> None:
        config = tmp_path / "c.yaml"
        config.write_text("recipe: zipcode\nmodel: {name: lenet5}\n")
        assert configuration.configured([], recipe=None, config=config, sets=())[0].recipe == "zipcode"
        assert configuration.configured([], recipe="modern", config=config, sets=())[0].recipe == "modern"

    def test_a_network_has_its_own_recipe(self) -> None:
        assert configuration.configured([("model.name", "lenet5_modern")], recipe=None, config=None,
                                        sets=())[0].recipe == "modern"

    def test_a_resumed_run_may_be_longer_and_elsewhere(self, tmp_path: Path) -> None:
        before = run.Run(recipe="modern")
        (tmp_path / "config.yaml").write_text(before.to_yaml())
        same = [("model.name", "lenet5"), ("optim.lr", 0.01)]       # said again, not changed
        flags = [("train.epochs", 50), ("train.device", "cpu"), ("data.workers", 2), *same]
        after = configuration.resumed(tmp_path, flags, recipe="modern", config=None, sets=())
        assert (after.train.epochs, after.train.device, after.data.workers) == (50, "cpu", 2)
        assert configuration.resumed(tmp_path, [], recipe=None, config=None, sets=()) == before

    @pytest.mark.parametrize(("flags", "recipe", "sets", "field"), [
        ([("optim.lr", 0.5)], None, (), "optim.lr is 0.01 there, not 0.5"),
        ([("model.name", "alexnet")], None, (), "model.name"),
        ([("model.fields.image_size", 64)], None, (), "model.fields.image_size"),
        ([], "lenet5", (), "recipe"),
        ([], None, ["augment.flip=0.5"], "augment.flip"),
    ])
    def test_a_resumed_run_refuses_to_become_another(
        self, flags: list[tuple[str, object]], recipe: str | None, sets: list[str], field: str, tmp_path: Path
    ) -> None:
        (tmp_path / "config.yaml").write_text(run.Run(recipe="modern").to_yaml())
        with pytest.raises(ConvatlasError, match=re.escape(field)) as caught:
            configuration.resumed(tmp_path, flags, recipe=recipe, config=None, sets=sets)
        assert "train.epochs" in str(caught.value)

    @pytest.mark.parametrize(("text", "size"), [(None, None), ("224", 224), ("224x192", [224, 192]), ("9×8", [9, 8])])
    def test_image_sizes(self, text: str | None, size: object) -> None:
        assert configuration.image_size(text) == size

    @pytest.mark.parametrize("text", ["", "x", "0", "-3", "1x2x3", "3.5", "224x0"])
    def test_bad_image_sizes(self, text: str) -> None:
        with pytest.raises(ConvatlasError, match="image-size"):
            configuration.image_size(text)


def test_pictures_are_found_in_files_folders_and_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/2.png", "a/1.JPG", "a/b/3.webp", "a/notes.txt", "a/.hidden.png", "c.png", "d[1].png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert paths.pictures(["a"]) == [str(Path("a/1.JPG")), str(Path("a/2.png")), str(Path("a/b/3.webp"))]
    assert paths.pictures(["?.png", "absent.png"]) == ["c.png", "absent.png"]       # reading it says why it cannot be
    assert paths.pictures(["d[1].png"]) == ["d[1].png"]


def test_torchrun_can_start_it(tmp_path: Path) -> None:
    done = started([sys.executable, "-m", "convatlas", "--version"], cwd=tmp_path)
    assert done.stdout == f"convatlas {__version__}\n"


def test_numbers_read_well() -> None:
    from convatlas.cli import console

    assert [console.short(n) for n in (999, 60_000, 60_965_224, 4_089_184_256)] == ["999", "60.0k", "60.97M", "4.09G"]
    assert console.exact(60_965_224) == "60 965 224"
    assert (console.percent(0.98333), console.percent(float("nan"))) == ("98.33 %", "–")
    assert [console.duration(s) for s in (0.4, 75, 3725)] == ["0:00", "1:15", "1:02:05"]


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    from convatlas.cli import console

    console.document({"a": float("nan"), "b": (1, float("inf")), "c": "[bold]×[/]" + "x" * 300})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1, None], "c": "[bold]×[/]" + "x" * 300}


def test_a_class_named_like_an_emoji_stays_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    from convatlas.cli import console

    console.document({":dog:": ":cat:"})
    console.plain(":dog:")
    console.warn(":cat:")
    said = capsys.readouterr()
    assert said.out.count(":dog:") == 2 and said.out.count(":cat:") == 1 and ":cat:" in said.err


def test_the_app_has_every_command() -> None:
    assert {name for name, *_ in app.COMMANDS} == {"train", "eval", "predict", "segment", "deploy", "export", "bench",
                                                   "publish", "list", "info", "compare", "facts", "reproduce", "ablate",
                                                   "doctor", "atlas"}

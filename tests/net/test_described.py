"""Networks that files describe: they stand where names do, and what is trained from them does without the file."""

import subprocess
import sys

import pytest

import convatlas
from convatlas.arch.efficientnet import Row
from convatlas.errors import ConvatlasError
from convatlas.net import described, registry
from convatlas.run import Model, Run, resolve
from convatlas.zoo import of_registered, recipe_for

TABLE = [dict(zip(Row._fields, row, strict=True)) for row in (
    (0, 3, 28, 8, 1, True), (1, 3, 28, 8, 1, False), (3, 5, 28, 16, 2, True), (0, 1, 14, 32, 1, True))]
FIELDS = {"image_size": 16, "in_chans": 1, "num_classes": 10, "table": TABLE}


@pytest.fixture
def path(tmp_path):
    return described.write(tmp_path / "mine.yaml", Model(name="efficientnet_b0", fields=FIELDS), "of a test\n")


def test_what_is_written_is_read_and_built(path):
    found = registry.variant(str(path))
    assert described.read(path) == Model(name="efficientnet_b0", fields=FIELDS)
    assert found.spec.table == tuple(Row(**row) for row in TABLE) and found.fidelity == "own"
    model = convatlas.create_model(str(path))
    assert sum(p.numel() for p in model.parameters()) == found.params and model.image_size == (16, 16)
    gated = [name for name, module in model.named_modules() if name.endswith("excite")]
    assert gated == ["stages.1.0.excite", "stages.1.1.branch.excite"]
    assert convatlas.info(str(path)).macs == found.macs and not convatlas.info(str(path)).facts


def test_card_and_run_know_it_without_the_file(path):
    model = convatlas.create_model(str(path), num_classes=3)
    path.rename(path.with_name("gone.yaml"))
    again = registry.build(model.card.model, model.card.fields)
    assert model.card.model == "efficientnet_b0" and again.spec == model.spec
    run = recipe_for(str(path.with_name("gone.yaml")))
    assert run.model.name == "efficientnet_b0" and run.model.fields["image_size"] == 16


def test_the_runs_own_fields_are_stronger_than_the_files(path):
    run = of_registered(Run(model=Model(name=str(path), fields={"num_classes": 3})))
    assert run.model.fields["num_classes"] == 3 and run.model.fields["image_size"] == 16


def test_it_is_a_configuration_too(path):
    assert resolve(Run(), config=path) == Run(model=Model(name="efficientnet_b0", fields=FIELDS))


@pytest.mark.parametrize(("text", "said"), [
    ("", "no network's description"),
    ("model: {fields: {image_size: 8}}", "no network's description"),
    ("model: {name: lenet5}\ntrain: {epochs: 3}", "no network's description, .* --config"),
    ("model: {name: lenet5, weights: digits}", "no network's description"),
    ("model: {name: lenet5, feilds: {}}", "there is no field 'model.feilds'; did you mean"),
    ("model: {name: mine.yaml}", "by another file, 'mine.yaml'"),
    ("model: {name: efficientnet_bO}", "there is no model 'efficientnet_bO'; did you mean"),
    ("model: {name: efficientnet_b0, fields: {tabel: []}}", "has no field 'tabel'"),
    ("model: {name: efficientnet_b0, fields: {table: [[6, 3]]}}", "table = "),
    ("format: 2\nmodel: {name: lenet5}", "has format 2"),
    ("model: [", "is not valid YAML"),
])
def test_other_files_are_refused_in_a_sentence(tmp_path, text, said):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConvatlasError, match=said):
        registry.variant(str(path))
    with pytest.raises(ConvatlasError, match="cannot read the network"):
        registry.variant(str(tmp_path / "absent.yaml"))


@pytest.mark.slow
def test_it_trains_and_deploys_from_the_command_line(path, tmp_path):
    def convatlas(*words):
        done = subprocess.run([sys.executable, "-m", "convatlas", *words], capture_output=True, text=True,
                              cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = convatlas("train", "mine.yaml", "digits", "--epochs", "1", "--out", "run")
    assert "input 16" in said
    path.unlink()
    convatlas("deploy", "run", "--out", "deployed")
    assert "top-1" in convatlas("eval", "deployed", "digits")

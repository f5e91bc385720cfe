"""The Run as a value: changed by names, and read from YAML as PyYAML's own parser reads it."""

import pytest
import yaml

from convatlas import ConvatlasError, recipe, run
from convatlas.recipes import names
from convatlas.run import MALFORMED, Group, Optim, Run, Train, Yaml, assignment, parse_yaml, read_yaml

TEXTS = ["off", "a: on", "yes", "true", "1e-3", "1_000", "0o17", "a: 2020-01-01", "{a: 1, b: [x, 'no']}",
         "a: {b: 1}\nc:\n- d\n", "", "~"]
MALFORMS = ["train: [", "a: b: c", "a: 1\n\tb: 2", "a: @x", "*x", "'abc", "\x00", "a: \ud800",
            "a: !!python/object:os.system x", "--- a\n--- b", "a: 2020-13-45", "[" * 3000]


def test_changed_fields_and_no_others():
    before = recipe("alexnet")
    after = before.change("data.source", "digits", "optim.lr", 0.5, "train.ema", None, "model.fields.num_classes", 3,
                          "augment.scale", (0.5, 1.0), "optim.groups", (Group(names="*.bias", lr=2),))
    assert (after.data.source, after.optim.lr, after.train.ema,
            after.augment.scale) == ("digits", 0.5, None, (0.5, 1.0))
    assert (after.model.fields == {**before.model.fields, "num_classes": 3}
            and after.optim.groups == (Group(names="*.bias", lr=2),))
    assert after.change("data.source", before.data.source, "optim.lr", before.optim.lr, "train.ema", before.train.ema,
                        "model.fields", before.model.fields, "augment.scale", before.augment.scale,
                        "optim.groups", before.optim.groups) == before
    assert before == recipe("alexnet") and before.change() == before


def test_a_value_takes_the_place_of_the_whole_field():
    run = Run(optim=Optim(name="adam", eps=0.1)).change("model.fields",
                                                        {"drop_rate": 0.2}).change("model.fields", {"in_chans": 3})
    assert run.model.fields == {"in_chans": 3}
    assert run.change("optim", {"lr": 0.5}).optim == run.change("optim", Optim(lr=0.5)).optim == Optim(lr=0.5)
    assert run.change("optim", Optim(lr=0.5), "optim.mu",
                      0.3).optim == Optim(lr=0.5, mu=0.3), "from the left to the right"


@pytest.mark.parametrize(("pairs", "said"), [
    (("optim.lrr", 1), "there is no field 'optim.lrr'.*did you mean 'lr'"),
    (("optimm.lr", 1), "there is no field 'optimm'.*did you mean 'optim'"),
    (("optim.lr.x", 1), "optim.lr = .*is refused"),
    (("", 1), "there is no field ''"),
    (("optim.lr", -1), "optim.lr = -1 is refused"),
    (("optim", Train()), "optim = Train.* is refused"),
    (("train.epochs", 2.5), "train.epochs = 2.5 is refused"),
    (("schedule.steps", ((2, 0.1), (1, 0.1))), "rising epochs"),
    (("optim.lr",), "'optim.lr' has none"),
    (("optim.lr", 0.1, "train.epochs"), "'train.epochs' has none"),
    ((0.1, "optim.lr"), "name such as 'optim.lr' where 0.1 stands"),
])
def test_what_cannot_be_changed_is_refused(pairs, said):
    with pytest.raises(ConvatlasError, match=said):
        Run().change(*pairs)


@pytest.mark.parametrize("fast", [run.FAST, Yaml], ids=["libyaml", "pure"])
def test_yaml_is_read_alike_with_and_without_libyaml(monkeypatch, fast):
    monkeypatch.setattr(run, "FAST", fast)
    for text in TEXTS:
        assert read_yaml(text) == yaml.load(text, Yaml), text
    assert [read_yaml(word) for word in ("off", "no", "on", "True", "false")] == ["off", "no", "on", True, False]
    for text in MALFORMS:
        with pytest.raises(MALFORMED) as ours:
            read_yaml(text)
        with pytest.raises(MALFORMED) as theirs:
            yaml.load(text, Yaml)
        deep = isinstance(theirs.value, RecursionError)       # libyaml says so first
        assert deep or (type(ours.value), str(ours.value)) == (type(theirs.value), str(theirs.value))


def test_every_recipe_is_read_back_by_the_fast_parser():
    for name in names():
        assert Run.from_yaml(recipe(name).to_yaml()) == recipe(name)


@pytest.mark.parametrize("text", MALFORMS)
def test_malformed_yaml_is_a_sentence(text):
    with pytest.raises(ConvatlasError, match=r"(?s)^a\.yaml is not valid YAML: \S"):
        parse_yaml(text, "a.yaml")
    with pytest.raises(ConvatlasError, match=r"the value is not valid YAML$"):
        assignment(f"data.source={text}")


@pytest.mark.parametrize("seed", ["99999999999999999999", "-9999999999999999999"])
def test_a_seed_has_64_bits(seed):
    with pytest.raises(ConvatlasError, match=rf"train\.seed = {seed} is refused"):
        run.resolve(Run(), sets=[f"train.seed={seed}"])

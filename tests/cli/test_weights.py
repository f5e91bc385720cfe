"""`convatlas weights`, fine-tuning and publishing, as a user runs them on files that torchvision and timm wrote."""

import json

import pytest
import torch
from PIL import Image
from torch import nn

import convatlas
from parity import randomized


def test_converted_files_load_where_they_belong(resnet, tmp_path, inside):
    import timm
    from torchvision.models import resnet18

    model, path = resnet
    for library, make in (("torchvision", resnet18), ("timm", lambda: timm.create_model("resnet18"))):
        done = inside("weights", "convert", path, tmp_path / f"{library}.pth", "--to", library)
        assert done.returncode == 0, done.stderr
        there = make()
        there.load_state_dict(torch.load(tmp_path / f"{library}.pth", weights_only=True))
        x = torch.randn(1, 3, 64, 64)
        torch.testing.assert_close(there.eval()(x), model(x), rtol=1e-4, atol=1e-4)
    done = inside("weights", "convert", path, tmp_path / "ours.safetensors", "--to", "convatlas")
    assert done.returncode == 0 and convatlas.info(tmp_path / "ours.safetensors").name == "resnet18"
    done = inside("weights", "explain", path, "--json")
    assert json.loads(done.stdout)["network"] == "resnet18"
    done = inside("weights", "explain", path)
    assert "torchvision's resnet18" in done.stdout and "stem.conv.weight" in done.stdout


def theirs(library: str) -> tuple[nn.Module, str]:
    """A small network of the library, and what it is called here."""
    if library == "torchvision":
        from torchvision.models import mobilenet_v3_small

        return mobilenet_v3_small(), "mobilenet_v3_small"
    import timm

    return timm.create_model("mobilenetv2_035", num_classes=7), "mobilenet_v2_035"


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_a_peer_s_checkpoint_is_fine_tuned_and_given_back(library, stripes, tmp_path, inside):
    """A file of theirs, fine-tuned on a folder, evaluated, asked, written under their names, and loaded by their own
    code.
    """
    peer, ours = theirs(library)
    torch.save({"state_dict": randomized(peer).state_dict(), "epoch": 3}, tmp_path / "theirs.pth")
    done = inside(
        "train", ours, stripes, "--weights", "theirs.pth", "--recipe", "finetune", "--freeze", "stem,stages.0",
        "--lr-head", "10x", "--layer-decay", 0.8, "--epochs", 1, "--image-size", 32, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "newly initialised" in done.stdout and f"{library}'s" in done.stdout
    frozen = next(iter(peer.state_dict().values()))
    tuned = convatlas.load(tmp_path / "run")
    assert torch.equal(next(iter(tuned.state_dict().values())), frozen) and tuned.card.classes == ("across", "upright")

    done = inside("eval", "run", stripes, "--json", cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["count"] > 0
    picture = next((stripes / "across").glob("*.png"))
    done = inside("predict", "run", picture, "--json", cwd=tmp_path)
    guessed = json.loads(done.stdout)["images"][0]["predictions"]
    assert {row["class"] for row in guessed} == {"across", "upright"}

    done = inside("weights", "convert", "run", "back.pth", "--to", library, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    if library == "timm":
        import timm

        again = timm.create_model("mobilenetv2_035", num_classes=2)
    else:
        from torchvision.models import mobilenet_v3_small

        again = mobilenet_v3_small(num_classes=2)
    again.load_state_dict(torch.load(tmp_path / "back.pth", weights_only=True))
    x = convatlas.transforms(tuned)(Image.open(picture))[None]
    with torch.inference_mode():
        shares = again.eval()(x).softmax(1)[0]
    for row in guessed:
        assert row["probability"] == pytest.approx(shares[tuned.card.classes.index(row["class"])].item(), abs=1e-5)


def test_a_run_is_published_and_loaded_again(trained, tmp_path, inside):
    done = inside("publish", trained, tmp_path / "digits-lenet5", "--licence", "mit")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "digits-lenet5"
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(convatlas.load(folder)(x), convatlas.load(trained)(x))
    config = json.loads((folder / "config.json").read_text())
    assert config["architecture"] == "lenet5" and config["label_names"] == [str(digit) for digit in range(10)]
    card = (folder / "README.md").read_text()
    assert card.startswith("---\n") and "license: mit" in card and "top-1" in card and "recipe: lenet5" in card
    assert "--force" in inside("publish", trained, folder).stderr
    assert inside("publish", trained, folder, "--force").returncode == 0
    (folder / "notes.txt").touch()
    assert "holds other things" in inside("publish", trained, folder, "--force").stderr


@pytest.mark.parametrize("words", [("explain",), ("convert", "out.pth", "--to", "timm")])
def test_names_are_looked_up_in_the_caches(inside, tmp_path, monkeypatch, words):
    """What is not there is told as a name's lack, not as a file's."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    done = inside("weights", *words[:1], "hf-hub:someone/nothing", *words[1:], cwd=tmp_path)
    assert done.returncode == 2 and "nothing is downloaded unasked" in " ".join(done.stderr.split())


def test_the_known_public_weights_are_listed(inside):
    done = inside("list", "--pretrained", "resnet50", "--json")
    rows = {row["id"]: row for row in json.loads(done.stdout)}
    assert (rows["torchvision/IMAGENET1K_V2"]["top1"] == 80.858
            and rows["timm/resnet50.a1_in1k"]["licence"] == "apache-2.0")
    assert "80.86 %" in inside("list", "--pretrained", "resnet50").stdout
    assert "no weights are known" in inside("list", "--pretrained", "lenet4").stderr


@pytest.mark.parametrize(("words", "sentence"), [
    (("--weights", "timm/resnet18"), "lack the tag of a training"),
    (("--weights", "timm/resnet18.a1_in1k"), "nothing is downloaded unasked"),
    (("--weights", "torchvision/IMAGENET1K_V9"), "it has torchvision/IMAGENET1K_V1"),
    (("--weights", "torchvision/IMAGENET1K_V1"), "nothing is downloaded unasked"),
    (("--weights", "nowhere.pth"), "there is no run folder and no weights file"),
    (("--lr-head", "fast"), "is not a number"),
])
def test_what_is_not_there_is_told(inside, stripes, tmp_path, monkeypatch, words, sentence):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    done = inside("train", "resnet18", stripes, *words, cwd=tmp_path)
    assert done.returncode == 2 and sentence in " ".join(done.stderr.split())


def test_a_run_that_goes_on_does_not_need_the_file_it_began_from(stripes, tmp_path, inside):
    """Interrupted after an epoch, the file gone: the checkpoint has everything, and the run's own fields say what it
    was built with.
    """
    torch.save(randomized(theirs("timm")[0]).state_dict(), tmp_path / "start.pth")
    words = ("train", "mobilenet_v2_035", stripes, "--image-size", 32, "--out", tmp_path / "run",
             "--recipe", "finetune")
    assert inside(*words, "--weights", tmp_path / "start.pth", "--epochs", 1).returncode == 0
    (tmp_path / "start.pth").unlink()
    done = inside("train", "--resume", tmp_path / "run", "--epochs", 2)
    assert done.returncode == 0, done.stderr

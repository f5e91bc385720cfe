"""`convatlas weights` and fine-tuning, as a user runs them on files that torchvision and timm wrote."""

import json

import torch

import convatlas


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



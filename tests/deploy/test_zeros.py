"""What deploying says of zeros that sparse training left."""

import json

import torch
from torch import nn

import convatlas
from convatlas.deploy import deploy
from convatlas.deploy.zeros import could_save, zero_shares
from convatlas.parts import Masks

NARROW = {"channels": (8, 12, 16, 20), "blocks": (1, 1, 1, 1), "image_size": 32, "in_chans": 1, "num_classes": 10}


def sparse(density=0.6):
    torch.manual_seed(0)
    net = convatlas.create_model("slak_tiny", **NARROW).eval()
    names = [name for name, weight in net.named_parameters() if weight.ndim == 4 and "spatial" in name]
    Masks(net, dict.fromkeys(names, density), torch.Generator().manual_seed(0))
    return net


def test_each_layer_s_share_is_told_and_kept(tmp_path):
    net, told = sparse(), []
    assert all(abs(share - 0.4) < 0.03 for share in zero_shares(net).values()) and len(zero_shares(net)) == 12
    deploy(net, tmp_path / "net", "eager", tell=told.append)
    about = json.loads((tmp_path / "net" / "deploy.json").read_text(encoding="utf-8"))
    assert len(about["zeros"]) == 8 and 0.2 < min(about["zeros"].values()) <= max(about["zeros"].values()) < 0.43
    (said,) = [line for line in told if "zeros" in line]
    assert said.startswith("8 layers have zeros among their weights") and "% of the multiply-adds" in said


def test_a_dense_network_has_nothing_to_tell():
    assert could_save(convatlas.create_model("slak_tiny", **NARROW)) == ("", {})
    assert zero_shares(nn.Linear(4, 4)) == {}

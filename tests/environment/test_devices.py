"""The choice among devices and dtypes, on machines that are made up, and once on this one."""

import json
import types
from pathlib import Path

import pytest
import torch

from neural_plasticity.environment import devices
from neural_plasticity.environment.survey import get_environment_info
from neural_plasticity.errors import SettingNotUsable


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many CUDA cards, with or without MPS."""

    def build(cuda: int = 0, mps: bool = False, cuda_built: bool = True, mps_built: bool = True) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.version, "cuda", "12.6" if cuda_built else None)
        monkeypatch.setattr(torch.version, "hip", None)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.backends.mps, "is_built", lambda: mps_built)
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda name: types.SimpleNamespace(name=f"Card {name}", total_memory=80 * 2**30)
        )
        monkeypatch.setattr(torch.backends.mps, "get_name", lambda: "Apple M2", raising=False)
        monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 12 * 2**30)

    return build


@pytest.mark.parametrize(("cuda", "mps", "best"), [(2, True, "cuda"), (1, False, "cuda"), (0, True, "mps"), (0, False, "cpu")])
def test_without_a_wish_cuda_comes_before_mps_before_the_cpu(machine, cuda, mps, best):
    machine(cuda=cuda, mps=mps)
    assert devices.choose_device() == torch.device(best)
    assert (best != "cpu") is devices.HAS_GPU


@pytest.mark.parametrize("wish", ["cuda", "cuda:0", "cuda:1", "mps", "mps:0", "cpu", "cpu:0", torch.device("cuda:1")])
def test_a_device_that_is_there_is_the_one_chosen(machine, wish):
    machine(cuda=2, mps=True)
    assert devices.choose_device(wish) == torch.device(wish)


@pytest.mark.parametrize(
    ("wish", "there", "sentence"),
    [
        ("gpu", {}, r"'gpu' is not the name of a device; this machine has cpu: name one"),
        ("", {"cuda": 1}, r"'' is not the name of a device; this machine has cuda:0 and cpu"),
        ("CUDA", {"cuda": 1}, r"'CUDA' is not the name"),
        ("cuda", {"cuda_built": False}, r"'cuda' is not there: torch \S+ was built without cuda, and this machine has cpu; name"),
        ("cuda", {"mps": True}, r"'cuda' is not there: torch finds no such device, and this machine has mps and cpu"),
        ("cuda:2", {"cuda": 2}, r"'cuda:2' is not there: torch finds no such device, .* has cuda:0, cuda:1 and cpu"),
        ("mps", {"mps_built": False}, r"'mps' is not there: torch \S+ was built without mps"),
        ("mps:1", {"mps": True}, r"'mps:1' is not there"),
        ("xpu", {}, r"'xpu' is not there: only cuda, mps and cpu are supported"),
        ("meta", {}, r"only cuda, mps and cpu are supported"),
    ],
)
def test_a_wrong_or_absent_device_is_refused_in_one_sentence(machine, wish, there, sentence):
    machine(**there)
    with pytest.raises(SettingNotUsable, match=sentence) as refusal:
        devices.choose_device(wish)
    assert "\n" not in str(refusal.value)


def test_a_torch_built_for_amd_counts_as_built_with_cuda(machine, monkeypatch):
    machine(cuda_built=False)
    monkeypatch.setattr(torch.version, "hip", "6.2")
    with pytest.raises(SettingNotUsable, match="torch finds no such device"):
        devices.choose_device("cuda")


@pytest.mark.parametrize("device", ["cpu", "mps", "cuda"])
def test_without_a_wish_the_dtype_is_float32(machine, device):
    machine(cuda=1, mps=True)
    assert devices.choose_dtype(device) is torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_every_float_can_be_chosen_on_the_cpu_with_or_without_torch_in_front(dtype):
    assert devices.choose_dtype("cpu", str(dtype)) is dtype
    assert devices.choose_dtype(torch.device("cpu"), str(dtype).removeprefix("torch.")) is dtype


@pytest.mark.parametrize("wish", ["int8", "half-ish", ""])
def test_an_unknown_dtype_is_refused_with_those_there_are(wish):
    with pytest.raises(SettingNotUsable, match=f"dtype='{wish}' is not known; use one of float32, float64, float16 and bfloat16"):
        devices.choose_dtype("cpu", wish)


def test_a_dtype_that_the_device_cannot_hold_is_refused_with_the_reason(machine, monkeypatch):
    def ones(*size: int, device: torch.device, dtype: torch.dtype) -> None:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype.\nMore lines follow")

    machine(mps=True)
    monkeypatch.setattr(torch, "ones", ones)
    with pytest.raises(SettingNotUsable, match=r"'float64' cannot be used on mps \(Cannot convert .* float64 dtype\); use float32"):
        devices.choose_dtype("mps", "float64")


def test_a_dtype_is_not_chosen_for_a_device_that_is_absent(machine):
    machine()
    with pytest.raises(SettingNotUsable, match="device='cuda' is not there"):
        devices.choose_dtype("cuda", "bfloat16")


def test_gpus_are_told_with_name_and_memory(machine):
    machine(cuda=2)
    assert devices.gpus() == [devices.Gpu("Card cuda:0", 80 * 2**30), devices.Gpu("Card cuda:1", 80 * 2**30)]
    machine(mps=True)
    assert devices.gpus() == [devices.Gpu("Apple M2", 12 * 2**30)]
    machine()
    assert devices.gpus() == []


def test_an_older_torch_that_cannot_name_the_chip_still_describes_it(machine, monkeypatch):
    machine(mps=True)
    monkeypatch.delattr(torch.backends.mps, "get_name")
    assert devices.gpus() == [devices.Gpu("Apple GPU", 12 * 2**30)]


@pytest.mark.parametrize(("there", "device"), [({"cuda": 2}, "cuda"), ({"mps": True}, "mps"), ({}, "cpu")])
def test_the_survey_names_a_device_that_torch_takes_and_survives_json(machine, there, device):
    machine(**there)
    info = get_environment_info()
    assert json.loads(json.dumps(info)) == info
    assert info["device"] == device
    assert torch.device(info["device"]).type == device
    assert info["has_gpu"] is (device != "cpu")
    assert info["gpu_name"] == (info["gpu_names"][0] if info["gpu_names"] else None)
    assert len(info["gpu_memory_bytes"]) == len(info["gpu_names"])


def test_the_survey_of_this_machine_agrees_with_torch_and_has_the_promised_keys():
    info = get_environment_info()
    torch.zeros(1, device=info["device"], dtype=getattr(torch, info["dtype"]))
    assert info["pytorch_version"] == torch.__version__
    assert info["threads"] == torch.get_num_threads()
    promised = (
        "device is_apple_silicon is_colab is_notebook has_gpu gpu_name gpu_names pytorch_version transformers_version platform "
        "python_version cores threads memory_total_bytes memory_available_bytes dtype browser matmul_path versions extras"
    )
    assert set(promised.split()) <= set(info)


def test_every_key_of_the_survey_is_explained_in_the_docs():
    explained = (Path(__file__).parents[2] / "docs" / "environment.md").read_text(encoding="utf-8")
    assert [key for key in get_environment_info() if f"`{key}`" not in explained] == []


def test_an_unknown_name_is_refused_by_name():
    with pytest.raises(AttributeError, match=r"environment\.devices' has no attribute 'HAS_TOASTER'"):
        devices.HAS_TOASTER  # noqa: B018

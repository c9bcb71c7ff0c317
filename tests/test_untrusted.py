"""Files of strangers: a model, a checkpoint and a recorded game run no code, reach no other file, and do not
unpack to more than they should."""

import base64
import json
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from dino_rl.agents.networks import NetworkConfig, build_q_network
from dino_rl.errors import DinoError, ModelError, RunError
from dino_rl.runs import checkpoint
from dino_rl.runs.model_file import load_weights, save_model
from dino_rl.runs.recorded_game import RecordedGame


def weights_file(path: Path) -> tuple[Path, object]:
    """A small network in an .h5 file."""
    network = build_q_network(NetworkConfig(torso="dense"), (4,), 2)
    save_model(path, network, {})
    return path, network


def first_dataset(file: h5py.File) -> str:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return names[0]


def external_link(file: h5py.File, name: str, secret: Path):
    del file[name]
    file[name] = h5py.ExternalLink(str(secret), "/secret")


def soft_link(file: h5py.File, name: str, secret: Path):
    del file[name]
    file[name] = h5py.SoftLink("/elsewhere")


def external_storage(file: h5py.File, name: str, secret: Path):
    shape = file[name].shape
    del file[name]
    file.create_dataset(name, shape, "f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def virtual(file: h5py.File, name: str, secret: Path):
    shape = file[name].shape
    del file[name]
    layout = h5py.VirtualLayout(shape, "f4")
    layout[...] = h5py.VirtualSource(str(secret), "secret", shape)
    file.create_virtual_dataset(name, layout)


def references(file: h5py.File, name: str, secret: Path):
    del file[name]
    file.create_dataset(name, (2,), h5py.ref_dtype)


def bomb(file: h5py.File, name: str, secret: Path):
    file.create_dataset("bomb", (2**33,), "f4", chunks=(2**20,), compression="gzip")


@pytest.mark.parametrize(
    "change",
    [external_link, soft_link, external_storage, virtual, references, bomb],
    ids=lambda f: f.__name__,
)
def test_a_model_that_reaches_beyond_its_file_is_refused(change, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["secret"] = np.ones(1000, np.float32)
    path, network = weights_file(tmp_path / "m.h5")
    load_weights(network, path)
    with h5py.File(path, "r+") as file:
        change(file, first_dataset(file), secret)
    before = network.get_weights()
    with pytest.raises(ModelError, match=r"m\.h5 is damaged, or does not match its card") as caught:
        load_weights(network, path)
    assert "\n" not in str(caught.value)
    assert all(map(np.array_equal, network.get_weights(), before))


def test_a_group_within_itself_ends(tmp_path):
    path, network = weights_file(tmp_path / "m.h5")
    with h5py.File(path, "r+") as file:
        file["loop"] = file["/"]
    load_weights(network, path)


def test_weights_that_are_not_finite_are_no_model(tmp_path):
    path, network = weights_file(tmp_path / "m.h5")
    network.set_weights([np.full_like(array, np.inf) for array in network.get_weights()])
    save_model(path, network, {})
    with pytest.raises(ModelError, match="not finite"):
        load_weights(network, path)


def test_a_checkpoint_that_unpacks_to_too_much_is_refused(tmp_path):
    network = build_q_network(NetworkConfig(torso="dense"), (4,), 2)
    checkpoint.save(tmp_path, {"online": network}, {"zeros": np.zeros(2**22)}, {})
    with pytest.raises(RunError, match=r"replay\.npz unpacks to more than"):
        checkpoint.load(tmp_path, {"online": network}, 2**20)
    assert checkpoint.load(tmp_path, {"online": network}, 2**26)["zeros"].shape == (2**22,)
    path = tmp_path / "checkpoint" / "online.keras"
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(2**26))
    with pytest.raises(RunError, match=r"online\.keras unpacks to more than"):
        checkpoint.load(tmp_path, {"online": network}, 2**26)


def test_a_checkpoint_runs_no_code_of_its_configuration(tmp_path, monkeypatch):
    """Only numbers are read from a .keras file: what its configuration says is not looked at."""
    network = build_q_network(NetworkConfig(torso="dense"), (4,), 2)
    checkpoint.save(tmp_path, {"online": network}, {}, {})
    path = tmp_path / "checkpoint" / "online.keras"
    with zipfile.ZipFile(path) as archive:
        weights = archive.read("model.weights.h5")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", '{"module": "os", "class_name": "system", "config": "true"}')
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", weights)
    checkpoint.load(tmp_path, {"online": network}, 0)


def test_a_recorded_game_that_unpacks_to_too_much_is_none(tmp_path):
    RecordedGame(1, {}, 2, "chrome", 50, False, np.zeros(3, int)).save(tmp_path / "g.json")
    data = json.loads((tmp_path / "g.json").read_text())
    data["actions"] = base64.b64encode(zlib.compress(bytes(2**28), 9)).decode()
    (tmp_path / "g.json").write_text(json.dumps(data))
    with pytest.raises(DinoError, match="the actions are cut, or more than 20,000,000"):
        RecordedGame.load(tmp_path / "g.json")

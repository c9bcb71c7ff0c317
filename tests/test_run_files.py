"""The files of a run: tables, recorded games, models and checkpoints, on a good disk and on a full one."""

import json
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from dino_rl.backend import keras
from dino_rl.errors import DinoError, ModelError, RunError
from dino_rl.runs import checkpoint
from dino_rl.runs.csv_log import Table, read_table
from dino_rl.runs.figure import save_on_both
from dino_rl.runs.model_file import check_file, load_card, load_weights, save_model, versions
from dino_rl.runs.output import check_writable, whole_file, write_json, write_text
from dino_rl.runs.plots import group_means, smooth
from dino_rl.runs.recorded_game import RecordedGame
from dino_rl.runs.video import VideoWriter


def test_means_of_ten_games():
    values = np.arange(25.0)
    assert group_means(values).tolist() == [4.5, 14.5, 22.0]
    assert group_means(np.array([])).tolist() == []


def test_a_smooth_curve_ignores_gaps():
    values = np.array([1.0, np.nan, 3.0, 5.0, np.nan, np.nan, np.nan])
    np.testing.assert_allclose(smooth(values, window=3), [1, 2, 4, 4, 5, np.nan, np.nan])


# --- Tables ------------------------------------------------------------------------------------------------


def test_a_table_reads_back(tmp_path):
    table = Table(tmp_path / "t.csv", ("step", "loss", "name"))
    table.add({"step": 1, "loss": 0.12345678, "name": 2})
    table.add({"step": 2, "loss": float("nan"), "name": 3})
    table.close()
    columns = read_table(tmp_path / "t.csv")
    assert columns["step"] == [1, 2]
    assert columns["loss"][0] == 0.123457
    assert np.isnan(columns["loss"][1])
    again = Table(tmp_path / "t.csv", ("step", "loss", "name"), step=1)
    again.add({"step": 2, "loss": 0.5, "name": 4})
    again.close()
    assert read_table(tmp_path / "t.csv")["name"] == [2, 4]
    assert read_table(tmp_path / "none.csv") == {}


@pytest.mark.parametrize("content", [b"step,loss\n1,many\n", b"step,loss\n1,\xff\n"])
def test_a_damaged_table_is_named(content, tmp_path):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(RunError, match=r"t\.csv") as caught:
        read_table(tmp_path / "t.csv")
    assert "\n" not in str(caught.value)


def test_a_killed_run_leaves_half_a_row(tmp_path):
    (tmp_path / "t.csv").write_text("step,loss\n1,0.5\n2")
    Table(tmp_path / "t.csv", ("step", "loss"), step=9).close()
    assert read_table(tmp_path / "t.csv") == {"step": [1], "loss": [0.5]}


# --- Recorded games ----------------------------------------------------------------------------------------

SETTINGS = {"start_speed": 7.5, "action_delay": [0.5, 0.5], "dino_x": 3}


def test_a_recorded_game_reads_back(tmp_path):
    actions = np.random.default_rng(0).integers(0, 3, 10_000)
    game = RecordedGame(2**32 - 1, SETTINGS, 4, "chrome 156", 20_000, True, actions)
    game.save(tmp_path / "games" / "g.json")
    read = RecordedGame.load(tmp_path / "games" / "g.json")
    np.testing.assert_array_equal(read.actions, actions)
    assert replace(read, actions=actions) == game
    assert (tmp_path / "games" / "g.json").stat().st_size < 5000


@pytest.mark.parametrize("path", sorted((ROOT / "models" / "records").glob("*.json")), ids=lambda p: p.stem)
def test_the_record_games_can_be_read(path, tmp_path):
    game = RecordedGame.load(path)
    assert path.name == f"{game.score:06d}-seed-{game.seed}.json"
    assert game.decision_interval_frames == 2
    assert set(game.actions) <= {0, 1, 2}
    game.save(tmp_path / path.name)
    written, old = (json.loads(each.read_text()) for each in (tmp_path / path.name, path))
    np.testing.assert_array_equal(RecordedGame.load(tmp_path / path.name).actions, game.actions)
    assert list(written) == list(old)
    assert written | {"actions": 0} == old | {"actions": 0}  # zlib versions pack differently


@pytest.mark.parametrize(
    "change", [{"format": "another"}, {"seed": "one"}, {"settings": []}, {"actions": "?"}, {"colour": 1}]
)
def test_another_file_is_no_recorded_game(change, tmp_path):
    RecordedGame(1, SETTINGS, 2, "chrome", 50, False, np.zeros(3, int)).save(tmp_path / "g.json")
    data = json.loads((tmp_path / "g.json").read_text())
    (tmp_path / "g.json").write_text(json.dumps(data | change))
    with pytest.raises(DinoError, match=r"g\.json is not a recorded game") as caught:
        RecordedGame.load(tmp_path / "g.json")
    assert "\n" not in str(caught.value)


# --- Places ------------------------------------------------------------------------------------------------


def test_writable_places(tmp_path):
    (tmp_path / "file").write_text("x")
    for good in (tmp_path / "new", tmp_path / "a" / "b" / "c", tmp_path / "file"):
        check_writable(good)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
    for bad in (tmp_path, tmp_path / "file" / "x", tmp_path / "file" / "x" / "y"):
        with pytest.raises(DinoError, match=str(tmp_path)):
            check_writable(bad)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a" / "text.txt"
    write_text(path, "before")
    with pytest.raises(UnicodeEncodeError), whole_file(path) as part:
        part.write_text("half" * 10_000 + "\ud800", encoding="utf-8")
    assert path.read_text() == "before"
    write_json(path, {"after": 1})
    assert path.read_text() == '{\n  "after": 1\n}\n'
    assert list(path.parent.iterdir()) == [path]


def test_a_file_in_the_place_of_a_directory_is_named(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match=str(tmp_path / "file")):
        write_text(tmp_path / "file" / "a.txt", "text")


# --- Models and checkpoints --------------------------------------------------------------------------------


def network(compiled: bool = False, seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((64,))
    model = keras.Model(inputs, keras.layers.Dense(32)(inputs))
    if compiled:
        model.compile("adam", "mse")
        model.fit(np.ones((4, 64)), np.ones((4, 32)), verbose=0)
    return model


def weights_equal(first: keras.Model, second: keras.Model) -> bool:
    return all(map(np.array_equal, first.get_weights(), second.get_weights()))


def test_a_model_and_its_card_read_back(tmp_path):
    path = tmp_path / "m.h5"
    model = network()
    save_model(path, model, {"algorithm": "dqn"})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["m.h5", "m.json"]
    assert load_card(path) == {"algorithm": "dqn"}
    check_file(path)
    other = network()
    other.set_weights([array + 1 for array in model.get_weights()])
    load_weights(other, path)
    assert weights_equal(other, model)
    path.with_suffix(".json").unlink()
    with pytest.raises(ModelError, match=r"m\.json"):
        load_card(path)


def test_versions_name_what_a_result_depends_on():
    found = versions({"browser": "chrome 156"})
    assert found["browser"] == "chrome 156"
    assert {"dino_rl", "python", "tensorflow", "keras", "numpy", "gymnasium", "machine"} <= found.keys()


def save_checkpoint(run_dir: Path, step: int = 0, model: keras.Model | None = None):
    arrays = {"rewards": np.arange(4096.0) + step, "flags": np.ones(5, bool)}
    checkpoint.save(run_dir, {"online": model or network()}, arrays, {"step": step})


def test_a_checkpoint_reads_back_with_its_optimizer(tmp_path):
    model = network(compiled=True)
    save_checkpoint(tmp_path, 7, model)
    assert checkpoint.load_state(tmp_path) == {"step": 7}
    loaded = network(compiled=True, seed=1)
    assert not weights_equal(loaded, model)
    arrays = checkpoint.load(tmp_path, {"online": loaded}, 10**5)
    assert weights_equal(loaded, model)
    for ours, saved in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours, saved)
    assert {name: (array.dtype, len(array)) for name, array in arrays.items()} == {
        "rewards": (np.float64, 4096),
        "flags": (bool, 5),
    }
    assert arrays["rewards"][0] == 7
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_a_checkpoint_needs_no_temporary_directory(tmp_path, monkeypatch):
    """A process that is killed while it saves would leave it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    save_checkpoint(tmp_path)
    assert checkpoint.load(tmp_path, {"online": network()}, 10**5)


def test_a_stop_between_two_renames_loses_no_checkpoint(tmp_path):
    save_checkpoint(tmp_path, 1)
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.old")
    assert checkpoint.load_state(tmp_path) == {"step": 1}
    with pytest.raises(KeyboardInterrupt), checkpoint.replacing(tmp_path, {"step": 2}):
        raise KeyboardInterrupt
    assert checkpoint.load_state(tmp_path) == {"step": 1}
    save_checkpoint(tmp_path, 3)
    assert checkpoint.load_state(tmp_path) == {"step": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("name", ["online.keras", "replay.npz"])
@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_a_damaged_checkpoint_is_named(name, content, tmp_path):
    save_checkpoint(tmp_path)
    (tmp_path / "checkpoint" / name).unlink()
    if content is not None:
        (tmp_path / "checkpoint" / name).write_bytes(content)
    with pytest.raises(RunError, match=f"{tmp_path} is damaged") as caught:
        checkpoint.load(tmp_path, {"online": network()}, 10**5)
    assert "\n" not in str(caught.value)


def test_what_a_checkpoint_lacks_is_damage(tmp_path):
    save_checkpoint(tmp_path)
    state = checkpoint.load_state(tmp_path)
    with pytest.raises(RunError, match=r"KeyError\('episodes'\)"), checkpoint.reading(tmp_path):
        state["episodes"]
    with pytest.raises(RunError, match="no checkpoint to resume from"):
        checkpoint.load_state(tmp_path / "elsewhere")


# --- A full disk, and a directory that is gone -------------------------------------------------------------


@contextmanager
def full_disk(free_bytes: int = 1000) -> Iterator[None]:
    """Files cannot grow beyond a size: what writes them gets an OSError, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def save_figure(directory: Path):
    from matplotlib.figure import Figure

    def draw() -> Figure:
        figure = Figure()
        figure.subplots().plot([1, 2, 3])
        return figure

    save_on_both(draw, directory, "figure")


def save_game(directory: Path):
    actions = np.random.default_rng(0).integers(0, 3, 20_000)
    RecordedGame(1, SETTINGS, 2, "chrome", 50, False, actions).save(directory / "game.json")


def save_video(directory: Path):
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3)).astype(np.uint8)
    with VideoWriter(directory / "video.mp4", 30) as video:
        for frame in noise:
            video.add(frame)


def save_table(directory: Path):
    table = Table(directory / "table.csv", ("step",))
    try:
        for step in range(1000):
            table.add({"step": step})
    finally:
        table.close()


SAVERS: dict[str, Callable[[Path], None]] = {
    "model.h5": lambda directory: save_model(directory / "model.h5", network(), {}),
    "checkpoint": save_checkpoint,
    "figure-light.png": save_figure,
    "game.json": save_game,
    "video.mp4": save_video,
}


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", SAVERS)
def test_a_full_disk_is_one_line_and_the_file_before_it_stays(name, tmp_path):
    SAVERS[name](tmp_path)
    before = contents(tmp_path)
    with full_disk(), pytest.raises(RunError, match=f"Cannot write {tmp_path / name}") as caught:
        SAVERS[name](tmp_path)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


def test_a_table_on_a_full_disk_is_one_line(tmp_path):
    with full_disk(), pytest.raises(RunError, match=f"Cannot write {tmp_path / 'table.csv'}") as caught:
        save_table(tmp_path)
    assert "\n" not in str(caught.value)
    assert read_table(tmp_path / "table.csv")["step"][:100] == list(range(100))


@pytest.mark.parametrize("name", ["model.h5", "checkpoint", "table.csv"])
def test_a_run_directory_that_is_gone_is_one_line(name, tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    shutil.rmtree(run_dir)
    with pytest.raises(RunError, match=f"Cannot write {run_dir / name}") as caught:
        (SAVERS | {"table.csv": save_table})[name](run_dir)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []

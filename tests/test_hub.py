"""Models to share: a folder as the Hugging Face Hub shows it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT, files_below, video_facts, write_model

from dino_rl.envs.gym.make import GymConfig
from dino_rl.player import load_player
from dino_rl.runs.run_directory import model_of


@pytest.fixture(scope="module")
def cartpole_model(tmp_path_factory) -> Path:
    """An untrained model that balances a pole."""
    path = tmp_path_factory.mktemp("model") / "pole.h5"
    return write_model(path, (4,), 2, "dense", np.float32, GymConfig("CartPole-v1"))


def metadata(directory: Path) -> dict:
    """What the Hub reads: the YAML on top of the page."""
    start, top, _ = (directory / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert start == ""
    return yaml.safe_load(top)


@pytest.fixture(scope="module")
def hub(cartpole_model, tmp_path_factory) -> Path:
    """A folder with everything."""
    from dino_rl.cli.main import main

    directory = tmp_path_factory.mktemp("hub") / "pole"
    arguments = ["--model", str(cartpole_model), "--games", "4", "--video-seconds", "1"]
    assert main(["export-hub", str(directory), *arguments]) == 0
    return directory


def test_the_folder_has_weights_card_results_page_and_video(hub, cartpole_model):
    names = {"README.md", "model.h5", "model.json", "evaluation.json", "replay.mp4"}
    assert {path.name for path in hub.iterdir()} == names
    assert (hub / "model.h5").read_bytes() == cartpole_model.read_bytes()
    card = json.loads((hub / "model.json").read_text())
    assert card == json.loads(cartpole_model.with_suffix(".json").read_text())
    frames, _, _ = video_facts(hub / "replay.mp4")
    assert frames > 5


def test_the_metadata_is_what_the_hub_expects(hub):
    data = metadata(hub)
    result = json.loads((hub / "evaluation.json").read_text())
    assert data["library_name"] == "dino-rl"
    assert data["license"] == "mit"
    assert data["pipeline_tag"] == "reinforcement-learning"
    assert {"CartPole-v1", "reinforcement-learning", "dqn"} <= set(data["tags"])
    (model,) = data["model-index"]
    ((entry,),) = (model["results"],)
    assert entry["task"]["type"] == "reinforcement-learning"
    assert entry["dataset"] == {"name": "CartPole-v1", "type": "CartPole-v1"}
    (metric,) = entry["metrics"]
    assert metric["type"] == "mean_reward"
    assert metric["value"] == f"{result['mean']:.2f} +/- {result['std']:.2f}"


def test_the_hubs_own_library_reads_the_page(hub):
    cards = pytest.importorskip("huggingface_hub")
    card = cards.ModelCard.load(hub / "README.md")
    (result,) = card.data.eval_results
    assert (result.task_type, result.dataset_name) == ("reinforcement-learning", "CartPole-v1")
    assert card.data.license == "mit"


def test_the_page_says_how_well_it_plays_and_how_to_use_it(hub):
    text = (hub / "README.md").read_text(encoding="utf-8")
    result = json.loads((hub / "evaluation.json").read_text())
    (row,) = [line for line in text.splitlines() if line.startswith("| evaluation")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:4] == ["4", "0-3", "-"]
    assert float(cells[4]) == pytest.approx(result["mean"], rel=0.01)
    assert "dino-rl play --model model" in text
    assert "num_envs: 8" in text  # the configuration


@pytest.mark.parametrize("name", ["evaluate", "record", "export-hub"])
def test_a_folder_is_a_model(name, hub, cli, tmp_path):
    assert model_of(hub) == hub / "model.h5"
    options = {
        "evaluate": ("--games", 2),
        "record": ("--seconds", 0.5, "--out", tmp_path / "v.mp4"),
        "export-hub": (tmp_path / "again", "--games", 0, "--video-seconds", 0),
    }[name]
    code, _, err = cli(name, "--model", hub, *options)
    assert (code, err) == (0, "")


def test_a_folder_plays_as_its_model(hub, cartpole_model):
    seen = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    np.testing.assert_array_equal(load_player(hub).values(seen), load_player(cartpole_model).values(seen))


def test_a_result_of_evaluate(cartpole_model, cli, tmp_path):
    saved = tmp_path / "e.json"
    assert cli("evaluate", "--model", cartpole_model, "--games", 3, "--seed", 7, "--json", saved)[0] == 0
    arguments = (
        "--model",
        cartpole_model,
        "--evaluation",
        saved,
        "--video-seconds",
        0,
        "--license",
        "cc0-1.0",
    )
    code, out, err = cli("export-hub", tmp_path / "hub", *arguments)
    assert (code, err) == (0, "")
    assert {path.name for path in (tmp_path / "hub").iterdir()} == {
        *("README.md", "model.h5", "model.json", "evaluation.json")
    }
    assert metadata(tmp_path / "hub")["license"] == "cc0-1.0"
    text = (tmp_path / "hub" / "README.md").read_text()
    assert "| 3 | 7-9 |" in text
    assert "replay.mp4" not in text
    assert len(out.splitlines()) == 4


def test_the_shipped_model(tmp_path, cli):
    """Its card is of version 0.1.0. Without games, the page shows the validation that chose it."""
    arguments = ("--model", ROOT / "models" / "best.h5", "--games", 0, "--video-seconds", 0)
    code, _, err = cli("export-hub", tmp_path / "hub", *arguments)
    assert (code, err) == (0, "")
    (metric,) = metadata(tmp_path / "hub")["model-index"][0]["results"][0]["metrics"]
    assert metric == {"type": "mean_score", "name": "mean score", "value": "8736.90", "verified": False}
    text = (tmp_path / "hub" / "README.md").read_text()
    assert "| validation, which chose this model | 20 | 1000000-1000019 | 10,000 | 8,737 |" in text
    assert "somewhat optimistic" in text
    assert "train --minutes 60 --seed 2" in text
    assert "samples_per_insert: 2.0" in text
    assert not (tmp_path / "hub" / "evaluation.json").exists()


def refused(result: tuple[int, str, str], *words: str):
    code, _, err = result
    assert code == 2, err
    (line,) = err.splitlines()
    for word in words:
        assert word in line


def test_what_is_there_is_not_replaced(cli, cartpole_model, tmp_path):
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "README.md").write_text("# My notes")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "file").write_text("x")
    before = files_below(tmp_path)
    for name, word in (("page", "something else"), ("run", "run directory"), ("file", "not a directory")):
        refused(cli("export-hub", tmp_path / name, "--model", cartpole_model), str(tmp_path / name), word)
    assert files_below(tmp_path) == before


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "cannot be read"),
        ("[]", "no mean"),
        ('{"mean": 1}', "no median"),
        (None, "cannot be read"),
    ],
)
def test_another_file_is_no_result(text, word, cli, cartpole_model, tmp_path):
    if text is not None:
        (tmp_path / "e.json").write_text(text)
    arguments = ("--model", cartpole_model, "--evaluation", tmp_path / "e.json")
    refused(cli("export-hub", tmp_path / "hub", *arguments), "e.json", word)
    assert not (tmp_path / "hub").exists()


def test_a_result_of_another_environment(cli, cartpole_model, hub, tmp_path):
    result = json.loads((hub / "evaluation.json").read_text()) | {"env": "Acrobot-v1"}
    (tmp_path / "e.json").write_text(json.dumps(result))
    arguments = ("--model", cartpole_model, "--evaluation", tmp_path / "e.json")
    refused(cli("export-hub", tmp_path / "hub", *arguments), "Acrobot-v1", "CartPole-v1")


def test_pickles_are_not_shared(cli, tmp_path):
    run_dir = tmp_path / "run"
    (run_dir / "best").mkdir(parents=True)
    (run_dir / "run.json").write_text(json.dumps({"settings": {"env": {"id": "CartPole-v1"}}}))
    refused(cli("export-hub", tmp_path / "hub", "--model", run_dir), "pickles")


def test_a_damaged_folder_is_one_line(hub, cli, tmp_path):
    shutil.copytree(hub, tmp_path / "hub")
    (tmp_path / "hub" / "model.json").unlink()
    refused(cli("evaluate", "--model", tmp_path / "hub", "--games", 1), "card", "model.json")

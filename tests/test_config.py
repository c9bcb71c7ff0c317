"""Configuration: presets, what users may write, and what old files say."""

import ast
import json
import subprocess
import sys
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml
from conftest import ROOT

from dino_rl import presets
from dino_rl.config import dataclass_in, field_docs, from_dict, load_file, merge, to_yaml, with_overrides
from dino_rl.envs.dino.task import DinoConfig
from dino_rl.envs.dino.variation import DINO_ID
from dino_rl.errors import ConfigError, DinoError
from dino_rl.presets import preset, recipes
from dino_rl.recipe import choose
from dino_rl.scale.config import SearchConfig
from dino_rl.train_config import TrainConfig, from_data, from_saved, to_data

OURS = [name for name in recipes() if not name.startswith("tiny")]  # other tests add some of their own


# --- Presets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_a_preset_survives_json(name):
    text = json.dumps(to_data(preset(name)))
    assert from_data(json.loads(text)) == preset(name)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("comments", [False, True])
def test_a_preset_survives_yaml(name, comments):
    assert from_data(yaml.safe_load(to_yaml(preset(name), comments))) == preset(name)


@pytest.mark.parametrize("name", OURS)
def test_a_preset_fits_together(name):
    config = preset(name)
    if config.env.id == DINO_ID:
        weights = config.dqn.exploration.action_weights if config.dqn else (1, 1, 1)
        assert len(weights) >= config.env.num_actions
    elif config.dqn:
        assert config.dqn.exploration.action_weights == ()
    if config.cem:
        assert config.cem.sessions % config.env.num_envs == 0
    assert config.run.steps or config.run.minutes
    if config.dqn:
        assert config.dqn.replay.capacity >= 50_000


@pytest.mark.parametrize("family", presets.FAMILIES)
def test_presets_write_out_every_field(family):
    """A recipe is read without looking anywhere else."""
    path = Path(presets.__file__).parent / f"{family}.py"
    configs = {kind.__name__: kind for kind in config_classes(TrainConfig)} | {"DinoConfig": DinoConfig}
    calls = 0
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and node.func.id in configs and node.func.id != "TrainConfig":
            names = {field.name for field in fields(configs[node.func.id])}
            assert {keyword.arg for keyword in node.keywords} == names, (node.func.id, node.lineno)
            calls += 1
    assert calls > 5


def config_classes(cls: type) -> set[type]:
    """A dataclass and all those inside it."""
    found = {cls}
    for hint in get_type_hints(cls, include_extras=False).values():
        for inner in [hint, *getattr(hint, "__args__", ())]:
            if isinstance(inner, type) and is_dataclass(inner):
                found |= config_classes(inner)
    return found


def test_every_field_is_documented():
    classes = config_classes(TrainConfig) | {SearchConfig}
    assert len(classes) > 10
    missing = [
        f"{cls.__name__}.{field.name}"
        for cls in classes
        for field in fields(cls)
        if not field_docs(cls).get(field.name) and not dataclass_in(get_type_hints(cls)[field.name])
    ]
    assert missing == []


def test_loading_all_presets_loads_nothing_heavy():
    code = (
        "import sys; from dino_rl.presets import recipes; recipes()\n"
        "heavy = {'tensorflow', 'keras', 'selenium', 'cv2', 'ray', 'torch', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_an_unknown_preset_is_named_with_the_known_ones():
    with pytest.raises(DinoError, match=r"'quick'.*dino"):
        preset("quick")


def test_a_misspelled_preset_is_corrected():
    with pytest.raises(DinoError, match="did you mean 'cartpole'"):
        preset("cartpol")


def test_defaults_are_written_once():
    assert choose() == preset("dino")
    assert replace(DinoConfig(), num_envs=3).variation == DinoConfig().variation


# --- What users write ------------------------------------------------------------------------------------


def test_a_field_of_another_version_is_refused():
    with pytest.raises(ConfigError, match="colour"):
        from_data({**to_data(preset("dino")), "env": {"colour": 1}})


WRONG = {
    "unknown, near": ("dqn.learning_rat=1", ("dqn.learning_rat", "dqn.learning_rate")),
    "unknown, in another section": ("learning_rate=1", ("learning_rate", "dqn.learning_rate")),
    "unknown, inner": ("dqn.replay.capasity=5", ("dqn.replay.capacity",)),
    "unknown, far": ("env.zzz=5", ("env.zzz", "num_envs")),
    "unknown section": ("dnq.discount=1", ("dnq", "dqn")),
    "not a number": ("dqn.learning_rate=fast", ("dqn.learning_rate", "'fast'", "number")),
    "not finite": ("dqn.learning_rate=.nan", ("dqn.learning_rate", "finite")),
    "out of bounds": ("dqn.discount=1.5", ("dqn.discount", "1.5", "less than or equal to 1")),
    "zero": ("env.num_envs=0", ("env.num_envs", "greater than or equal to 1")),
    "a fraction": ("dqn.batch_size=2.5", ("dqn.batch_size", "2.5")),
    "not a choice": ("env.reward=gold", ("env.reward", "'gold'", "survival")),
    "not a choice, inner": ("dqn.network.torso=resnet", ("dqn.network.torso", "nature")),
    "a value for a section": ("dqn=5", ("dqn", "5")),
    "a section for a value": ("dqn.discount.half=1", ("dqn.discount.half", "single value")),
    "too few values": ("env.variation.start_speed=[6]", ("env.variation.start_speed",)),
    "words for numbers": ("env.variation.start_speed=[a, b]", ("env.variation.start_speed", "'a'")),
    "no equals sign": ("dqn.discount", ("dqn.discount", "KEY=VALUE")),
    "not YAML": ("dqn.discount=[1", ("dqn.discount=[1",)),
    "all greedy": ("env.greedy_envs=32", ("env.greedy_envs", "explore")),
    "another algorithm's section": ("cem.epochs=3", ("cem", "not used")),
    "no end": ("run.minutes=null", ("no end",)),
    "an engine without the algorithm": ("algo=ppo", ("ppo", "dqn")),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_in_one_line(case):
    override, words = WRONG[case]
    with pytest.raises(ConfigError) as caught:
        choose(overrides=[override])
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_every_field_can_be_set():
    """One `--set` for each field of a preset, with the value that it has."""
    for name in ("dino", "cartpole-cem", "dino-rllib-dqn", "dino-rllib-ppo", "breakout-nature"):
        config = preset(name)
        flat = list(leaves(to_data(config)))
        assert len(flat) > 20
        overrides = [f"{path}={json.dumps(value)}" for path, value in flat]
        assert from_data(with_overrides(to_data(config), overrides)) == config


def leaves(data: dict, prefix: str = ""):
    for name, value in data.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def test_overrides_are_applied_in_order_and_read_as_yaml():
    config = choose(
        overrides=[
            "dqn.learning_rate=1",
            "dqn.learning_rate=1e-3",
            "env.num_envs=32",
            "dqn.exploration.epsilon_floors=null",
            "dqn.exploration.action_weights=[0.5, 0.25, 0.25]",
            "dqn.double=false",
        ]
    )
    assert config.dqn.learning_rate == 1e-3
    assert config.env.num_envs == 32
    assert config.dqn.exploration.epsilon_floors is None
    assert config.dqn.exploration.action_weights == (0.5, 0.25, 0.25)
    assert config.dqn.double is False
    assert config.dqn.network == preset("dino").dqn.network


def test_a_file_changes_a_recipe(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "env: {id: CartPole-v1}\ndqn:\n  n_step: 7\n  replay: {capacity: 60000}\nrun: {seed: 5}\n"
    )
    config = choose(config_file=path)
    expected = preset("cartpole")
    assert config.dqn == replace(expected.dqn, n_step=7, replay=replace(expected.dqn.replay, capacity=60_000))
    assert config.run == replace(expected.run, seed=5)
    assert choose(config_file=path, overrides=["dqn.n_step=2"]).dqn.n_step == 2
    assert choose(config_file=path, run={"seed": 9}).run.seed == 9


def test_a_printed_preset_is_a_file_to_train_with(tmp_path):
    path = tmp_path / "dino.yaml"
    path.write_text(to_yaml(preset("dino-tutorial")))
    assert choose(config_file=path) == preset("dino-tutorial")


@pytest.mark.parametrize("text", ["", "- 1", "hello", "a: [", "\x00", "env: 5", "zzz: 1"])
def test_a_file_that_is_no_configuration(text, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(DinoError) as caught:
        choose(config_file=path)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path):
    for path in (tmp_path / "missing.yaml", tmp_path):
        with pytest.raises(ConfigError, match=str(path)):
            load_file(path)
    large = tmp_path / "large.yaml"
    large.write_bytes(b"a: " + b"1" * 2_000_000)
    with pytest.raises(ConfigError, match="too large"):
        load_file(large)


def test_steps_alone_lift_the_time_limit():
    assert choose(run={"steps": 500}).run.minutes is None
    assert choose(run={"steps": 500, "minutes": 2.0}).run.minutes == 2.0
    assert choose(run={"minutes": 2.0}).run.steps == preset("dino").run.steps


@pytest.mark.parametrize(("num_envs", "greedy"), [(1, 0), (2, 0), (3, 1), (8, 2), (32, 8)])
def test_the_share_of_greedy_environments_stays(num_envs, greedy):
    env = choose(num_envs=num_envs).env
    assert (env.num_envs, env.greedy_envs) == (num_envs, greedy)


def test_a_learning_rate_decays_to_the_same_share():
    config = choose(network={"learning_rate": 1e-3})
    assert config.dqn.learning_rate == 1e-3
    assert config.dqn.learning_rate_end == pytest.approx(1e-4)


@pytest.mark.parametrize("name", ["dino", "cartpole-cem", "vectors-rllib-ppo"])
def test_width_and_activation_are_those_of_any_algorithm(name):
    config = choose(
        preset_name=name,
        env=None if name == "dino" else "CartPole-v1",
        network={"width": 48, "activation": "tanh"},
    )
    section = config.dqn.network if config.dqn else config.algorithm_config
    assert section.activation == "tanh"
    assert (section.width if config.dqn else set(section.hidden_units)) in (48, {48})


def test_merging_leaves_what_is_not_named():
    assert merge({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 5}, "e": 6}) == {
        "a": {"b": 1, "c": 5},
        "d": 3,
        "e": 6,
    }


def test_a_dataclass_of_another_kind_is_checked_too():
    assert from_dict(SearchConfig, {"run": preset("cartpole"), "widths": [8, 16]}).widths == (8, 16)
    with pytest.raises(ConfigError, match="widths"):
        from_dict(SearchConfig, {"run": preset("cartpole"), "widths": ["wide"]})


# --- Files of version 0.1.0 ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["best", "constant-speed"])
def test_the_cards_of_shipped_models_are_read(name):
    card = json.loads((ROOT / "models" / f"{name}.json").read_text())
    config = from_saved(card["settings"])
    recipe = preset("dino")  # which has changed since
    network = replace(recipe.dqn.network, torso="compact", input_range=(0.0, 1.0), initial_value=0.0)
    variation = replace(recipe.env.variation, bird_odds=None)
    assert config.env == replace(recipe.env, variation=variation, num_envs=16, greedy_envs=4)
    exploration = replace(recipe.dqn.exploration, action_weights=(0.85, 0.1, 0.05), duration_exponent=None)
    assert config.dqn == replace(
        recipe.dqn,
        n_step=10,
        batch_size=64,
        samples_per_insert=2.0,
        network=network,
        exploration=exploration,
    )
    assert asdict(config.env)["decision_interval_frames"] == 2


def test_an_old_card_of_another_environment_is_read():
    """A card of CartPole, as version 0.1.0 wrote it: with fields that were the Dino's alone."""
    old = json.loads((ROOT / "tests" / "data" / "cartpole-0.1.0.json").read_text())
    config = from_saved(old["settings"])
    assert config == replace(preset("cartpole"), run=config.run)
    assert (config.run.steps, config.run.seed) == (40_000, 1)


@pytest.mark.parametrize(
    "data", [None, [], "x", {}, {"env": 5, "algorithm": "dqn"}, {"algorithm": "dqn", "dqn": 3}]
)
def test_what_is_no_saved_configuration_is_refused(data):
    with pytest.raises(ConfigError):
        from_saved(data)

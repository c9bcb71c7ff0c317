"""Playing without learning: the loop on a game made of numbers, the command on the real one."""

import itertools
import json
import signal

import gymnasium
import numpy as np
import psutil
import pytest
from conftest import command, finish, video_facts, wait_for
from gymnasium.vector import AutoresetMode

from dino_rl.browser.game_settings import GameSettings
from dino_rl.config import from_dict
from dino_rl.envs.dino.task import DinoConfig
from dino_rl.errors import EXIT_INTERRUPTED
from dino_rl.runs.recorded_game import RecordedGame
from dino_rl.training.rollout import Episode, play_episodes, play_in_parallel

INTERVAL = DinoConfig().decision_interval_frames  # of the untrained model


class Numbers(gymnasium.vector.VectorEnv):
    """Games that follow from their seeds. A seed's game lasts `length(seed)` steps, each worth its action."""

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012

    def __init__(self, num_envs: int):
        self.num_envs = num_envs
        self.seeds = np.zeros(num_envs, int)
        self.lengths = np.zeros(num_envs, int)
        self.over = np.ones(num_envs, bool)
        self.started: list[int] = []

    @staticmethod
    def length(seed: int) -> int:
        return 2 + 7 * seed % 5

    def reset(self, *, seed=None, options=None):
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        assert self.over[mask].all(), "a running game was reset"
        assert len(seed) == self.num_envs
        for i in np.flatnonzero(mask):
            self.seeds[i], self.lengths[i], self.over[i] = seed[i], 0, False
            self.started.append(int(seed[i]))
        return self.seeds.copy(), self._info()

    def step(self, actions):
        assert not self.over.any(), "a game that is over was stepped"
        self.lengths += 1
        self.over = self.lengths >= [self.length(seed) for seed in self.seeds]
        capped = self.over & (self.seeds % 4 == 0)
        rewards = np.asarray(actions, float)
        return self.seeds.copy(), rewards, self.over & ~capped, capped, self._info()

    def _info(self) -> dict:
        everyone = np.ones(self.num_envs, bool)
        return {
            "score": 10.0 * self.seeds + self.lengths,
            "_score": everyone,
            "late_frames": self.seeds % 3,
        }


def by_seed(observations: np.ndarray) -> np.ndarray:
    """A policy that shows which game it was asked about."""
    return observations % 3


def expected_game(seed: int) -> Episode:
    length, action = Numbers.length(seed), seed % 3
    return Episode(
        seed=seed,
        score=10.0 * seed + length,
        episode_return=float(length * action),
        length=length,
        capped=seed % 4 == 0,
        info={"score": 10.0 * seed + length, "late_frames": seed % 3},
        actions=[action] * length,
        late=length if seed % 3 else 0,
    )


@pytest.mark.parametrize("num_envs", [1, 3, 10, 17])
@pytest.mark.parametrize("seeds", [range(10), [31, 7, 100, 4, 12]])
def test_each_seed_is_played_once(num_envs, seeds):
    env, ended = Numbers(num_envs), []
    evaluation = play_episodes(env, by_seed, seeds, on_episode=ended.append)
    assert evaluation.episodes == [expected_game(seed) for seed in sorted(seeds)]
    assert sorted(game.seed for game in ended) == sorted(seeds)
    assert set(seeds) <= set(env.started)


@pytest.mark.parametrize("num_envs", [(3,), (2, 2), (1, 4, 2)])
@pytest.mark.parametrize("seeds", [range(10), [31, 7]])
def test_environments_in_parallel_play_the_same_games(num_envs, seeds):
    ended = []
    evaluation = play_in_parallel([Numbers(n) for n in num_envs], by_seed, seeds, ended.append)
    assert evaluation.episodes == [expected_game(seed) for seed in sorted(seeds)]
    assert sorted(game.seed for game in ended) == sorted(seeds)


def test_an_error_beside_others_ends_them_all():
    class Numb(Exception):
        pass

    class Fragile(Numbers):
        def step(self, actions):
            if (self.seeds == 1).any():
                raise Numb
            return super().step(actions)

    class Endless(Numbers):
        length = staticmethod(lambda seed: 10**9)

    with pytest.raises(Numb):
        play_in_parallel([Endless(1), Fragile(1)], by_seed, range(4))


def test_environments_without_a_seed_count_for_nothing():
    env = Numbers(5)
    evaluation = play_episodes(env, by_seed, [3, 8])
    assert [game.seed for game in evaluation.episodes] == [3, 8]


def test_endless_seeds_are_taken_as_they_are_needed():
    class Enough(Exception):
        pass

    ended = []

    def stop_after_six(game: Episode):
        ended.append(game)
        if len(ended) == 6:
            raise Enough

    seeds = itertools.count(50)
    with pytest.raises(Enough):
        play_episodes(Numbers(2), by_seed, seeds, on_episode=stop_after_six)
    assert ended == sorted((expected_game(game.seed) for game in ended), key=ended.index)
    assert next(seeds) <= 50 + 6 + 2


def test_statistics_of_games():
    summary = play_episodes(Numbers(4), by_seed, range(9)).summary()
    scores = [expected_game(seed).score for seed in range(9)]
    assert summary["scores"] == scores
    assert summary["seeds"] == list(range(9))
    assert summary["games"] == 9
    assert summary["capped"] == 3
    for name in ("mean", "median", "max", "min", "std"):
        assert summary[name] == pytest.approx(getattr(np, name)(scores))


# --- The command, on the real game -----------------------------------------------------------------------

CONTRACT = {
    *("scores", "mean", "median", "max", "min", "std", "capped", "games"),
    *("seed", "clock", "browser", "decision_interval_frames"),
}


@pytest.fixture(scope="module")
def evaluated(model_file, tmp_path_factory):
    """One evaluation of four games in three environments: its JSON, and the directory of its games."""
    from dino_rl.cli.main import main

    directory = tmp_path_factory.mktemp("evaluated")
    arguments = ("--games", "4", "--num-envs", "3", "--seed", "7", "--max-score", "60")
    outputs = ("--json", str(directory / "e.json"), "--save-replays", str(directory / "games"))
    assert main(["evaluate", "--model", str(model_file), *arguments, *outputs]) == 0
    return json.loads((directory / "e.json").read_text()), directory / "games"


@pytest.mark.browser
def test_evaluate_writes_what_it_promises(evaluated):
    result, _ = evaluated
    assert result.keys() >= CONTRACT
    assert result["games"] == len(result["scores"]) == 4
    assert result["seeds"] == [7, 8, 9, 10]
    assert result["seed"] == 7
    assert result["clock"] == "lockstep"
    assert result["decision_interval_frames"] == INTERVAL
    assert result["browser"].startswith("chrome")
    assert all(20 <= score <= 63 for score in result["scores"])
    assert result["capped"] == sum(score >= 60 for score in result["scores"])
    assert result["mean"] == pytest.approx(np.mean(result["scores"]))
    assert len(result["deaths"]) == 4 - result["capped"]


@pytest.mark.browser
def test_evaluating_again_gives_the_same_scores(evaluated, model_file, cli, tmp_path):
    result, _ = evaluated
    arguments = ("--games", 4, "--num-envs", 2, "--seed", 7, "--max-score", 60, "--json", tmp_path / "e.json")
    code, out, err = cli("evaluate", "--model", model_file, *arguments)
    assert (code, err) == (0, "")
    again = json.loads((tmp_path / "e.json").read_text())
    assert again["scores"] == result["scores"]
    assert "mean" in out


@pytest.mark.browser
def test_an_evaluation_that_is_broken_off_keeps_its_games(model_file, tmp_path, no_new_browsers):
    process = command(
        *("evaluate", "--model", model_file, "--games", 10**6, "--num-envs", 2),
        *("--max-score", 60, "--save-replays", tmp_path),
    )
    wait_for(lambda: any(tmp_path.glob("*-seed-*.json")), process)
    process.send_signal(signal.SIGINT)
    assert finish(process, timeout_s=30)[0] == EXIT_INTERRUPTED
    kept = list(tmp_path.glob("*-seed-*.json"))
    assert RecordedGame.load(kept[0]).score >= 20


@pytest.mark.browser
def test_a_kept_game_happens_again(evaluated, cli, tmp_path):
    result, directory = evaluated
    paths = sorted(directory.iterdir())
    assert len(paths) == 4
    kept = RecordedGame.load(paths[-1])
    assert kept.score == max(result["scores"])
    assert from_dict(GameSettings, kept.settings) == GameSettings()
    assert paths[-1].stat().st_size < 2000
    video = tmp_path / "video.mp4"
    code, out, _ = cli("replay", paths[-1], "--headless", "--fast", "--record", video)
    assert code == 0
    assert f"Score {kept.score}, as recorded" in out
    assert video_facts(video)[0] == pytest.approx(INTERVAL * len(kept.actions), abs=INTERVAL)
    wrong = json.loads(paths[-1].read_text())
    wrong["score"] += 1
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    code, out, _ = cli("replay", tmp_path / "wrong.json", "--headless")
    assert code == 1
    assert f"Score {kept.score}, but {kept.score + 1} was recorded" in out


@pytest.mark.browser
def test_constant_speed_meets_no_birds_and_keeps_its_speed(model_file, cli, tmp_path):
    path = tmp_path / "e.json"
    arguments = ("--constant-speed", "--games", 2, "--max-score", 60, "--json", path)
    assert cli("evaluate", "--model", model_file, *arguments)[0] == 0
    result = json.loads(path.read_text())
    assert result["constant_speed"] is True
    assert {death["speed"] for death in result["deaths"]} <= {"6-7"}


@pytest.mark.browser
@pytest.mark.parametrize("in_page", [True, False])
def test_the_untouched_page_is_played_live(in_page, model_file, cli, tmp_path, no_new_browsers):
    path = tmp_path / "live.json"
    arguments = ("--clock", "live", "--url", "chrome://dino", "--games", 1, "--max-score", 60, "--json", path)
    chosen = () if in_page else ("--no-in-page",)
    code, _, err = cli("evaluate", "--model", model_file, *arguments, *chosen)
    assert (code, err) == (0, "")
    result = json.loads(path.read_text())
    assert result.keys() >= CONTRACT
    assert result["clock"] == "live"
    assert result["in_page"] is in_page
    assert 0 <= result["late_decisions"] < 0.9
    if in_page:
        assert result["timing"]["decisions"] > 50
    else:
        delays = result["delays"]
        assert delays["keys"] == 0 or sum(delays["frames"]) == pytest.approx(1, abs=0.01)
    assert result["url"] == "chrome://dino"
    assert 20 <= result["scores"][0] <= 70


@pytest.mark.browser
def test_play_without_a_display_says_so_and_records(model_file, cli, tmp_path, monkeypatch, no_new_browsers):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    video = tmp_path / "video.mp4"
    arguments = ("--clock", "lockstep", "--games", 1, "--max-score", 30, "--overlay", "--record", video)
    code, out, err = cli("play", "--model", model_file, *arguments)
    assert (code, err) == (0, "")
    assert "no display" in out
    assert "30" in out or "ended at" in out
    assert video_facts(video)[0] > 60


@pytest.mark.browser
def test_closing_the_window_ends_play_cleanly(model_file, cli, monkeypatch, unseen_window, no_new_browsers):
    from dino_rl.browser import Game as PlayedGame

    steps, seen = itertools.count(), []
    step = PlayedGame.step

    def close_after_ten(game, action, frames):
        if next(steps) == 10:
            seen.append(game.browser.driver.execute_script("return document.body.innerText"))
            game.browser.driver.close()  # the window, as by its button
        return step(game, action, frames)

    monkeypatch.setattr(PlayedGame, "step", close_after_ten)
    code, out, err = cli("play", "--model", model_file, "--no-in-page", "--overlay")
    assert (code, err) == (0, "")
    assert "window was closed" in out
    assert next(steps) >= 11
    for shown in ("what the network sees", "score", "nothing", "jump", "duck"):
        assert shown in seen[0]


@pytest.mark.browser
def test_browsers_that_die_again_and_again_end_an_evaluation_in_one_line(
    model_file, cli, monkeypatch, no_new_browsers
):
    from dino_rl.browser import Arena

    steps = itertools.count()
    step = Arena.step

    def kill_after_ten(arena, *arguments, **named):
        if next(steps) % 10 == 0:
            for process in psutil.Process(arena.browser.pid).children(recursive=True):
                process.kill()
        return step(arena, *arguments, **named)

    monkeypatch.setattr(Arena, "step", kill_after_ten)
    code, _, err = cli("evaluate", "--model", model_file, "--games", 2)
    assert code == 2
    reason = "The browser stopped answering. It was the fault number 6 without progress."
    assert err.strip().splitlines() == [f"dino-rl: {reason}"]

"""The environments keep Gymnasium's contract, and their options do what they say."""

import itertools

import gymnasium
import numpy as np
import pytest
from conftest import script_of_actions
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from dino_rl.browser.frames import to_picture
from dino_rl.envs import DINO_ID, DinoEnv, DinoVectorEnv
from dino_rl.envs import dino as dino_module
from dino_rl.envs.catalog import (
    make_evaluation_env,
    make_evaluation_envs,
    make_single_env,
    make_training_env,
)
from dino_rl.errors import DinoError
from dino_rl.settings import DRAWN_SEEDS_FROM, EnvSettings, GameSettings, GameVariation

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]

SOON = GameSettings(start_speed=12.0, clear_time_ms=0.0)  # who does nothing crashes within two seconds
NEVER = GameSettings(clear_time_ms=1e9)  # nothing to run into
INFO = {"score", "speed", "seed", "obstacle", "obstacle_size", "obstacle_y", "night", "jumping", "ducking"}


class Borrowed:
    """A browser of the session's: environments use it, and cannot close it."""

    def __init__(self, lender):
        self._lender = lender

    def __getattr__(self, name):
        return getattr(self._lender, name)

    def close(self):
        pass

    end = close


@pytest.fixture
def make_vector(arena, monkeypatch):
    """Makes vector environments of three games on the session's arena, so that none waits for a browser."""
    monkeypatch.setattr(dino_module, "Arena", lambda count, headless: Borrowed(arena))
    return lambda **options: DinoVectorEnv(3, **options)


@pytest.fixture
def make_single(game, monkeypatch):
    """The same for single environments."""
    monkeypatch.setattr(dino_module, "Game", lambda clock, url, headless: Borrowed(game))
    return lambda **options: DinoEnv(**options)


def play(env, steps: int, actions=None) -> list[tuple]:
    """All that the next steps return."""
    if actions is None:
        actions = np.array([script_of_actions(i, steps) for i in range(3)]).T
    return [env.step(actions[i]) for i in range(steps)]


def until_one_ends(env, action: int = 0) -> tuple[int, tuple]:
    """Step until some game has ended: (which, what that step returned)."""
    for _ in range(200):
        result = env.step(np.full(3, action))
        over = result[2] | result[3]
        if over.any():
            return int(np.flatnonzero(over)[0]), result
    raise AssertionError("no game ended")


# --- Gymnasium's contract --------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
def test_gymnasium_finds_nothing_wrong(unseen_window, no_new_browsers):
    """All render modes included: the check makes an environment for each."""
    env = gymnasium.make(DINO_ID, render_mode="rgb_array")
    try:
        check_env(env.unwrapped)
    finally:
        env.close()


@pytest.mark.filterwarnings("error")
def test_make_vec_gives_many_games_in_one_page(no_new_browsers):
    env = gymnasium.make_vec(DINO_ID, num_envs=3, decision_interval_frames=2)
    try:
        assert isinstance(env.unwrapped, DinoVectorEnv)
        assert env.num_envs == 3
        env.reset(seed=0)
        observations, *_ = env.step(env.action_space.sample())
        assert observations in env.observation_space
    finally:
        env.close()


@pytest.mark.parametrize("num_actions", [2, 3])
@pytest.mark.parametrize("stack_size", [1, 4])
def test_spaces_hold_what_comes(make_vector, num_actions, stack_size):
    env = make_vector(num_actions=num_actions, stack_size=stack_size)
    assert env.single_observation_space == gymnasium.spaces.Box(0, 255, (80, 80, stack_size), np.uint8)
    assert env.single_action_space == gymnasium.spaces.Discrete(num_actions)
    observations, infos = env.reset(seed=1)
    assert observations in env.observation_space
    assert observations.shape == (3, 80, 80, stack_size)
    for actions in ([0, 1, num_actions - 1], [0, 0, 0]):
        observations, rewards, terminated, truncated, infos = env.step(np.array(actions))
        assert observations in env.observation_space
        assert rewards.shape == terminated.shape == truncated.shape == (3,)
        assert terminated.dtype == truncated.dtype == bool
        assert {name for name in infos if not name.startswith("_")} == INFO
        assert all(infos["_" + name].all() and len(infos[name]) == 3 for name in INFO)


def test_a_step_shifts_the_stack(make_vector):
    env = make_vector(game=NEVER)
    before, _ = env.reset(seed=3)
    assert (before == before[..., :1]).all()  # after a reset, all four are the first picture
    for _ in range(5):
        after, *_ = env.step(np.array([0, 1, 2]))
        np.testing.assert_array_equal(after[..., :-1], before[..., 1:])
        assert (after[..., -1] != before[..., -1]).any(axis=(1, 2)).all()
        before = after


def test_a_stack_with_gaps(make_vector):
    """Every third picture of the last seven; one game's restart leaves the other games' as they were."""
    env = make_vector(game=NEVER, stack_size=3, stack_stride=3, autoreset_mode=AutoresetMode.DISABLED)
    first, _ = env.reset(seed=3)
    newest = [first[..., -1]]
    for _ in range(8):
        stack, *_ = env.step(np.array([0, 1, 2]))
        newest.append(stack[..., -1])
        for position, back in enumerate((6, 3, 0)):
            np.testing.assert_array_equal(stack[..., position], newest[max(0, len(newest) - 1 - back)])
    after, _ = env.reset(seed=[5, 5, 5], options={"reset_mask": np.array([False, True, False])})
    np.testing.assert_array_equal(after[[0, 2]], stack[[0, 2]])
    assert (after[1] == after[1, ..., :1]).all()
    assert (after[1] != stack[1]).any()


def test_what_was_returned_does_not_change_later(make_vector):
    env = make_vector(game=NEVER)
    first, infos = env.reset(seed=3)
    kept, scores = first.copy(), infos["score"].copy()
    play(env, 5)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(infos["score"], scores)


def same(first: list[tuple], second: list[tuple]) -> bool:
    return all(
        all(np.array_equal(a, b) for a, b in zip(one[:4], other[:4], strict=True))
        and all(np.array_equal(one[4][name], other[4][name]) for name in INFO)
        for one, other in zip(first, second, strict=True)
    )


VARIATION = GameVariation(
    base=SOON,
    start_speed=(8.0, 13.0),
    random_start_share=0.5,
    dino_x=(0, 50),
    delay_concentrations=(0.3, 0.3, 0.3),
)


@pytest.mark.parametrize("seed", [5, [8, 1, 6]])
def test_equal_seeds_give_equal_games_through_all_autoresets(make_vector, seed):
    runs = []
    for _ in range(2):
        env = make_vector(game=VARIATION)
        _, infos = env.reset(seed=seed)
        assert infos["seed"].tolist() == ([5, 6, 7] if seed == 5 else [8, 1, 6])
        runs.append(play(env, 80))
    assert sum(terminated.sum() for _, _, terminated, _, _ in runs[0]) >= 4
    assert same(*runs)
    env.reset(seed=77)
    assert not same(runs[0], play(env, 80))


def test_drawn_seeds_lie_apart_from_given_ones(make_vector):
    env = make_vector(game=SOON)
    env.reset(seed=0)
    drawn = set()
    for _, _, _, _, infos in play(env, 150):
        drawn |= {int(seed) for seed in infos["seed"] if seed > 2}
    assert len(drawn) >= 6
    assert min(drawn) >= DRAWN_SEEDS_FROM
    assert max(drawn) < 2**32
    _, infos = env.reset(seed=[4, None, 9])
    assert infos["seed"][[0, 2]].tolist() == [4, 9]
    assert infos["seed"][1] >= DRAWN_SEEDS_FROM


def test_without_a_seed_games_differ(make_vector):
    env = make_vector()
    _, first = env.reset()
    _, second = env.reset()
    assert not set(first["seed"]) & set(second["seed"])


# --- Ends and resets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reward", "alive"), [("survival", 0.01), ("tutorial", 0.1)])
def test_next_step_autoreset(make_vector, reward, alive):
    env = make_vector(game=SOON, reward=reward)
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    env.reset(seed=1)
    lane, (last, rewards, terminated, truncated, infos) = until_one_ends(env)
    others = [i for i in range(3) if not terminated[i]]
    assert terminated[lane]
    assert not truncated.any()
    assert rewards[lane] == pytest.approx(-1)
    assert rewards[others] == pytest.approx(alive)
    first, rewards, terminated, truncated, fresh = env.step(np.zeros(3, int))
    assert rewards[lane] == 0
    assert not terminated[lane]
    assert fresh["seed"][lane] >= DRAWN_SEEDS_FROM
    assert fresh["score"][lane] == 0
    assert (first[lane] == first[lane][..., :1]).all()
    assert (first[lane] != last[lane]).any()
    for other in others:
        assert fresh["seed"][other] == infos["seed"][other]
        np.testing.assert_array_equal(first[other][..., :-1], last[other][..., 1:])


def test_disabled_autoreset_resets_who_is_named(make_vector):
    env = make_vector(game=SOON, autoreset_mode=AutoresetMode.DISABLED)
    assert env.metadata["autoreset_mode"] == AutoresetMode.DISABLED
    env.reset(seed=[3, 4, 5])
    lane, (last, _, _, _, infos) = until_one_ends(env)
    waiting, rewards, again, truncated, after = env.step(np.ones(3, int))
    assert rewards[lane] == 0
    assert not (again | truncated)[lane]
    assert after["score"][lane] == infos["score"][lane]  # it waits for its reset
    np.testing.assert_array_equal(waiting[lane][..., -1], last[lane][..., -1])
    mask = np.arange(3) == lane
    fresh, new = env.reset(seed=[90, 91, 92], options={"reset_mask": mask})
    assert new["seed"][mask].tolist() == [90 + lane]
    np.testing.assert_array_equal(new["seed"][~mask], after["seed"][~mask])
    np.testing.assert_array_equal(fresh[~mask][..., -1], waiting[~mask][..., -1])
    moved, _, _terminated, _, infos = env.step(np.zeros(3, int))
    assert (moved[lane][..., -1] != fresh[lane][..., -1]).any()


def test_max_score_truncates(make_vector):
    env = make_vector(game=NEVER, max_score=20)
    env.reset(seed=0)
    _, (_, rewards, terminated, truncated, infos) = until_one_ends(env)
    assert truncated.all()
    assert not terminated.any()
    assert rewards == pytest.approx(0.01)
    assert (infos["score"] >= 20).all()
    assert (infos["score"] < 23).all()
    _, rewards, _, truncated, infos = env.step(np.zeros(3, int))
    assert not truncated.any()
    assert (infos["score"] == 0).all()


def test_max_frames_cuts_a_long_game(make_vector):
    """Of each lane's own variation, and as a truncation: what would have come is still worth something."""
    games = [GameVariation(base=NEVER, max_frames=frames) for frames in (40, 81, None)]
    env = make_vector(game=games, max_score=1000)
    env.reset(seed=0)
    ends = {0: [], 1: [], 2: []}
    for step in range(1, 46):
        _, rewards, terminated, truncated, _ = env.step(np.zeros(3, int))
        assert not terminated.any()
        for lane in np.flatnonzero(truncated):
            assert rewards[lane] == pytest.approx(0.01)
            ends[int(lane)].append(step)
    assert ends == {0: [10, 21, 32, 43], 1: [21, 43], 2: []}  # one step of each cycle is the reset


def test_one_game_is_a_lane_of_many(make_single, make_vector):
    """Same seed, same actions: `DinoEnv` and `DinoVectorEnv` return the same."""
    actions = script_of_actions(2, 300)
    env = make_single(game=SOON)
    observation, info = env.reset(seed=21)
    single = [(observation, 0.0, False, False, info)]
    for action in actions:
        single.append(env.step(action))
        if single[-1][2]:
            break
    many = make_vector(game=SOON)
    observations, infos = many.reset(seed=[1, 21, 2])
    for i, (observation, reward, terminated, truncated, info) in enumerate(single):
        if i:
            observations, rewards, ended, cut, infos = many.step(np.array([1, actions[i - 1], 0]))
            assert (rewards[1], ended[1], cut[1]) == (reward, terminated, truncated)
        np.testing.assert_array_equal(observations[1], observation)
        assert {name: infos[name][1] for name in INFO} == {name: info[name] for name in INFO}
    assert single[-1][2]  # to the crash
    assert single[-1][1] == -1.0
    assert not single[-1][3]


def test_a_single_game_is_truncated_at_its_cap(make_single):
    env = make_single(game=NEVER, max_score=12)
    env.reset(seed=0)
    for _ in range(40):
        _, _, terminated, truncated, info = env.step(0)
        assert not terminated
        assert truncated == (info["score"] >= 12)
        if truncated:
            return
    raise AssertionError("never truncated")


# --- Options ---------------------------------------------------------------------------------------------


def frames_to_the_first_obstacle(arena, settings: GameSettings) -> int:
    arena.step(resets={i: (i, settings) for i in range(3)})
    for frame in range(1, 300):
        if (arena.step([0, 0, 0], 1).column("obstacle") >= 0).all():
            return frame
    raise AssertionError("no obstacle")


def test_clear_time_is_the_time_without_obstacles(arena):
    assert abs(frames_to_the_first_obstacle(arena, GameSettings(clear_time_ms=300.0)) - 18) <= 3
    assert abs(frames_to_the_first_obstacle(arena, GameSettings()) - 180) <= 3


def obstacles_met(arena, settings: GameSettings) -> list[int]:
    kinds = []
    for seed in range(0, 60, 3):
        arena.step(resets={i: (seed + i, settings) for i in range(3)})
        kinds += arena.step([0, 0, 0], 12).column("obstacle").tolist()
    return kinds


def test_birds_can_be_left_out(arena):
    bird = arena.obstacles.index("pterodactyl")
    fast = {"start_speed": 12.0, "clear_time_ms": 0.0}
    assert obstacles_met(arena, GameSettings(**fast)).count(bird) >= 6
    without = obstacles_met(arena, GameSettings(birds=False, **fast))
    assert without.count(bird) == 0
    assert without.count(-1) == 0
    assert obstacles_met(arena, GameSettings(**fast)).count(bird) >= 6  # and come back


# The night that begins at 100 lasts for 234 points; that at 200 is skipped.
@pytest.mark.parametrize(("points", "expected"), [(100, [100] * 3), (150, [150] * 3), (700, [])])
def test_night_comes_every_so_many_points(arena, points, expected):
    settings = GameSettings(start_speed=13.0, clear_time_ms=1e9, night_every=points)
    arena.step(resets={i: (i, settings) for i in range(3)})
    began = []
    dark = np.zeros(3)
    for _ in range(900):
        seen = arena.step([0, 0, 0], 1)
        began += seen.scores[seen.column("night") > dark].tolist()
        dark = seen.column("night")
    assert began == expected


def test_start_speed_and_constant_speed(make_vector):
    for start, constant in ((6.0, False), (9.5, False), (9.5, True)):
        env = make_vector(game=GameSettings(start, constant, clear_time_ms=1e9))
        _, infos = env.reset(seed=0)
        assert infos["speed"] == pytest.approx(start, abs=0.002)
        *_, (*_, infos) = play(env, 25)
        assert infos["speed"] == pytest.approx(start if constant else start + 0.1, abs=0.002)


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_the_decision_interval_is_in_frames(make_vector, frames):
    env = make_vector(game=NEVER, decision_interval_frames=frames)
    assert env.metadata["render_fps"] == round(60 / frames)
    _, before = env.reset(seed=0)
    *_, (*_, after) = play(env, 12)
    # The game gains 0.001 pixels a frame each frame.
    assert after["speed"] - before["speed"] == pytest.approx(0.001 * 12 * frames, abs=1e-6)


def test_a_variation_varies(make_vector):
    env = make_vector(game=VARIATION)
    speeds, xs = set(), set()
    for seed in range(6):
        _, infos = env.reset(seed=10 * seed)
        speeds |= set(infos["speed"].round(2).tolist())
        xs |= set(env.arena.step().column("dino_x").tolist())
    assert len(speeds) > 6
    assert len(xs) > 8
    assert min(xs) >= 0
    assert max(xs) <= 50


@pytest.mark.parametrize(("share", "scores_from"), [(1.0, 1), (0.0, 0)])
def test_after_a_crash_the_game_goes_back_a_moment(make_vector, share, scores_from):
    slow = GameSettings(start_speed=6.0, clear_time_ms=0.0)  # long enough to have moments to go back to
    env = make_vector(game=GameVariation(slow, rewind_share=share))
    env.reset(seed=0)
    lane, (*_, infos) = until_one_ends(env)
    first, rewards, terminated, _, fresh = env.step(np.zeros(3, int))
    assert rewards[lane] == 0
    assert not terminated[lane]
    assert scores_from <= fresh["score"][lane] < infos["score"][lane]
    assert fresh["seed"][lane] >= DRAWN_SEEDS_FROM
    assert (first[lane] == first[lane][..., :1]).all()


def test_a_game_that_was_cut_off_does_not_go_back(make_vector):
    env = make_vector(game=GameVariation(NEVER, rewind_share=1.0, max_frames=200))
    env.reset(seed=0)
    _, (_, _, terminated, truncated, _) = until_one_ends(env)
    assert truncated.all()
    assert not terminated.any()
    *_, fresh = env.step(np.zeros(3, int))
    assert not fresh["score"].any()


def test_greedy_lanes_train_on_full_games(make_vector):
    settings = EnvSettings(num_envs=3, greedy_envs=2)
    env = make_training_env(settings)
    speeds = []
    for seed in range(12):
        _, infos = env.reset(seed=seed)
        speeds.append(infos["speed"])
    speeds = np.array(speeds)
    assert speeds[:, 1:] == pytest.approx(6.0, abs=0.01)
    assert (speeds[:, 0] > 6.1).sum() in range(2, 11)


def test_halves_of_evaluation_games_may_be_of_two_kinds(arena, make_vector):
    kinds = (GameSettings(dino_x=5), GameVariation(dino_x=(7, 9)))
    first, second = make_evaluation_envs(EnvSettings(), 6, None, kinds)
    first.reset(seed=[0, 1, 2])
    assert set(arena.step().column("dino_x").tolist()) == {5}
    second.reset(seed=[3, 4, 5])
    assert set(arena.step().column("dino_x").tolist()) <= {7, 8, 9}


def test_an_evaluation_game_is_the_game_as_it_is(arena, make_vector):
    env = make_evaluation_env(EnvSettings(), 3)
    _, infos = env.reset(seed=[0, 1, 2])
    assert infos["speed"] == pytest.approx(6.0, abs=0.002)
    assert (arena.step().column("dino_x") == 24).all()
    assert env.metadata["autoreset_mode"] == AutoresetMode.DISABLED


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"reward": "gold"}, "survival"),
        ({"num_actions": 4}, "num_actions"),
        ({"decision_interval_frames": 0}, "decision_interval_frames"),
        ({"stack_size": 0}, "stack_size"),
    ],
)
def test_wrong_options_are_named_before_a_browser_starts(options, named, monkeypatch):
    def refuse(*_):
        raise AssertionError("a browser was started")

    monkeypatch.setattr(dino_module, "Arena", refuse)
    monkeypatch.setattr(dino_module, "Game", refuse)
    for make in (DinoVectorEnv, DinoEnv):
        with pytest.raises(DinoError, match=named):
            make(**options)
    with pytest.raises(DinoError, match="num_envs"):
        DinoVectorEnv(0)


# --- Rendering, and the live clock -----------------------------------------------------------------------


def test_render_returns_the_canvas(make_vector, make_single):
    many = make_vector(render_mode="rgb_array", game=NEVER)
    many.reset(seed=0)
    observations, *_ = many.step(np.array([0, 1, 2]))
    for frame, observation in zip(many.render(), observations, strict=True):
        assert frame.shape == (150, 600, 3)
        assert frame.dtype == np.uint8
        assert np.abs(to_picture(frame).astype(int) - observation[..., -1]).max() <= 1
    one = make_single(render_mode="rgb_array", game=NEVER)
    observation, _ = one.reset(seed=0)
    assert np.abs(to_picture(one.render()).astype(int) - observation[..., -1]).max() <= 1
    assert make_single().render() is None


def test_every_frame_can_be_had(make_single, game, monkeypatch):
    monkeypatch.setattr(game, "filming", True)  # what is borrowed is not changed by who borrows it
    env = make_single(render_mode="rgb_array_list", game=NEVER, decision_interval_frames=3)
    assert env.metadata["render_fps"] == 60
    env.reset(seed=0)
    (start,) = env.render()
    assert env.render() == []
    env.step(0)
    env.step(0)
    frames = [start, *env.render()]
    assert len(frames) == 7
    moved = [(before != after).any() for before, after in itertools.pairwise(frames)]
    assert all(moved)
    env.step(0)
    env.reset(seed=1)
    assert len(env.render()) == 1  # a game's frames, not those of the one before


def test_a_live_environment_plays(no_new_browsers):
    settings = EnvSettings(decision_interval_frames=3)
    env = make_single_env(settings, "live", "chrome://dino", max_score=25)
    try:
        observations, infos = env.reset(seed=[0])
        assert observations in env.observation_space
        assert infos["score"][0] <= 3
        scores = []
        for _ in range(400):
            observations, _rewards, terminated, truncated, infos = env.step(np.zeros(1, int))
            scores.append(int(infos["score"][0]))
            if (terminated | truncated)[0]:
                break
        assert scores == sorted(scores)
        assert truncated[0]
        assert 25 <= scores[-1] < 32
        assert infos["late_frames"][0] >= 0
        assert len(scores) > 15
    finally:
        env.close()

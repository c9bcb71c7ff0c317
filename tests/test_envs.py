"""The environments fulfil Gymnasium's contract, and their options have the documented effect."""

import inspect
import itertools
import json
import time
from dataclasses import asdict

import gymnasium
import numpy as np
import pytest
from conftest import ROOT, script_of_actions
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dino_rl.browser import Arena
from dino_rl.browser.frames import to_frame
from dino_rl.browser.game_settings import GameSettings
from dino_rl.envs import DINO_ID, DinoEnv, DinoVectorEnv
from dino_rl.envs.dino import env as env_module
from dino_rl.envs.dino.options import REWARDS, DinoOptions
from dino_rl.envs.dino.task import DinoConfig, DinoTask
from dino_rl.envs.dino.variation import GameVariation
from dino_rl.envs.task import PlayOptions
from dino_rl.errors import DinoError
from dino_rl.spec import DRAWN_SEEDS_FROM

pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]

SOON = GameSettings(start_speed=12.0, clear_time_ms=0.0)  # without actions it crashes within two seconds
NEVER = GameSettings(clear_time_ms=1e9)  # no obstacle ever
# Fewer and longer steps than by default: a game takes less time.
LONG_STEPS = {"decision_interval_frames": 4, "stack_stride": 1}
INFO = {"score", "speed", "seed", "obstacle", "obstacle_size", "obstacle_y", "night", "jumping", "ducking"}


class Borrowed:
    """A browser of the test session: environments use it, and cannot close it."""

    def __init__(self, lender):
        self._lender = lender

    def __getattr__(self, name):
        return getattr(self._lender, name)

    def close(self):
        pass

    end = close


@pytest.fixture
def make_vector(arena, monkeypatch):
    """Makes vector environments of three games on the session's arena, so that no browser has to start."""
    monkeypatch.setattr(env_module, "Arena", lambda count, headless: Borrowed(arena))
    return lambda **options: DinoVectorEnv(3, **LONG_STEPS | options)


@pytest.fixture
def make_single(game, monkeypatch):
    """The same for single environments."""
    monkeypatch.setattr(env_module, "Game", lambda clock, url, headless: Borrowed(game))
    return lambda **options: DinoEnv(**LONG_STEPS | options)


def play(env, steps: int, actions=None) -> list[tuple]:
    """The results of the next steps."""
    if actions is None:
        actions = np.array([script_of_actions(i, steps) for i in range(3)]).T
    return [env.step(actions[i]) for i in range(steps)]


def until_one_ends(env, action: int = 0) -> tuple[int, tuple]:
    """Step until some game has ended: (its index, the result of that step)."""
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
    env = gymnasium.make_vec(DINO_ID, num_envs=3, decision_interval_frames=2, max_episode_steps=20)
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
def test_spaces_contain_what_is_returned(make_vector, num_actions, stack_size):
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
    assert (before == before[..., :1]).all()  # after a reset, all four are the first frame
    for _ in range(5):
        after, *_ = env.step(np.array([0, 1, 2]))
        np.testing.assert_array_equal(after[..., :-1], before[..., 1:])
        assert (after[..., -1] != before[..., -1]).any(axis=(1, 2)).all()
        before = after


def test_a_stack_with_gaps(make_vector):
    """Every third frame of the last seven; the reset of one game does not change the others."""
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


def test_drawn_seeds_are_apart_from_given_ones(make_vector):
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


@pytest.mark.parametrize(
    "actions", [[0], [0, 1, 2, 1], [9, 9, -3], [0, 3, 0], [0, -1, 0], [0.0, 1.0, 2.0], [[0, 1, 2]], 1]
)
def test_actions_outside_of_the_space_are_refused(actions, make_vector):
    env = make_vector(game=NEVER)
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match=r"action space MultiDiscrete\(\[3 3 3\]\)"):
        env.step(actions)
    _, _, _, _, infos = env.step([0, 1, 2])  # nothing has moved, and a list is fine
    assert infos["speed"] == pytest.approx(6.004, abs=0.0005)


@pytest.mark.parametrize("action", [-1, 3, 1.0, [1], None])
def test_an_action_outside_of_the_space_is_refused(action, make_single):
    env = make_single(game=NEVER)
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match=r"action space Discrete\(3\)"):
        env.step(action)


def test_a_step_needs_a_reset(make_vector, make_single):
    many, one = make_vector(), make_single()
    with pytest.raises(ResetNeeded):
        many.step(np.zeros(3, int))
    with pytest.raises(ResetNeeded):
        many.reset(options={"reset_mask": np.array([True, False, True])})
    with pytest.raises(ResetNeeded):
        one.step(0)


@pytest.mark.parametrize("options", [{"seed": [1, 2]}, {"options": {"reset_mask": np.ones(4, bool)}}])
def test_a_reset_of_the_wrong_length_is_refused(options, make_vector):
    with pytest.raises(DinoError, match="each of the 3 games"):
        make_vector().reset(**options)


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
    i, (last, rewards, terminated, truncated, infos) = until_one_ends(env)
    others = [other for other in range(3) if not terminated[other]]
    assert terminated[i]
    assert not truncated.any()
    assert rewards[i] == pytest.approx(-1)
    assert rewards[others] == pytest.approx(alive)
    first, rewards, terminated, truncated, fresh = env.step(np.zeros(3, int))
    assert rewards[i] == 0
    assert not terminated[i]
    assert fresh["seed"][i] >= DRAWN_SEEDS_FROM
    assert fresh["score"][i] == 0
    assert (first[i] == first[i][..., :1]).all()
    assert (first[i] != last[i]).any()
    for other in others:
        assert fresh["seed"][other] == infos["seed"][other]
        np.testing.assert_array_equal(first[other][..., :-1], last[other][..., 1:])


def test_disabled_autoreset_resets_who_is_named(make_vector):
    env = make_vector(game=SOON, autoreset_mode=AutoresetMode.DISABLED)
    assert env.metadata["autoreset_mode"] == AutoresetMode.DISABLED
    env.reset(seed=[3, 4, 5])
    i, (last, _, _, _, infos) = until_one_ends(env)
    waiting, rewards, again, truncated, after = env.step(np.ones(3, int))
    assert rewards[i] == 0
    assert not (again | truncated)[i]
    assert after["score"][i] == infos["score"][i]  # it waits for its reset
    np.testing.assert_array_equal(waiting[i][..., -1], last[i][..., -1])
    mask = np.arange(3) == i
    fresh, new = env.reset(seed=[90, 91, 92], options={"reset_mask": mask})
    assert new["seed"][mask].tolist() == [90 + i]
    np.testing.assert_array_equal(new["seed"][~mask], after["seed"][~mask])
    np.testing.assert_array_equal(fresh[~mask][..., -1], waiting[~mask][..., -1])
    moved, _, _terminated, _, infos = env.step(np.zeros(3, int))
    assert (moved[i][..., -1] != fresh[i][..., -1]).any()


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, "SameStep"])
def test_same_step_autoreset(mode, make_vector):
    env = make_vector(game=SOON, autoreset_mode=mode)
    assert env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    before, _ = env.reset(seed=1)
    while True:
        observations, rewards, terminated, truncated, infos = env.step(np.array([0, 1, 2]))
        if terminated.any():
            break
        assert "final_obs" not in infos
        before = observations
    assert not terminated.all()
    assert not truncated.any()
    for i, ended in enumerate(terminated):
        assert infos["_final_obs"][i] == infos["_final_info"][i] == infos["final_info"]["_score"][i] == ended
        if ended:
            final = infos["final_obs"][i]
            np.testing.assert_array_equal(final[..., :-1], before[i][..., 1:])
            assert rewards[i] == -1
            assert infos["final_info"]["score"][i] > infos["score"][i] == 0
            assert infos["final_info"]["seed"][i] == 1 + i
            assert infos["seed"][i] >= DRAWN_SEEDS_FROM
            assert (observations[i] == observations[i][..., :1]).all()
            assert (observations[i] != final).any()
        else:
            assert infos["final_obs"][i] is None
            assert rewards[i] == pytest.approx(0.01)
            np.testing.assert_array_equal(observations[i][..., :-1], before[i][..., 1:])
    after, _, terminated_now, _, infos = env.step(np.zeros(3, int))
    going_on = ~terminated_now
    np.testing.assert_array_equal(after[going_on][..., :-1], observations[going_on][..., 1:])
    assert (infos["score"][going_on] > 0).all()


def test_max_episode_steps_truncates(make_vector, make_single):
    env = make_vector(game=NEVER, max_episode_steps=7)
    env.reset(seed=0)
    cut = [env.step(np.zeros(3, int))[3].tolist() for _ in range(16)]
    assert cut == [[step in (7, 15)] * 3 for step in range(1, 17)]  # step 8 is the reset
    env = make_single(game=NEVER, max_episode_steps=7)
    for _ in range(2):
        env.reset(seed=0)
        assert [env.step(0)[3] for _ in range(7)] == [False] * 6 + [True]


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
    """Of each game's own variation. It truncates: the value of the future is not zero."""
    games = [GameVariation(base=NEVER, max_frames=frames) for frames in (40, 81, None)]
    env = make_vector(game=games, max_score=1000)
    env.reset(seed=0)
    ends = {0: [], 1: [], 2: []}
    for step in range(1, 46):
        _, rewards, terminated, truncated, _ = env.step(np.zeros(3, int))
        assert not terminated.any()
        for i in np.flatnonzero(truncated):
            assert rewards[i] == pytest.approx(0.01)
            ends[int(i)].append(step)
    assert ends == {0: [10, 21, 32, 43], 1: [21, 43], 2: []}  # one step of each cycle is the reset


def test_one_game_is_one_of_many(make_single, make_vector):
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


# Everything that both environments must share: drawn games, crashes, rewinding, both kinds of truncation.
SHARED = GameVariation(
    base=GameSettings(clear_time_ms=0.0),
    start_speed=(6.0, 9.0),
    random_start_share=0.5,
    dino_x=(0, 50),
    frame_jitter_ms=(0.05, 3.0),
    delay_concentrations=(0.3, 0.3, 0.3),
    rewind_share=0.5,
    max_frames=105,
)


@pytest.fixture(scope="module")
def arena_of_one():
    """One lock-step game in a page for many."""
    with Arena(1) as arena:
        yield arena


@pytest.mark.parametrize("mode", AutoresetMode)
def test_single_and_vector_are_one_definition(mode, make_single, arena_of_one, monkeypatch):
    """Gymnasium's own vector environment around `DinoEnv` returns what `DinoVectorEnv` returns."""
    options = {"game": SHARED, "max_score": 18}
    monkeypatch.setattr(env_module, "Arena", lambda count, headless: Borrowed(arena_of_one))
    ours = DinoVectorEnv(1, autoreset_mode=mode, **options)
    defaults = asdict(DinoOptions())
    theirs = SyncVectorEnv([lambda: make_single(**options, **defaults)], autoreset_mode=mode)
    assert_equal(ours.reset(seed=[7]), theirs.reset(seed=[7]))
    ends, starts = dict.fromkeys(("crash", "max_score", "max_frames"), 0), {"new": 0, "rewound": 0}
    over = False
    for action in script_of_actions(6, 1800):
        if over and mode == AutoresetMode.DISABLED:
            ours_now, theirs_now = (
                env.reset(options={"reset_mask": np.ones(1, bool)}) for env in (ours, theirs)
            )
        else:
            ours_now, theirs_now = (env.step(np.array([action])) for env in (ours, theirs))
        assert_equal(ours_now, theirs_now)
        info = ours_now[-1]
        if over and mode != AutoresetMode.SAME_STEP:
            starts["rewound" if info["score"][0] > 0 else "new"] += 1
            over = False
            continue
        *_, terminated, truncated, info = ours_now
        over = bool(terminated[0] or truncated[0])
        if over and mode == AutoresetMode.SAME_STEP:
            starts["rewound" if info["score"][0] > 0 else "new"] += 1
            info = info["final_info"]
        if terminated[0]:
            ends["crash"] += 1
        elif truncated[0]:
            ends["max_score" if info["score"][0] >= 18 else "max_frames"] += 1
    assert min(ends.values()) >= 2, ends
    assert min(starts.values()) >= 2, starts


def assert_equal(one, other):
    """Two results of `step` or `reset`, in all their parts."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_equal(one[name], other[name])
    elif isinstance(one, tuple) or (isinstance(one, np.ndarray) and one.dtype.kind == "O"):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_equal(mine, theirs)
    elif one is None:
        assert other is None
    else:
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_a_seed_always_starts_a_new_game(make_vector, make_single):
    options = {"game": GameVariation(GameSettings(clear_time_ms=0.0), rewind_share=1.0)}
    many, one = make_vector(**options, autoreset_mode=AutoresetMode.DISABLED), make_single(**options)
    many.reset(seed=0)
    until_one_ends(many)
    assert not many.reset(seed=5)[1]["score"].any()
    one.reset(seed=0)
    while not one.step(0)[2]:
        pass
    assert one.reset(seed=5)[1]["score"] == 0
    while not one.step(0)[2]:
        pass
    assert one.reset()[1]["score"] > 0


def test_a_game_that_is_over_waits(make_single):
    env = make_single(game=SOON)
    env.reset(seed=1)
    while not env.step(0)[2]:
        pass
    _, reward, terminated, truncated, _ = env.step(1)
    assert (reward, terminated, truncated) == (0.0, False, False)


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


def test_more_birds_than_the_game_has(arena):
    bird = arena.obstacles.index("pterodactyl")
    fast = {"start_speed": 12.0, "clear_time_ms": 0.0}
    usual, many = (
        obstacles_met(arena, GameSettings(bird_odds=odds, **fast)).count(bird) / 60 for odds in (1, 10)
    )
    assert 0.15 < usual < 0.5  # a third
    assert 0.7 < many < 1  # ten of twelve
    assert obstacles_met(arena, GameSettings(**fast)).count(bird) == usual * 60  # nothing of it stays
    slow = obstacles_met(arena, GameSettings(bird_odds=10, clear_time_ms=0.0))
    assert slow.count(bird) == 0


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
    i, (*_, infos) = until_one_ends(env)
    first, rewards, terminated, _, fresh = env.step(np.zeros(3, int))
    assert rewards[i] == 0
    assert not terminated[i]
    assert scores_from <= fresh["score"][i] < infos["score"][i]
    assert fresh["seed"][i] >= DRAWN_SEEDS_FROM
    assert (first[i] == first[i][..., :1]).all()


def test_a_game_that_was_cut_off_does_not_go_back(make_vector):
    env = make_vector(game=GameVariation(NEVER, rewind_share=1.0, max_frames=200))
    env.reset(seed=0)
    _, (_, _, terminated, truncated, _) = until_one_ends(env)
    assert truncated.all()
    assert not terminated.any()
    *_, fresh = env.step(np.zeros(3, int))
    assert not fresh["score"].any()


def test_greedy_games_train_on_whole_games(make_vector):
    varied = GameVariation(start_speed=(6.0, 13.0), random_start_share=0.45, full_speed_share=0.3)
    env = DinoTask(DinoConfig(num_envs=3, greedy_envs=2, variation=varied)).make_training_env()
    speeds = []
    for seed in range(12):
        _, infos = env.reset(seed=seed)
        speeds.append(infos["speed"])
    speeds = np.array(speeds)
    assert speeds[:, 1:] == pytest.approx(6.0, abs=0.01)
    assert (speeds[:, 0] > 6.1).sum() in range(2, 11)


def test_half_of_the_validation_games_vary_as_live_ones_do_and_start_at_all_speeds(arena, make_vector):
    variation = GameVariation(GameSettings(dino_x=5), dino_x=(7, 9), start_speed=(6.0, 13.0))
    first, second = DinoTask(DinoConfig(variation=variation)).make_validation_envs(6, None)
    _, infos = first.reset(seed=[0, 1, 2])
    assert infos["speed"] == pytest.approx(6.0, abs=0.01)
    assert set(arena.step().column("dino_x").tolist()) == {24}
    speeds = np.array([second.reset(seed=[seed, seed + 1, seed + 2])[1]["speed"] for seed in range(3, 12, 3)])
    assert (speeds == 13.0).sum() in range(1, 9)
    assert speeds.min() < 12.0
    assert set(arena.step().column("dino_x").tolist()) <= {7, 8, 9}


def test_an_evaluation_game_is_the_game_as_it_is(arena, make_vector):
    task = DinoTask(DinoConfig())
    env = next(task.make_evaluation_envs(6, task.complete(PlayOptions())))
    _, infos = env.reset(seed=[0, 1, 2])
    assert infos["speed"] == pytest.approx(6.0, abs=0.002)
    assert (arena.step().column("dino_x") == 24).all()
    assert env.metadata["autoreset_mode"] == AutoresetMode.DISABLED


def test_the_defaults_are_those_of_the_shipped_model():
    card = json.loads((ROOT / "models" / "best.json").read_text(encoding="utf-8"))
    defaults = asdict(DinoOptions())
    assert len(defaults) == 5
    assert defaults == {name: card["env"][name] for name in defaults}
    assert defaults == {name: getattr(DinoConfig(), name) for name in defaults}
    # Neither environment has a default of its own for one of them.
    assert inspect.signature(DinoVectorEnv).parameters.keys() & defaults.keys() == set()
    assert inspect.signature(DinoEnv).parameters.keys() & defaults.keys() == set()


def test_make_gives_the_environment_of_the_shipped_model(make_single):
    card = json.loads((ROOT / "models" / "best.json").read_text(encoding="utf-8"))
    env = gymnasium.make(DINO_ID)
    assert env.observation_space.shape == tuple(card["observation_shape"])
    assert env.action_space.n == card["num_actions"]
    assert env.metadata["render_fps"] == 60 / card["env"]["decision_interval_frames"]
    before, _ = env.reset(seed=3)
    newest = [before[..., -1]]
    for action in script_of_actions(3, 12):
        stack, reward, *_ = env.step(action)
        newest.append(stack[..., -1])
        assert reward == REWARDS[card["env"]["reward"]][0]
    assert env.unwrapped.game.observe().column("frames")[0] == 12 * card["env"]["decision_interval_frames"]
    for position, back in enumerate((6, 4, 2, 0)):
        np.testing.assert_array_equal(stack[..., position], newest[-1 - back])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"reward": "gold"}, "survival"),
        ({"num_actions": 4}, "num_actions"),
        ({"decision_interval_frames": 0}, "decision_interval_frames"),
        ({"stack_size": 0}, "stack_size"),
        ({"max_score": 0}, "max_score"),
        ({"max_episode_steps": -1}, "max_episode_steps"),
    ],
)
def test_wrong_options_are_named_before_a_browser_starts(options, named, monkeypatch):
    def refuse(*_):
        raise AssertionError("a browser was started")

    monkeypatch.setattr(env_module, "Arena", refuse)
    monkeypatch.setattr(env_module, "Game", refuse)
    for make in (DinoVectorEnv, DinoEnv):
        with pytest.raises(DinoError, match=named):
            make(**options)
        with pytest.raises(TypeError, match="colour"):
            make(colour="green")
    with pytest.raises(DinoError, match="num_envs"):
        DinoVectorEnv(0)
    with pytest.raises(DinoError, match="2 browsers"):
        DinoVectorEnv(1, browsers=2)
    with pytest.raises(DinoError, match="2 entries for 3 games"):
        DinoVectorEnv(3, game=[GameVariation()] * 2)


# --- Rendering, and the live clock -----------------------------------------------------------------------


def test_render_returns_the_canvas(make_vector, make_single):
    many = make_vector(render_mode="rgb_array", game=NEVER)
    many.reset(seed=0)
    observations, *_ = many.step(np.array([0, 1, 2]))
    for frame, observation in zip(many.render(), observations, strict=True):
        assert frame.shape == (150, 600, 3)
        assert frame.dtype == np.uint8
        assert np.abs(to_frame(frame).astype(int) - observation[..., -1]).max() <= 1
    one = make_single(render_mode="rgb_array", game=NEVER)
    observation, _ = one.reset(seed=0)
    assert np.abs(to_frame(one.render()).astype(int) - observation[..., -1]).max() <= 1
    assert make_single().render() is None


# Pixels that are not transparent, of each canvas as it is shown.
PAINTED = """
    const windows = [window, ...[...document.querySelectorAll("iframe")].map((frame) => frame.contentWindow)];
    return windows.filter((each) => each.DinoBridge).map((each) => {
      const { canvas } = each.DinoBridge.runner();
      const context = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
      context.drawImage(canvas, 0, 0);
      const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
      return data.filter((value, i) => i % 4 === 3 && value).length;
    });"""


@pytest.mark.parametrize("num_envs", [1, 2])
def test_a_window_shows_games_at_their_own_speed(num_envs, unseen_window, no_new_browsers):
    if num_envs == 1:
        env = gymnasium.make(DINO_ID, render_mode="human")
        actions, browser = 0, env.unwrapped.game.browser
    else:
        env = gymnasium.make_vec(DINO_ID, num_envs=num_envs, render_mode="human")
        actions, browser = np.zeros(num_envs, int), env.unwrapped.arena.browser
    try:
        env.reset(seed=0)
        env.step(actions)
        started = time.monotonic()
        for _ in range(15):
            env.step(actions)
        assert 0.45 < time.monotonic() - started < 2  # 15 steps of 2 frames
        assert env.render() is None
        painted = browser.driver.execute_script(PAINTED)
        assert len(painted) == num_envs
        assert min(painted) > 500
    finally:
        env.close()


def test_every_frame_can_be_recorded(make_single, game, monkeypatch):
    monkeypatch.setattr(game, "recording", True)  # `Borrowed` does not pass an assignment on
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
    task = DinoTask(DinoConfig(decision_interval_frames=3))
    env = task.make_single_env(PlayOptions(clock="live", url="chrome://dino", max_score=25))
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


def test_live_games_end_as_lock_step_games_do(no_new_browsers):
    env = DinoEnv("live", game=GameVariation(max_frames=60, rewind_share=1.0))
    try:
        for _ in range(2):
            _, info = env.reset()
            assert info["score"] <= 3
            rewards, truncated = [], False
            while not truncated:
                _, reward, terminated, truncated, info = env.step(0)
                rewards.append(reward)
                assert not terminated
            assert 15 <= len(rewards) <= 30
            assert set(rewards) == {0.01}
            assert 60 <= env.game.observe().column("frames")[0] < 75
    finally:
        env.close()

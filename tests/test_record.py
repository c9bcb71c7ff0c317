"""Films: files that open everywhere, and what is on them."""

import subprocess
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import cv2
import gymnasium
import imageio_ffmpeg
import numpy as np
import pytest
from conftest import film_facts, write_model
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dino_rl.errors import DinoError
from dino_rl.evaluate import random_policy
from dino_rl.record import HOLD_S, record_games
from dino_rl.results.overlay import CAPTION_HEIGHT, EYE, MARGIN, SIDE_WIDTH, Player, Thoughts, with_thoughts
from dino_rl.results.video import VideoWriter, enlarge


def pictures(count: int, height: int = 60, width: int = 80) -> list[np.ndarray]:
    """A white square that crosses a grey ground."""
    frames = np.full((count, height, width, 3), 90, np.uint8)
    for i, frame in enumerate(frames):
        frame[20:40, i % (width - 20) : i % (width - 20) + 20] = 255
    return list(frames)


def write_film(path, frames, fps=30):
    with VideoWriter(path, fps) as film:
        for frame in frames:
            film.add(frame)
    return path


def read_film(path) -> np.ndarray:
    """uint8 [N, H, W, 3]."""
    _, (width, height), _ = film_facts(path)
    raw = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), *f"-v error -i {path} -f rawvideo -pix_fmt rgb24 -".split()],
        capture_output=True,
        check=True,
    ).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


@pytest.mark.parametrize(("size", "even"), [((60, 80), (80, 60)), ((61, 83), (82, 60)), ((2, 3), (2, 2))])
def test_a_film_opens_anywhere(size, even, tmp_path):
    frames = [np.full((*size, 3), 10 * i, np.uint8) for i in range(20)]
    assert film_facts(write_film(tmp_path / "a" / "film.mp4", frames)) == (20, even, 30.0)


def test_a_film_shows_what_was_filmed(tmp_path):
    frames = pictures(40)
    seen = read_film(write_film(tmp_path / "film.mp4", frames))
    assert np.abs(seen.astype(int) - frames).mean() < 3


def test_a_film_is_whole_or_not_there(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_text("the film before")
    film = VideoWriter(path, 30)
    film.add(pictures(1)[0])
    assert path.read_text() == "the film before"
    film.close()
    assert film_facts(path)[0] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["film.mp4"]
    VideoWriter(tmp_path / "empty.mp4", 30).close()
    assert not (tmp_path / "empty.mp4").exists()


def test_a_film_has_one_size(tmp_path):
    with VideoWriter(tmp_path / "film.mp4", 30) as film:
        film.add(pictures(1)[0])
        with pytest.raises(ValueError, match="60, 82"):
            film.add(pictures(1, width=82)[0])


def test_a_film_needs_its_name_and_its_place(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("film.avi", "film", "file/film.mp4"):
        with pytest.raises(DinoError, match="film"):
            VideoWriter(tmp_path / name, 30)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.browser
def test_a_browser_plays_a_film(tmp_path, no_new_browsers):
    """The tutorials' videos did not; ours runs in the page of a real browser."""
    from dino_rl.browser.chrome import Browser

    write_film(tmp_path / "film.mp4", pictures(90))
    (tmp_path / "page.html").write_text("<video muted src='film.mp4'></video>")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        with Browser() as browser:
            browser.driver.get(f"http://127.0.0.1:{server.server_address[1]}/page.html")
            ask = """const v = document.querySelector("video");
                return {time: v.currentTime, size: [v.videoWidth, v.videoHeight], length: v.duration,
                        played: v.played.length ? [v.played.start(0), v.played.end(0)] : [],
                        error: v.error && v.error.message}"""
            assert browser.driver.execute_script(ask)["time"] == 0
            browser.driver.execute_script("document.querySelector('video').play()")
            deadline = time.monotonic() + 60
            while (seen := browser.driver.execute_script(ask))["time"] < 0.5:
                assert seen["error"] is None
                assert time.monotonic() < deadline, f"the film stands still: {seen}"
                time.sleep(0.05)
            assert seen["size"] == [80, 60]
            assert seen["length"] == pytest.approx(3.0, abs=0.1)
            assert seen["played"][0] == pytest.approx(0.0, abs=0.1)  # all of it, and not by a jump
            assert seen["played"][1] > 0.4
    finally:
        server.shutdown()
        server.server_close()


# --- What is drawn ---------------------------------------------------------------------------------------

EYE_PICTURE = np.tile(np.arange(80, dtype=np.uint8) * 3, (80, 1))


@pytest.mark.parametrize(
    ("shape", "enlarged"),
    [((150, 600), (300, 1200)), ((210, 160), (420, 320)), ((400, 600), (400, 600)), ((900, 900), (900, 900))],
)
def test_small_pictures_are_enlarged(shape, enlarged):
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    large = enlarge(picture)
    assert large.shape == (*enlarged, 3)
    times = enlarged[0] // shape[0]
    np.testing.assert_array_equal(large[times - 1 :: times, ::times], picture)


@pytest.mark.parametrize("shape", [(300, 1200), (400, 600), (120, 160)])
@pytest.mark.parametrize("sees", [True, False])
@pytest.mark.parametrize("values", [None, (0.5, 0.1, 0.3)])
def test_a_panel_stands_beside_the_game(shape, sees, values):
    canvas = np.full((*shape, 3), 120, np.uint8)
    values = None if values is None else np.array(values)
    names = ("nothing", "jump", "duck")
    player, thoughts = Player("random play", names), Thoughts("7", 1, values, EYE_PICTURE if sees else None)
    first, second = with_thoughts([canvas, canvas + 1], player, thoughts)
    height, width = shape
    np.testing.assert_array_equal(first[:height, :width], canvas)
    np.testing.assert_array_equal(second[:height, :width], canvas + 1)
    wide = width > 2 * height
    assert first.shape[1] == (width if wide else width + SIDE_WIDTH)
    panel = first[height:] if wide else first[:, width:]
    eye = panel[MARGIN : MARGIN + EYE, MARGIN : MARGIN + EYE]
    expected = cv2.resize(EYE_PICTURE, (EYE, EYE), interpolation=cv2.INTER_NEAREST)
    assert (eye == expected[..., None]).all() == sees
    if sees:
        assert len(panel) >= EYE + CAPTION_HEIGHT + 2 * MARGIN
    lengths = [(panel == colour).all(axis=2).sum() for colour in ((0x1A, 0x7F, 0x64), (0xC9, 0xD1, 0xD9))]
    assert lengths[0] > 0  # the bar of the action that was taken
    if values is not None:  # it was the worst one
        assert lengths[1] > 5 * lengths[0]


def test_no_pictures_no_panel():
    assert with_thoughts([], Player("", ("a",)), Thoughts("", 0)) == []


# --- Who plays -------------------------------------------------------------------------------------------


def cartpole() -> SyncVectorEnv:
    make = partial(gymnasium.make, "CartPole-v1", render_mode="rgb_array_list")
    return SyncVectorEnv([make], autoreset_mode=AutoresetMode.DISABLED)


def test_every_picture_of_every_game_is_filmed(tmp_path):
    pytest.importorskip("pygame")
    env = cartpole()
    chance = random_policy(2)
    played = record_games(env, lambda seen: (chance(seen), None), [5, 6], tmp_path / "film.mp4")
    fps = env.metadata["render_fps"]
    env.close()
    frames, size, filmed_fps = film_facts(tmp_path / "film.mp4")
    assert (size, filmed_fps) == ((600, 400), fps)
    assert frames == sum(game.length + 1 + round(HOLD_S * fps) for game in played.games)
    pictures = read_film(tmp_path / "film.mp4")[..., 0].astype(np.int16)
    moved = np.abs(np.diff(pictures, axis=0)).max(axis=(1, 2)) > 30
    held = moved[played.games[0].length + 1 :][: round(HOLD_S * fps) - 1]
    assert moved[: played.games[0].length - 1].mean() > 0.8
    assert not held.any()


def test_a_game_that_goes_on_is_cut_off(tmp_path):
    pytest.importorskip("pygame")
    env = cartpole()
    chance = random_policy(2)
    film = tmp_path / "film.mp4"
    played = record_games(env, lambda seen: (chance(seen), None), [5, 6], film, max_s=0.1)
    env.close()
    assert [game.length for game in played.games] == [4, 4]  # and the start, at 50 frames a second
    assert all(game.capped for game in played.games)
    assert film_facts(film)[0] == 2 * (5 + 50)


def untrained_model(path, env_id: str):
    """As training begins."""
    from dino_rl.agents.algorithms import make_network
    from dino_rl.envs.catalog import default_settings, interface, make_single_env
    from dino_rl.results.model import Model, model_card, save_model

    settings = default_settings(env_id)
    env = make_single_env(settings.env)
    made_for = interface(env, settings.env)
    env.close()
    network = make_network(settings, made_for.observation_shape, len(made_for.actions))
    save_model(path, network, model_card(settings, made_for))
    return Model(path)


@pytest.mark.parametrize(
    ("env_id", "package"),
    [("LunarLander-v3", "Box2D"), ("ALE/Breakout-v5", "ale_py")],
)
def test_other_games_before_and_after_training(env_id, package, tmp_path):
    from dino_rl.record import record_model

    pytest.importorskip(package)
    model = untrained_model(tmp_path / "model.h5", env_id)
    told = []
    options = {"before": True, "overlay": True, "max_s": 1, "on_film": lambda *what: told.append(what[:2])}
    films = record_model(model, tmp_path / "after.mp4", [3], **options)
    assert [film.name for film in films] == ["before.mp4", "after.mp4"]
    assert told == [("random play", films[0]), ("the trained player", films[1])]
    for film in films:
        frames, (width, _), fps = film_facts(film)
        assert fps == {"LunarLander-v3": 50, "ALE/Breakout-v5": 60}[env_id]  # the games' own speed
        assert frames <= (1 + HOLD_S) * fps + 4  # a step of Breakout is four frames
        assert frames >= 20
        assert width > SIDE_WIDTH
    picture = read_film(films[1])[-1]
    assert (picture[:, -SIDE_WIDTH:] > 250).mean() > 0.5  # the panel is mostly white


def test_an_interrupted_game_is_on_film(tmp_path):
    pytest.importorskip("pygame")
    env = cartpole()
    steps = iter(range(10))

    def ten_steps(observations):
        try:
            return np.array([next(steps) % 2]), np.array([[0.5, 0.4]])
        except StopIteration:
            raise KeyboardInterrupt from None

    with pytest.raises(KeyboardInterrupt):
        record_games(env, ten_steps, [1], tmp_path / "film.mp4", Player("me", ("left", "right")))
    env.close()
    assert film_facts(tmp_path / "film.mp4")[:2] == (11, (600 + SIDE_WIDTH, 400))


@pytest.mark.browser
def test_the_dino_before_and_after_training(tmp_path, cli, monkeypatch, no_new_browsers):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    run = tmp_path / "run"
    run.mkdir()
    (run / "run.json").write_text('{"settings": {"env": {"id": "ChromeDino-v0"}}}')
    write_model(run / "best.h5")
    arguments = ("--before-after", "--overlay", "--seconds", 1.5, "--seed", 3)
    code, out, err = cli("record", "--model", run, *arguments)
    assert (code, err) == (0, "")
    films = [run / "videos" / name for name in ("before.mp4", "after.mp4")]
    for film in films:
        assert str(film) in out
        frames, (width, height), fps = film_facts(film)
        assert fps == 60
        assert 90 <= frames - round(HOLD_S * 60) <= 94  # nothing to run into so early
        assert width > 1000
        assert height == 300 + 2 * MARGIN + EYE + CAPTION_HEIGHT
    assert "random play" in out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--out", "film.avi"), "film.avi"),
        (("--out", "film.mp4", "--before-after"), "--before-after"),
        (("--model", "nothing.h5"), "nothing.h5"),
    ],
)
def test_what_cannot_be_filmed(arguments, word, model_file, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = cli("record", "--model", model_file, *arguments)
    assert code == 2
    assert word in err
    assert list(tmp_path.iterdir()) == []

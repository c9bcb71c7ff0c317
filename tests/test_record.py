"""Videos: files that open everywhere, and what they show."""

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
from conftest import video_facts, write_model
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from PIL import Image

from dino_rl.errors import DinoError
from dino_rl.recorder import HOLD_S, record_games, record_model
from dino_rl.runs.overlay import (
    CAPTION_HEIGHT,
    FRAME_SIDE,
    MARGIN,
    SIDE_WIDTH,
    Decision,
    PanelLabels,
    with_panel,
)
from dino_rl.runs.video import VideoWriter, enlarge
from dino_rl.training.faults import ReplaceableEnvs
from dino_rl.training.rollout import random_policy


def canvases(count: int, height: int = 60, width: int = 80) -> list[np.ndarray]:
    """A white square that crosses a grey canvas."""
    frames = np.full((count, height, width, 3), 90, np.uint8)
    for i, frame in enumerate(frames):
        frame[20:40, i % (width - 20) : i % (width - 20) + 20] = 255
    return list(frames)


def write_video(path, frames, fps=30):
    with VideoWriter(path, fps) as video:
        for frame in frames:
            video.add(frame)
    return path


def read_video(path) -> np.ndarray:
    """uint8 [N, H, W, 3]."""
    _, (width, height), _ = video_facts(path)
    raw = subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), *f"-v error -i {path} -f rawvideo -pix_fmt rgb24 -".split()],
        capture_output=True,
        check=True,
    ).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


@pytest.mark.parametrize(("size", "even"), [((60, 80), (80, 60)), ((61, 83), (82, 60)), ((2, 3), (2, 2))])
def test_a_video_opens_anywhere(size, even, tmp_path):
    frames = [np.full((*size, 3), 10 * i, np.uint8) for i in range(20)]
    assert video_facts(write_video(tmp_path / "a" / "video.mp4", frames)) == (20, even, 30.0)


def test_a_video_shows_what_was_recorded(tmp_path):
    frames = canvases(40)
    seen = read_video(write_video(tmp_path / "video.mp4", frames))
    assert np.abs(seen.astype(int) - frames).mean() < 3


def test_a_video_is_whole_or_not_there(tmp_path):
    path = tmp_path / "video.mp4"
    path.write_text("the video before")
    video = VideoWriter(path, 30)
    video.add(canvases(1)[0])
    assert path.read_text() == "the video before"
    video.close()
    assert video_facts(path)[0] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["video.mp4"]
    VideoWriter(tmp_path / "empty.mp4", 30).close()
    assert not (tmp_path / "empty.mp4").exists()


def test_a_video_has_one_size(tmp_path):
    with VideoWriter(tmp_path / "video.mp4", 30) as video:
        video.add(canvases(1)[0])
        with pytest.raises(ValueError, match="60, 82"):
            video.add(canvases(1, width=82)[0])


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_an_animation_for_a_page(suffix, tmp_path):
    path = write_video(tmp_path / f"play{suffix}", canvases(60))
    with Image.open(path) as animation:
        assert animation.n_frames == pytest.approx(60 * 20 / 30, abs=2)  # 20 a second of 30
        assert animation.size[0] == 640
        assert animation.info.get("loop") == 0  # for ever


def test_a_video_needs_its_name_and_its_place(tmp_path):
    (tmp_path / "file").write_text("")
    for name in ("video.avi", "video", "file/video.mp4", "file/video.webp"):
        with pytest.raises(DinoError, match="video"):
            VideoWriter(tmp_path / name, 30)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.mark.browser
def test_a_browser_plays_a_video(tmp_path, no_new_browsers):
    """Videos of the tutorials did not play; these play in the page of a real browser."""
    from dino_rl.browser.chrome import Browser

    write_video(tmp_path / "video.mp4", canvases(90))
    (tmp_path / "page.html").write_text("<video muted src='video.mp4'></video>")
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
                assert time.monotonic() < deadline, f"the video stands still: {seen}"
                time.sleep(0.05)
            assert seen["size"] == [80, 60]
            assert seen["length"] == pytest.approx(3.0, abs=0.1)
            assert seen["played"][0] == pytest.approx(0.0, abs=0.1)  # all of it, and not by a jump
            assert seen["played"][1] > 0.4
    finally:
        server.shutdown()
        server.server_close()


# --- What is drawn ---------------------------------------------------------------------------------------

FRAME = np.tile(np.arange(80, dtype=np.uint8) * 3, (80, 1))


@pytest.mark.parametrize(
    ("shape", "enlarged"),
    [((150, 600), (300, 1200)), ((210, 160), (420, 320)), ((400, 600), (400, 600)), ((900, 900), (900, 900))],
)
def test_small_canvases_are_enlarged(shape, enlarged):
    canvas = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    large = enlarge(canvas)
    assert large.shape == (*enlarged, 3)
    times = enlarged[0] // shape[0]
    np.testing.assert_array_equal(large[times - 1 :: times, ::times], canvas)


@pytest.mark.parametrize("shape", [(300, 1200), (400, 600), (120, 160)])
@pytest.mark.parametrize("sees", [True, False])
@pytest.mark.parametrize("values", [None, (0.5, 0.1, 0.3)])
def test_a_panel_is_beside_the_game(shape, sees, values):
    canvas = np.full((*shape, 3), 120, np.uint8)
    values = None if values is None else np.array(values)
    names = ("nothing", "jump", "duck")
    decision = Decision("7", 1, values, FRAME if sees else None)
    first, second = with_panel([canvas, canvas + 1], PanelLabels("random play", names), decision)
    height, width = shape
    np.testing.assert_array_equal(first[:height, :width], canvas)
    np.testing.assert_array_equal(second[:height, :width], canvas + 1)
    wide = width > 2 * height
    assert first.shape[1] == (width if wide else width + SIDE_WIDTH)
    panel = first[height:] if wide else first[:, width:]
    shown = panel[MARGIN : MARGIN + FRAME_SIDE, MARGIN : MARGIN + FRAME_SIDE]
    expected = cv2.resize(FRAME, (FRAME_SIDE, FRAME_SIDE), interpolation=cv2.INTER_NEAREST)
    assert (shown == expected[..., None]).all() == sees
    if sees:
        assert len(panel) >= FRAME_SIDE + CAPTION_HEIGHT + 2 * MARGIN
    lengths = [(panel == colour).all(axis=2).sum() for colour in ((0x1A, 0x7F, 0x64), (0xC9, 0xD1, 0xD9))]
    assert lengths[0] > 0  # the bar of the chosen action
    if values is not None:  # it was the worst one
        assert lengths[1] > 5 * lengths[0]


def test_no_canvases_no_panel():
    assert with_panel([], PanelLabels("", ("a",)), Decision("", 0)) == []


# --- Who plays -------------------------------------------------------------------------------------------


def cartpole() -> SyncVectorEnv:
    make = partial(gymnasium.make, "CartPole-v1", render_mode="rgb_array_list")
    return SyncVectorEnv([make], autoreset_mode=AutoresetMode.DISABLED)


def test_every_frame_of_every_game_is_recorded(tmp_path):
    pytest.importorskip("pygame")
    env = cartpole()
    chance = random_policy(2)
    played = record_games(
        ReplaceableEnvs(lambda: [env]), lambda seen: (chance(seen), None), [5, 6], tmp_path / "video.mp4"
    )
    fps = env.metadata["render_fps"]
    env.close()
    count, size, recorded_fps = video_facts(tmp_path / "video.mp4")
    assert (size, recorded_fps) == ((600, 400), fps)
    assert count == sum(episode.length + 1 + round(HOLD_S * fps) for episode in played.episodes)
    frames = read_video(tmp_path / "video.mp4")[..., 0].astype(np.int16)
    moved = np.abs(np.diff(frames, axis=0)).max(axis=(1, 2)) > 30
    held = moved[played.episodes[0].length + 1 :][: round(HOLD_S * fps) - 1]
    assert moved[: played.episodes[0].length - 1].mean() > 0.8
    assert not held.any()


def test_a_game_that_goes_on_is_cut_off(tmp_path):
    pytest.importorskip("pygame")
    env = cartpole()
    chance = random_policy(2)
    video = tmp_path / "video.mp4"
    played = record_games(
        ReplaceableEnvs(lambda: [env]), lambda seen: (chance(seen), None), [5, 6], video, max_s=0.1
    )
    env.close()
    assert [episode.length for episode in played.episodes] == [4, 4]  # and the start, at 50 frames a second
    assert all(episode.capped for episode in played.episodes)
    assert video_facts(video)[0] == 2 * (5 + 50)


def untrained_model(path, env_id: str):
    """A player at the start of training."""
    from dino_rl.envs.registry import make_task
    from dino_rl.experiment import model_card
    from dino_rl.player import build_network, load_player
    from dino_rl.presets import default_for
    from dino_rl.runs.model_file import save_model

    config = default_for(env_id, "dqn", "keras")
    task = make_task(config.env)
    network = build_network(config, task.spec.observation.shape, task.spec.num_actions)
    save_model(path, network, model_card(config, task))
    return load_player(path)


@pytest.mark.parametrize(
    ("env_id", "package"),
    [("LunarLander-v3", "Box2D"), ("ALE/Breakout-v5", "ale_py")],
)
def test_other_games_before_and_after_training(env_id, package, tmp_path):
    pytest.importorskip(package)
    player = untrained_model(tmp_path / "model.h5", env_id)
    reported = []
    options = {"before": True, "overlay": True, "max_s": 1, "on_video": lambda *of: reported.append(of[:2])}
    videos = record_model(player, tmp_path / "after.mp4", [3], **options)
    assert [video.name for video in videos] == ["before.mp4", "after.mp4"]
    assert reported == [("random play", videos[0]), ("trained agent", videos[1])]
    for video in videos:
        frames, (width, _), fps = video_facts(video)
        assert fps == {"LunarLander-v3": 50, "ALE/Breakout-v5": 60}[env_id]  # the games' own speed
        assert frames <= (1 + HOLD_S) * fps + 4  # a step of Breakout is four frames
        assert frames >= 20
        assert width > SIDE_WIDTH
    last = read_video(videos[1])[-1]
    assert (last[:, -SIDE_WIDTH:] > 250).mean() > 0.5  # the panel is mostly white


def test_an_interrupted_game_is_recorded(tmp_path):
    pytest.importorskip("pygame")
    env = cartpole()
    steps = iter(range(10))

    def ten_steps(observations):
        try:
            return np.array([next(steps) % 2]), np.array([[0.5, 0.4]])
        except StopIteration:
            raise KeyboardInterrupt from None

    with pytest.raises(KeyboardInterrupt):
        record_games(
            ReplaceableEnvs(lambda: [env]),
            ten_steps,
            [1],
            tmp_path / "video.mp4",
            PanelLabels("me", ("left", "right")),
        )
    env.close()
    assert video_facts(tmp_path / "video.mp4")[:2] == (11, (600 + SIDE_WIDTH, 400))


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
    videos = [run / "videos" / name for name in ("before.mp4", "after.mp4")]
    for video in videos:
        assert str(video) in out
        frames, (width, height), fps = video_facts(video)
        assert fps == 60
        assert 90 <= frames - round(HOLD_S * 60) <= 94  # nothing to run into so early
        assert width > 1000
        assert height == 300 + 2 * MARGIN + FRAME_SIDE + CAPTION_HEIGHT
    assert "random play" in out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--out", "video.avi"), "video.avi"),
        (("--out", "video.mp4", "--before-after"), "--before-after"),
        (("--model", "nothing.h5"), "nothing.h5"),
    ],
)
def test_what_cannot_be_recorded(arguments, word, model_file, cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = cli("record", "--model", model_file, *arguments)
    assert code == 2
    assert word in err
    assert list(tmp_path.iterdir()) == []

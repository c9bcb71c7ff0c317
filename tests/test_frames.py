"""The agent's frame: three ways to compute it, one result."""

import base64

import numpy as np
import pytest
from conftest import script_of_actions

from dino_rl.browser.frames import SIZE, TOP, decode_png, to_frame
from dino_rl.browser.game_settings import GameSettings

pytestmark = pytest.mark.browser

# One game step, and its frame computed in three ways: display list, canvas read back in the page, PNG.
STEP_AND_COMPARE = """
    const [action, frames] = arguments;
    const bytes = () => new Uint8Array(DinoAgentFrame.BYTES);
    const text = (array) => btoa(String.fromCharCode.apply(null, array));
    DinoBridge.step(action, frames);
    const drawn = bytes(), read = bytes();
    DinoBridge.agentFrame(drawn, 0);
    const canvas = DinoBridge.canvas();
    new DinoAgentFrame(canvas.width, canvas.height).fromCanvas(canvas, read, 0);
    const r = DinoBridge.runner();
    return {
      drawn: text(drawn), read: text(read), png: DinoBridge.png(), crashed: r.crashed,
      night: r.horizon.nightMode.opacity > 0, jumping: r.tRex.jumping, ducking: r.tRex.ducking,
      bird: r.horizon.obstacles.some((o) => o.typeConfig.type === "pterodactyl" && o.xPos < 600),
      cactus: r.horizon.obstacles.some((o) => o.typeConfig.type !== "pterodactyl" && o.xPos < 600),
    };"""
SIGHTS = ("night", "jumping", "ducking", "crashed", "bird", "cactus")


def decode(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(SIZE, SIZE)


def compare(game, count: int) -> tuple[np.ndarray, dict[str, int]]:
    """Frames [3, N, 80, 80] of a careless player's games, and how many of them show each sight."""
    frames, seen = [], dict.fromkeys(SIGHTS, 0)
    seed = 0
    while len(frames) < count:
        fast = GameSettings(start_speed=6.0 + 2 * (seed % 4), clear_time_ms=500.0, dino_x=7 * seed % 50)
        game.restart(seed, fast)
        game.browser.driver.execute_script("DinoBridge.runner().config.invertDistance = 15")
        for action in script_of_actions(seed, 400):
            result = game.browser.driver.execute_script(STEP_AND_COMPARE, action, 3)
            frames.append(
                [decode(result["drawn"]), decode(result["read"]), to_frame(decode_png(result["png"]))]
            )
            for sight in SIGHTS:
                seen[sight] += result[sight]
            if result["crashed"]:
                break
        seed += 1
    return np.array(frames, int).swapaxes(0, 1), seen


def assert_equal_frames(game, count: int):
    (drawn, read, reference), seen = compare(game, count)
    assert min(seen.values()) >= 3, f"a sight is missing: {seen}"
    assert len({image.tobytes() for image in reference}) > 0.9 * len(reference)
    assert reference.min() < 120
    assert (reference == 255).mean() > 0.5
    for ours in (drawn, read):
        assert (np.abs(ours - reference) <= 1).mean() >= 0.999
        assert np.abs(ours - reference).max() <= 3  # the share above allows no single wrong pixel


def test_display_list_canvas_and_reference_agree(game):
    assert_equal_frames(game, 320)


@pytest.mark.learning
@pytest.mark.timeout(900)
def test_display_list_canvas_and_reference_agree_for_long(game):
    assert_equal_frames(game, 3000)


def test_frames_stay_correct_when_their_stamps_are_large_and_restart(game):
    """Each frame has a number of 24 bits; a training run computes more frames than that."""
    game.restart(3, GameSettings(start_speed=9.0, clear_time_ms=300.0))
    game.step(0, 60)
    frames = game.browser.driver.execute_script("""
        const { width, height } = DinoBridge.canvas();
        return [1, 2 ** 23 - 2, 2 ** 23, 2 ** 24 - 2].map((stamp) => {
          const converter = new DinoAgentFrame(width, height);
          converter.stamp = stamp;
          // One sprite half over another: what is under it counts.
          const draws = DinoBridge.draws().flatMap((draw) => [draw, { ...draw, x: draw.x + 3, alpha: 0.5 }]);
          const out = new Uint8Array(DinoAgentFrame.BYTES);
          return [0, 1, 2].map(() => (converter.fromDraws(draws, out, 0), String(out)));
        });""")
    assert len({text for texts in frames for text in texts}) == 1


def test_a_step_returns_that_frame(game):
    game.restart(3)
    for action in script_of_actions(3, 20):
        observation = game.step(action, 4)
        difference = observation.frames[0].astype(int) - to_frame(game.canvas())
        assert np.abs(difference).max() <= 1
        assert observation.frames.dtype == np.uint8


def test_the_score_is_not_in_the_frame(game):
    results = []
    for distance in (0, 401_000):
        game.restart(1)
        game.browser.driver.execute_script("DinoBridge.runner().distanceRan += arguments[0]", distance)
        results.append((game.step(0, 1).frames[0], game.canvas()))
    (frame, canvas), (far_frame, far_canvas) = results
    assert (canvas[:TOP] != far_canvas[:TOP]).any()  # other digits
    np.testing.assert_array_equal(canvas[TOP:], far_canvas[TOP:])
    np.testing.assert_array_equal(frame, far_frame)


def test_transparency_is_white(game):
    game.restart(2)
    observation = game.step(0, 4)
    assert observation.frames[0][0, 0] == 255
    assert (observation.frames[0] == 255).mean() > 0.7

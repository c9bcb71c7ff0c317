"""The agent's picture: three ways to compute it, one picture."""

import base64

import numpy as np
import pytest
from conftest import script_of_actions

from dino_rl.browser.frames import SIZE, TOP, decode_png, to_picture
from dino_rl.settings import GameSettings

pytestmark = pytest.mark.browser

# One game step, and the picture by all three ways: the display list, the canvas read back in the page, a PNG.
STEP_AND_LOOK = """
    const [action, frames] = arguments;
    const bytes = () => new Uint8Array(DinoPicture.BYTES);
    const text = (array) => btoa(String.fromCharCode.apply(null, array));
    DinoBridge.step(action, frames);
    const drawn = bytes(), read = bytes();
    DinoBridge.picture(drawn, 0);
    const canvas = DinoBridge.canvas();
    new DinoPicture(canvas.width, canvas.height).fromCanvas(canvas, read, 0);
    const r = DinoBridge.runner();
    return {
      drawn: text(drawn), read: text(read), png: DinoBridge.png(), crashed: r.crashed,
      night: r.horizon.nightMode.opacity > 0, jumping: r.tRex.jumping, ducking: r.tRex.ducking,
      bird: r.horizon.obstacles.some((o) => o.typeConfig.type === "pterodactyl" && o.xPos < 600),
      cactus: r.horizon.obstacles.some((o) => o.typeConfig.type !== "pterodactyl" && o.xPos < 600),
    };"""
SIGHTS = ("night", "jumping", "ducking", "crashed", "bird", "cactus")


def picture(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(SIZE, SIZE)


def look_at(game, frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, int]]:
    """Pictures [3, N, 80, 80] of a careless player's games, and how many frames show each sight."""
    pictures, seen = [], dict.fromkeys(SIGHTS, 0)
    seed = 0
    while len(pictures) < frames:
        fast = GameSettings(start_speed=6.0 + 2 * (seed % 4), clear_time_ms=500.0, dino_x=7 * seed % 50)
        game.restart(seed, fast)
        game.browser.driver.execute_script("DinoBridge.runner().config.invertDistance = 15")
        for action in script_of_actions(seed, 400):
            shot = game.browser.driver.execute_script(STEP_AND_LOOK, action, 3)
            pictures.append(
                [picture(shot["drawn"]), picture(shot["read"]), to_picture(decode_png(shot["png"]))]
            )
            for sight in SIGHTS:
                seen[sight] += shot[sight]
            if shot["crashed"]:
                break
        seed += 1
    return np.array(pictures, int).swapaxes(0, 1), seen


def assert_one_picture(game, frames: int):
    (drawn, read, reference), seen = look_at(game, frames)
    assert min(seen.values()) >= 3, f"a sight is missing: {seen}"
    assert len({image.tobytes() for image in reference}) > 0.9 * len(reference)
    assert reference.min() < 120
    assert (reference == 255).mean() > 0.5
    for ours in (drawn, read):
        assert (np.abs(ours - reference) <= 1).mean() >= 0.999
        assert np.abs(ours - reference).max() <= 3  # no lone wrong pixel hides in the share above


def test_display_list_canvas_and_reference_agree(game):
    assert_one_picture(game, 320)


@pytest.mark.learning
@pytest.mark.timeout(900)
def test_display_list_canvas_and_reference_agree_for_long(game):
    assert_one_picture(game, 3000)


def test_pictures_stay_right_when_their_stamps_are_large_and_begin_anew(game):
    """Each picture has a number of 24 bits; a training run makes more pictures than that."""
    game.restart(3, GameSettings(start_speed=9.0, clear_time_ms=300.0))
    game.step(0, 60)
    pictures = game.browser.driver.execute_script("""
        const { width, height } = DinoBridge.canvas();
        return [1, 2 ** 23 - 2, 2 ** 23, 2 ** 24 - 2].map((stamp) => {
          const reader = new DinoPicture(width, height);
          reader.stamp = stamp;
          // One sprite half over another: what lies under it counts.
          const draws = DinoBridge.draws().flatMap((draw) => [draw, { ...draw, x: draw.x + 3, alpha: 0.5 }]);
          const out = new Uint8Array(DinoPicture.BYTES);
          return [0, 1, 2].map(() => (reader.fromDraws(draws, out, 0), String(out)));
        });""")
    assert len({text for texts in pictures for text in texts}) == 1


def test_a_step_returns_that_picture(game):
    game.restart(3)
    for action in script_of_actions(3, 20):
        observation = game.step(action, 4)
        difference = observation.pictures[0].astype(int) - to_picture(game.canvas())
        assert np.abs(difference).max() <= 1
        assert observation.pictures.dtype == np.uint8


def test_the_score_is_not_in_the_picture(game):
    shots = []
    for distance in (0, 401_000):
        game.restart(1)
        game.browser.driver.execute_script("DinoBridge.runner().distanceRan += arguments[0]", distance)
        shots.append((game.step(0, 1).pictures[0], game.canvas()))
    (picture, canvas), (far_picture, far_canvas) = shots
    assert (canvas[:TOP] != far_canvas[:TOP]).any()  # other digits
    np.testing.assert_array_equal(canvas[TOP:], far_canvas[TOP:])
    np.testing.assert_array_equal(picture, far_picture)


def test_transparency_is_white(game):
    game.restart(2)
    observation = game.step(0, 4)
    assert observation.pictures[0][0, 0] == 255
    assert (observation.pictures[0] == 255).mean() > 0.7

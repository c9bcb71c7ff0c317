"""The race of a person against the agent: the real page in the real browser."""

import http.client
import re
import time
from collections.abc import Iterator
from dataclasses import asdict

import pytest
from conftest import ROOT, command, finish
from test_cli import refused
from test_export import free_port, printed, printed_url

from dino_rl.browser.chrome import Browser
from dino_rl.browser.devtools import DevTools
from dino_rl.browser.game_settings import GameSettings
from dino_rl.browser.page import game_page
from dino_rl.browser.server import PageServer

TOKEN = "a-token"
# A person who jumps over what comes near.
SCRIPTED_PERSON = """
window.person = setInterval(() => {
  const { phase, lanes: [you] } = DinoRace.state();
  const near = phase === "running" && you.obstacles.some(([, , x]) => x > 60 && x < 150);
  document.dispatchEvent(new KeyboardEvent(near ? "keydown" : "keyup", { code: "Space", bubbles: true }));
}, 5)
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def server(browser) -> Iterator[PageServer]:
    player = (ROOT / "models" / "player.js").read_text(encoding="utf-8")
    server = PageServer(game_page(browser), player, token=TOKEN)
    yield server
    server.close()


class RacePage:
    def __init__(self, browser: Browser, server: PageServer, query: str):
        browser.open(f"{server.url}/game/race.html?{query}")
        self.devtools = DevTools(browser)
        self.wait("phase === 'ready'", 60)

    def state(self) -> dict:
        return self.devtools.evaluate("DinoRace.state()")

    def wait(self, condition: str, seconds: float = 60) -> dict:
        deadline = time.monotonic() + seconds
        expression = (
            f"typeof DinoRace === 'object' && (({{ phase, frames, lanes }}) => {condition})(DinoRace.state())"
        )
        while not self.devtools.evaluate(expression):
            assert time.monotonic() < deadline, f"{condition}: {self.state()}, {self.message()}"
            time.sleep(0.02)
        return self.state()

    def message(self) -> str:
        return self.devtools.evaluate("document.querySelector('#message').textContent")

    def key(self, kind: str, code: str = "Space", number: int = 32):
        event = {"type": kind, "key": " " if code == "Space" else code, "code": code}
        self.devtools.post("Input.dispatchKeyEvent", event | {"windowsVirtualKeyCode": number})

    def start(self):
        time.sleep(1)  # the end of a round is shown for a moment
        self.key("rawKeyDown")
        self.key("keyUp")
        self.wait("phase === 'running'")


@pytest.fixture
def race(browser, server):
    pages = []

    def open_page(query: str = "seed=3&handicap=0") -> RacePage:
        pages.append(RacePage(browser, server, query))
        return pages[-1]

    yield open_page
    for page in pages:
        page.devtools.close()


@pytest.mark.browser
def test_a_person_who_does_nothing_loses_and_gets_a_rematch(race):
    page = race()
    assert page.devtools.evaluate("DinoRace.SETTINGS") == {
        **asdict(GameSettings()),
        "action_delay": list(GameSettings().action_delay),
    }
    for number in (1, 2):
        page.start()
        # The same obstacles, in the same places, while both run.
        seen = page.wait("phase === 'running' && lanes.every((lane) => lane.obstacles.length > 0)")
        you, agent = seen["lanes"]
        assert you["obstacles"] == agent["obstacles"]
        ended = page.wait("phase !== 'running'")
        you, agent = ended["lanes"]
        assert (you["crashed"], agent["crashed"]) == (True, False)
        assert (you["wins"], agent["wins"]) == (0, number)
        assert abs(you["score"] - agent["score"]) <= 1
        assert you["score"] > 20
        assert ended["seed"] == 3 + number - 1
    assert ended["phase"] == "over"
    assert "The agent wins the match, 2 to 0" in page.message()
    assert page.devtools.evaluate("document.querySelector('#go').textContent") == "Rematch"
    time.sleep(1)
    page.devtools.evaluate("document.querySelector('#go').click()")
    again = page.wait("phase === 'running'")
    assert again["round"] == 1
    assert [lane["wins"] for lane in again["lanes"]] == [0, 0]


@pytest.mark.browser
def test_a_person_who_jumps_beats_an_agent_that_reacts_late(race):
    page = race("seed=3&handicap=30")
    assert page.devtools.evaluate("document.querySelector('#handicap').value") == "30"
    page.devtools.evaluate(SCRIPTED_PERSON)
    for number in (1, 2):
        page.start()
        you, agent = page.wait("phase !== 'running'")["lanes"]
        assert (you["crashed"], agent["crashed"]) == (False, True)
        assert (you["wins"], agent["wins"]) == (number, 0)
    assert "You win the match, 2 to 0" in page.message()


@pytest.mark.browser
def test_keys_and_touches_are_the_persons_alone(race, browser):
    page = race()
    page.start()
    page.key("rawKeyDown", "ArrowDown", 40)
    assert not page.wait("lanes[0].ducking")["lanes"][1]["ducking"]
    page.key("keyUp", "ArrowDown", 40)
    page.wait("!lanes[0].ducking")
    box = page.devtools.evaluate(
        "(({ x, y, width, height }) => [x + width / 2, y + height / 2])"
        "(document.querySelector('.you canvas').getBoundingClientRect())"
    )
    point = {"x": box[0], "y": box[1], "id": 1}
    page.devtools.post("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    page.wait("lanes[0].jumping")
    page.devtools.post("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait("!lanes[0].jumping")


@pytest.mark.browser
def test_a_short_tap_between_two_frames_counts(race):
    page = race()
    page.start()
    page.devtools.evaluate(
        "for (const type of ['keydown', 'keyup'])"
        " document.dispatchEvent(new KeyboardEvent(type, { code: 'ArrowUp', bubbles: true }))"
    )
    page.wait("lanes[0].jumping", 10)


WIDTHS = (1440, 1024, 390)


@pytest.mark.browser
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_any_window(width, race, browser):
    ratio = 3 if width < 600 else 1
    metrics = {"width": width, "height": 844, "deviceScaleFactor": ratio, "mobile": width < 600}
    browser.cdp("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page = race()
        page.start()
        page.wait("frames > 20")
        assert page.devtools.evaluate("document.documentElement.scrollWidth") <= width
        right = page.devtools.evaluate(
            "Math.max(...[...document.querySelectorAll('.lane, button, select')]"
            ".map((one) => one.getBoundingClientRect().right))"
        )
        assert right <= width
    finally:
        browser.cdp("Emulation.clearDeviceMetricsOverride", {})


def get(server: PageServer, path: str, **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request("GET", path, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.mark.browser
def test_without_the_token_nothing_is_served(server):
    for path in ("/", "/player.js", "/dino.html", "/game/race.html"):
        assert get(server, f"/{TOKEN}{path}") == 200
        assert get(server, path) == 404
        assert get(server, f"/{TOKEN[:-1]}{path}") == 404
        assert get(server, f"/{TOKEN}{path}", Origin="https://evil.example") == 403
        assert get(server, f"/{TOKEN}{path}", Host=f"evil.example:{server.port}") == 403
    assert get(server, f"/{TOKEN}/", Origin=f"http://127.0.0.1:{server.port}") == 200
    assert get(server, f"/{TOKEN}/game/../README.md") == 404


@pytest.mark.browser
def test_the_command(browser):
    process = command("race", "--port", free_port(), "--handicap", 12, "--seed", 7)
    try:
        url = printed_url(printed(process))
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{16}/game/race\.html\?handicap=12&seed=7", url)
        browser.open(url)
        deadline = time.monotonic() + 60
        while browser.script("return DinoRace.state().phase") != "ready":
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert browser.script("return DinoRace.state().seed") == 7
    finally:
        process.send_signal(2)
        code, _, err = finish(process)
    assert (code, err) == (0, "")


def test_a_handicap_out_of_range(cli):
    refused(cli("race", "--handicap", 31), "31")

"""Film the dashboard of a run, for the README.

python run_dino.py train --minutes 5 --seed 1 --dashboard    # prints an address
python scripts/film_dashboard.py ADDRESS --out docs/dashboard.webp
"""

import argparse
import base64
import sys
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import cv2
import numpy as np

from dino_rl.browser.chrome import Browser
from dino_rl.runs.video import Animation, VideoWriter, check_video

SETTLE_S = 5.0  # until the panels have filled


def picture(browser: Browser) -> np.ndarray:
    """What the page looks like, uint8 [H, W, 3]."""
    shot = browser.cdp("Page.captureScreenshot", {"format": "jpeg", "quality": 95})["data"]
    encoded = np.frombuffer(base64.b64decode(shot), np.uint8)
    return cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("address", help="printed by `--dashboard`")
    parser.add_argument("--out", type=Path, default=Path("docs/dashboard.webp"), help=".webp, .gif or .mp4")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--fps", type=float, default=4.0)
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 860), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--picture-width", type=int, default=800, help="of an animation")
    parser.add_argument("--dark", action="store_true")
    options = parser.parse_args()
    check_video(options.out)
    width, height = options.size
    animation = Animation(fps=round(options.fps), width=options.picture_width, quality=50)
    with Browser() as browser, closing(VideoWriter(options.out, options.fps, animation)) as video:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        browser.cdp("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if options.dark else "light"}
        browser.cdp("Emulation.setEmulatedMedia", {"features": [scheme]})
        browser.open(options.address)
        time.sleep(SETTLE_S)
        for number in range(round(options.seconds * options.fps)):
            due = time.monotonic() + 1 / options.fps
            video.add(picture(browser))
            time.sleep(max(0.0, due - time.monotonic()))
            print(f"frame {number + 1}", end="\r", flush=True)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

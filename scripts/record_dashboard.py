"""Record the dashboard of a run, for the README.

python run_dino.py train --minutes 5 --seed 1 --dashboard    # prints an address
python scripts/record_dashboard.py ADDRESS --out docs/dashboard.webp
"""

import argparse
import sys
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from dino_rl.browser.chrome import Browser
from dino_rl.browser.frames import decode_png
from dino_rl.runs.video import Animation, VideoWriter, check_video

SETTLE_S = 5.0  # until the panels have filled


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
    animation = Animation(fps=round(options.fps), width=options.picture_width, quality=50)
    with Browser() as browser, closing(VideoWriter(options.out, options.fps, animation)) as video:
        browser.set_display(tuple(options.size), dark=options.dark)
        browser.open(options.address)
        time.sleep(SETTLE_S)
        for number in range(round(options.seconds * options.fps)):
            due = time.monotonic() + 1 / options.fps
            png = browser.cdp("Page.captureScreenshot", {"format": "png"})["data"]
            video.add(decode_png(f"data:image/png;base64,{png}"))
            time.sleep(max(0.0, due - time.monotonic()))
            print(f"frame {number + 1}", end="\r", flush=True)
    print(f"{options.out}: {options.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

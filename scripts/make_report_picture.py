"""Makes docs/assets/report.png, the picture of a report: python scripts/make_report_picture.py runs/tiny/report.html.

It opens a copy of the report in a headless Chromium, shows only the parts that fit into one picture (the headline, the
table of the reasoning set, the curves of the reinforcement learning stages) and writes what it sees, in 256 colours.
Chromium must be installed (Debian: apt-get install chromium); it makes no connection.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT, SCALE = 1240, 1500, 1.5  # CSS pixels, and device pixels for each of them
MAX_KB = 300
PARTS_SHOWN = """
nav, main > *:not(#results):not(#training), #results > *:not(h2):not(#set-tiny-math), details, .filter,
#training .note { display: none; }
h1 { margin-top: 1rem; } h2 { margin-top: 1.2rem; }
table.results { width: 100%; }
.grid { grid-template-columns: repeat(4, 1fr); }
.scroll { overflow: hidden; }
"""


def main() -> int:
    """Writes the picture; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="report.html of a run")
    parser.add_argument("--output", type=Path, default=Path("docs/assets/report.png"))
    arguments = parser.parse_args()
    chromium = next((path for name in CHROMIUMS if (path := shutil.which(name))), None)
    if chromium is None:
        print(f"none of {', '.join(CHROMIUMS)} is installed (Debian: apt-get install chromium)", file=sys.stderr)
        return 1
    png = compressed(cropped(screenshot(chromium, arguments.report.read_text(encoding="utf-8"))))
    if len(png) > MAX_KB * 1000:
        print(f"the picture has {len(png) / 1000:.0f} kB, more than {MAX_KB}; lower SCALE", file=sys.stderr)
        return 1
    arguments.output.write_bytes(png)
    print(f"{arguments.output}: {len(png) / 1000:.0f} kB")
    return 0


def screenshot(chromium: str, html: str) -> Image.Image:
    """What Chromium shows of the chosen parts of a report."""
    with tempfile.TemporaryDirectory() as folder:
        page, picture = Path(folder) / "report.html", Path(folder) / "report.png"
        page.write_text(html.replace("</style>", f"{PARTS_SHOWN}</style>", 1), encoding="utf-8")
        subprocess.run(
            [
                chromium,
                "--headless",
                "--no-sandbox",  # root, as in a container, cannot have one; the page is our own
                "--disable-gpu",
                "--disable-background-networking",
                "--hide-scrollbars",
                f"--user-data-dir={folder}/profile",
                f"--window-size={WIDTH},{HEIGHT}",
                f"--force-device-scale-factor={SCALE}",
                f"--screenshot={picture}",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
        return Image.open(io.BytesIO(picture.read_bytes())).convert("RGB")


def cropped(image: Image.Image) -> Image.Image:
    """The image without the empty space below its content."""
    white = Image.new("RGB", image.size, "white")
    _left, _top, _right, bottom = ImageChops.difference(image, white).getbbox()
    return image.crop((0, 0, image.width, min(image.height, bottom + int(16 * SCALE))))


def compressed(image: Image.Image) -> bytes:
    """The image as a PNG of 256 colours."""
    stream = io.BytesIO()
    image.quantize(256, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return stream.getvalue()


if __name__ == "__main__":
    sys.exit(main())

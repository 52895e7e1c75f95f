"""Where the tests' files are."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FIXTURES = REPOSITORY / "tests" / "fixtures"
ENGINE_SCRIPTS = REPOSITORY / "tests" / "support" / "engines"

"""scripts/gpu_check.sh where there is no GPU: the same program at a toy size."""

import subprocess

from tests.support.stage_dirs import REPOSITORY


def test_the_report_has_both_loops(tmp_path):
    report = tmp_path / "report.md"
    command = [
        "bash",
        "scripts/gpu_check.sh",
        "--device",
        "cpu",
        "--shape",
        "tiny",
        "--steps",
        "1",
        "--no-trl",
        "--scratch",
        str(tmp_path),
        "--out",
        str(report),
    ]
    done = subprocess.run(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout[-3000:]
    lines = report.read_text().splitlines()
    values = dict(line.strip("| ").split(" | ") for line in lines if line.startswith("| ") and line.count("|") == 3)
    assert {"## GRPO", "## SFT"} <= set(lines)
    assert (
        float(values["trained tokens/s"]) > 0
        and float(values["MFU of the update"]) > 0
        and float(values["policy/mismatch_max"]) < 1e-3
    )

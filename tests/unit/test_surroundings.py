"""What surrounds a run: a server, directories, permissions. What cannot be used is one line with its fix."""

import http.server
import os
import socket
import stat
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from pipeline import __main__ as command_line
from pipeline.commands import doctor
from pipeline.configuration.schema import RunConfig
from pipeline.errors import MissingInput
from pipeline.execution import failure
from pipeline.execution.prefect import server
from pipeline.paths import REPOSITORY
from pipeline.planning.preflight import check_run_dir, require_run_dir
from scripts import match_torch_builds
from stages import __main__ as worker_main
from stages.contract import exit_codes, files
from stages.contract.error_report import ErrorReport
from stages.runtime import environment
from stages.runtime.errors import InputError, environment_errors


@pytest.fixture
def answering():
    """The address of a server that answers every path with what `answer` holds: (code, type, body)."""
    answer = [200, "application/json", b"true"]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(answer[0])
            self.send_header("Content-Type", answer[1])
            self.end_headers()
            self.wfile.write(answer[2])

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}/api", answer
        httpd.shutdown()


def refused(monkeypatch, url):
    monkeypatch.setenv("PREFECT_API_URL", url)
    with pytest.raises(MissingInput) as caught:
        server.require_own_server()
    assert "\n" not in str(caught.value) and "orchestrator=none" in caught.value.fix
    return str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "localhost:4200/api",
        "htp://x/api",
        "http://",
        "http:///api",
        "http://x:99999/api",
        "http://x:abc/api",
        "x",
        "\udce9",
    ],
)
def test_a_malformed_address_of_prefect_is_one_line(monkeypatch, url):
    if "\udce9" not in url:
        assert "not an address" in refused(monkeypatch, url)
    else:
        assert server._address_problem(url)


def test_a_server_of_prefect_that_does_not_answer_is_one_line(monkeypatch, answering):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    assert "no server answers there" in refused(monkeypatch, f"http://127.0.0.1:{free}/api")
    assert "no server answers there" in refused(monkeypatch, "http://no-such-host.invalid:4200/api")
    url, answer = answering
    monkeypatch.setenv("PREFECT_API_URL", url)
    server.require_own_server()
    answer[:] = [401, "application/json", b"{}"]
    server.require_own_server()  # whether a key is missing is Prefect's own matter
    answer[:] = [404, "application/json", b"{}"]
    assert "addresses end with /api" in refused(monkeypatch, url)
    answer[:] = [200, "text/html", b"<html>"]
    assert "a page answers there" in refused(monkeypatch, url)


def test_a_home_of_prefect_that_cannot_be_made_is_one_line(monkeypatch, tmp_path):
    for name in ("PREFECT_LOCAL_STORAGE_PATH", "PREFECT_MEMO_STORE_PATH", "PREFECT_LOGGING_SETTINGS_PATH"):
        monkeypatch.setenv(name, "x")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(MissingInput, match="PREFECT_HOME=.* cannot be made: Not a directory"):
        server.prepare_environment(tmp_path)


def run_dir_problem(path, run="tiny"):
    ((message, fix),) = check_run_dir(RunConfig(runs_dir=str(path), run=run))
    assert "runs_dir=DIRECTORY" in fix and "\n" not in message
    return message


def test_a_directory_of_runs_that_cannot_be_made_is_one_line(tmp_path, monkeypatch):
    assert check_run_dir(RunConfig(runs_dir=str(tmp_path / "a" / "b"))) == []
    (tmp_path / "file").write_text("")
    assert "is a file" in run_dir_problem(tmp_path / "file")
    assert "is a file" in run_dir_problem(tmp_path / "file" / "runs")
    assert "File name too long" in run_dir_problem(tmp_path / ("x" * 300))
    assert "too long" in run_dir_problem("/" + "x/" * 3000)
    assert "File name too long" in run_dir_problem(tmp_path, "x" * 300)
    with pytest.raises(MissingInput, match="the run's directory /proc/r1/tiny cannot be made"):
        require_run_dir(RunConfig(runs_dir="/proc/r1"))
    assert "is not UTF-8 text" in run_dir_problem(tmp_path / "r\udce9")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "may not be written by you" in run_dir_problem(tmp_path / "runs")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["plan", "run"])
def test_no_traceback_for_a_directory_that_cannot_be_made(tmp_path, capsys, command):
    (tmp_path / "file").write_text("")
    code = command_line.main([command, "+stage=base", f"runs_dir={tmp_path}/file"])
    shown = capsys.readouterr()
    assert code == {"plan": 1, "run": 3}[command] and "is a file" in shown.out + shown.err
    assert "Traceback" not in shown.out + shown.err


def test_files_follow_the_umask(tmp_path):
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "model.safetensors")
    (tmp_path / "run.sh").touch(0o755)
    before = os.umask(0o027)
    try:
        files.follow_umask(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "model.safetensors").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "run.sh").stat().st_mode) == 0o755 & ~before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.safetensors", "run.sh"]


def worker(tmp_path, code, ending):
    return SimpleNamespace(
        stage="base", exit_code=code, ending=ending, dir=tmp_path, log_path=tmp_path / "logs" / "rank0.log"
    )


def test_a_variable_that_a_library_does_not_accept_is_named(monkeypatch):
    monkeypatch.setenv("TORCH_LOGS", "nonsense")
    log = "Traceback ...\nValueError: Invalid log settings: nonsense, try TORCH_LOGS='help'\n"
    assert failure._variables_in(log) == "TORCH_LOGS"
    assert failure._variables_in(log.replace("TORCH_LOGS", "TORCH_LOGS_OUT")) == ""
    assert failure._variables_in("TORCH_LOGS\n" + 99 * "line\n") == "", "only the end counts"


def test_variables_that_have_to_be_numbers(monkeypatch, tmp_path):
    for value, is_good in (("2", True), ("", True), (" 4 ", True), ("abc", False), ("1.5", False), ("-1", False)):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert (environment.number_problem(["OMP_NUM_THREADS"]) is None) == is_good
    assert "OMP_NUM_THREADS='-1' in the environment is not" in environment.number_problem(environment.LIBRARY_NUMBERS)
    monkeypatch.setenv("RANK", "q")
    assert worker_main.main([str(tmp_path)]) == 64


def test_a_value_error_that_names_a_variable_is_the_users(monkeypatch):
    monkeypatch.setenv("DS_ACCELERATOR", "nonsense")
    with (
        pytest.raises(
            InputError, match="does not accept DS_ACCELERATOR of the environment .DS_ACCELERATOR must be one"
        ),
        environment_errors(),
    ):
        raise ValueError("DS_ACCELERATOR must be one of ['cuda']. Value 'nonsense' is not supported")
    with pytest.raises(ValueError, match="of its own") as caught, environment_errors():
        raise ValueError("an error of its own, in NO_SUCH_VARIABLE")
    assert not isinstance(caught.value, InputError)


def test_the_worker_says_why_it_ends(tmp_path):
    ErrorReport(kind="input", message="no model", fix="give one").write(tmp_path)
    said = worker_main._ending(worker(tmp_path, exit_codes.BAD_INPUT, "no model"))
    assert said.splitlines()[0] == "base failed (exit code 64): no model"
    assert "fix: give one" in said and "rank0.log" in said
    assert "The same command continues" in worker_main._ending(worker(tmp_path, exit_codes.INTERRUPTED, "step 3"))


def test_a_directory_that_is_no_stage_is_said(tmp_path):
    (tmp_path / "latest").mkdir()
    for arguments, part in (
        ([], "usage:"),
        ([str(tmp_path / "none")], "none is not a directory; usage:"),
        ([str(tmp_path)], f"did you mean {tmp_path}/latest?"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "stages", *arguments], capture_output=True, text=True, cwd=REPOSITORY
        )
        assert done.returncode == 64 and part in done.stderr, done.stderr


VERSIONS = {"torch": "2.13.0+cpu", "torchvision": "0.28.0", "torchaudio": "2.11.0+cpu", "torchcodec": "0.17.0"}


def test_the_doctor_names_companions_of_torch_that_are_built_for_cuda(monkeypatch):
    monkeypatch.setattr(doctor, "_version", VERSIONS.get)
    (finding,) = doctor.torch_builds()
    assert finding.level == "warning" and finding.what.startswith("torchvision 0.28.0, torchcodec 0.17.0: not the CPU")
    assert finding.fix.endswith("pip uninstall --yes torchvision torchcodec")
    monkeypatch.setattr(doctor, "_version", (VERSIONS | {"torch": "2.13.0+cu130"}).get)
    assert doctor.torch_builds() == []


def test_the_doctor_names_files_that_hide_a_library(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}/elsewhere{os.pathsep}")
    assert doctor.shadows() == []
    (tmp_path / "datasets").mkdir()  # a plain directory hides nothing
    (tmp_path / "yaml.py").touch()
    (tmp_path / "elsewhere" / "torch").mkdir(parents=True)
    (tmp_path / "elsewhere" / "torch" / "__init__.py").touch()
    assert [finding.what.rsplit(" ", 1)[1] for finding in doctor.shadows()] == ["yaml", "torch"]


def test_an_installation_for_cpus_replaces_or_removes_them(monkeypatch):
    monkeypatch.setattr(match_torch_builds, "installed", VERSIONS.get)
    commands = []

    def run(command, **_):
        words = command[command.index("--disable-pip-version-check") + 1 :]
        commands.append(words)
        return SimpleNamespace(returncode=int(words[0] == "install" and words[-1].startswith("torchcodec")))

    monkeypatch.setattr(match_torch_builds.subprocess, "run", run)
    assert match_torch_builds.main(["--extra-index-url", "URL"]) == 0
    install = ["install", "-qq", "--no-deps", "--force-reinstall", "--extra-index-url", "URL"]
    assert commands == [
        [*install, "torchvision==0.28.0+cpu"],
        [*install, "torchcodec==0.17.0+cpu"],
        ["uninstall", "-qq", "--yes", "torchcodec"],
    ]

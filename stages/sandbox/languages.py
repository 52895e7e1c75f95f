"""The languages of the sandbox: how a program is compiled and started, and what the language is called elsewhere.

Commands run in the scratch directory, /tmp of the box.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Language:
    """One language."""

    source: str  # name of the source file
    binary: str  # what a run needs: the source itself, or what the compiler makes of it
    compile: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()  # how fenced code blocks name it
    piston: str = ""  # name in Piston's list of runtimes


# -B and -s: no bytecode files, no packages of a home directory. {python} is the interpreter that the executor found.
LANGUAGES: dict[str, Language] = {
    "python": Language(
        "main.py", "main.py", run=("{python}", "-B", "-s", "main.py"), tags=("python", "py", "python3"), piston="python"
    ),
    "cpp": Language(
        "main.cpp",
        "main",
        compile=("/usr/bin/g++", "-O2", "-std=c++17", "-pipe", "-o", "main", "main.cpp"),
        run=("./main",),
        tags=("cpp", "c++", "cc", "cxx"),
        piston="c++",
    ),
}

"""Runs inside the box, never outside of it: calls a function of a program, or runs tests against it.

It stands alone and needs Python 3.8 or newer. It reads one request from standard input and wipes the place where that
stood, then writes one line to the standard output, which the program does not get.

    call   the program's function is called here; its value goes out as JSON and is judged outside. What a program
           forges is a value: to forge the right one it would have to know it, and no expected value ever enters the
           box.
    unit   the tests run here, the program in a process of its own, which cannot look into this one; values come over a
           pipe as plain data, other objects stay there and are used through handles. After the last test this process
           writes a number that only it was told.
"""

import builtins
import json
import os
import signal
import sys
import types

# Special methods that tests may use on the program's objects. None has an operand of the tests: `value - 3` would tell
# the program that 3 is expected.
FORWARDED = ("__len__", "__getitem__", "__str__", "__repr__", "__int__", "__float__")
PR_SET_DUMPABLE = 4


def main():
    """Serves the tests' process, or answers the one request on standard input."""
    if sys.argv[1:] == ["serve"]:
        channel_in, channel_out = private(0, "r"), private(1, "w")
        serve(channel_in, channel_out)
        return
    request = json.loads(sys.stdin.read())
    try:  # noqa: SIM105  (contextlib would cost every call its import)
        os.ftruncate(0, 0)  # the request holds the tests, and others in the box may reach what was standard input
    except OSError:
        pass  # a pipe: it is empty now
    out = private(1, "w")
    if request["mode"] == "call":
        out.write(json.dumps(call(request), default=lambda value: value.tolist()))  # arrays and numbers of numpy
    else:
        unit(request)
        out.write(request["nonce"])
    out.flush()
    os._exit(0)


def private(fd, mode):
    """A private stream in place of standard input or output; the program gets /dev/null there."""
    stream = os.fdopen(os.dup(fd), mode)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, fd)
    os.close(null)
    return stream


def load(code):
    """Runs the program as a module and returns that."""
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    exec(compile(code, "solution.py", "exec"), module.__dict__)
    return module


def call(request):
    """Calls the function that the request names, of the program's class `Solution` or of itself, and returns its value.

    The class comes first: the program may have a helper, or an import, of the same name.
    """
    module = load(request["code"])
    name = request["name"]
    holder = getattr(module, "Solution", module)
    holder = holder if hasattr(holder, name) else module
    function = getattr(holder() if isinstance(holder, type) else holder, name)
    return function(*request["args"])


def unit(request):
    """Runs the tests of the request against the program; raises what they raise."""
    import ctypes  # here, because function calls should not wait for it

    here = os.path.dirname(os.path.abspath(__file__))
    # The program could put modules there for the tests to import.
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != here]
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # no process of the same user may look into this one
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    remote = Connection(request["code"])
    tests = {"__name__": "tests"}
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    for name, value in remote.public():
        # A program may not replace len for its tests.
        if name.isidentifier() and not name.startswith("_") and not hasattr(builtins, name):
            tests[name] = value
            setattr(module, name, value)
    exec(compile(request["tests"], "tests.py", "exec"), tests)
    for name, value in list(tests.items()):
        if name.startswith("test") and isinstance(value, types.FunctionType):
            value()
        unittest = sys.modules.get("unittest")
        if unittest and isinstance(value, type) and issubclass(value, unittest.TestCase):
            result = unittest.defaultTestLoader.loadTestsFromTestCase(value)(unittest.TestResult())
            for _, trace in result.errors + result.failures:
                raise AssertionError(trace)


class Connection:
    """The tests' side of the pipe to the process of the program: JSON lines both ways."""

    def __init__(self, code):
        import subprocess

        self.process = subprocess.Popen(
            [sys.executable, "-B", "-s", os.path.abspath(__file__), "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            bufsize=1,
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self.to_program, self.from_program = self.process.stdin, self.process.stdout
        self.ask("load", code)

    def ask(self, *request):
        """Sends a request and returns the value of its reply; raises a built-in exception as the program did."""
        self.to_program.write(json.dumps(request) + "\n")
        reply = json.loads(self.from_program.readline())
        if "error" in reply:
            kind = getattr(builtins, str(reply["error"][0]), RuntimeError)
            is_known = isinstance(kind, type) and issubclass(kind, Exception)
            raise (kind if is_known else RuntimeError)(str(reply["error"][1]))
        return self.decoded(reply["value"])

    def public(self):
        """(name, value) of the names that the program defines for others."""
        return [(str(name), value) for name, value in self.ask("names")]

    def encoded(self, value):
        """An argument of the tests as JSON: plain data, or the number of an object of the program."""
        if isinstance(value, Remote):
            return ["object", object.__getattribute__(value, "_number")]
        if not is_plain(value):
            raise TypeError("tests cannot hand a " + type(value).__name__ + " to the program")
        return encoded(value, self.encoded)

    def decoded(self, data):
        """A value of the program: plain data, or a handle of an object that stays there."""
        return decoded(data, lambda number: Remote(self, int(number)))


class Remote:
    """A handle of an object of the program. It equals nothing but itself: programs are not asked about equality."""

    def __init__(self, connection, number):
        object.__setattr__(self, "_connection", connection)
        object.__setattr__(self, "_number", number)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self._connection.ask("get", self._number, name)

    def __setattr__(self, name, value):
        self._connection.ask("set", self._number, name, self._connection.encoded(value))

    def __call__(self, *args, **kwargs):
        """Calls the object in the process of the program."""
        return self._connection.ask(
            "call", self._number, self._connection.encoded(list(args)), self._connection.encoded(kwargs)
        )

    def __iter__(self):
        iterator = self._connection.ask("iter", self._number)
        while True:
            item = self._connection.ask("next", object.__getattribute__(iterator, "_number"))
            if not item:
                return
            yield item[0]

    def __bool__(self):
        return True

    def __contains__(self, item):
        raise TypeError("what an object of the program contains is not asked: it could say yes to everything")


def _forward(name):
    """A method that asks the program for a special method of its object."""

    def method(self, *args):
        return self._connection.ask("special", self._number, name, self._connection.encoded(list(args)))

    return method


for _name in FORWARDED:
    setattr(Remote, _name, _forward(_name))


def serve(channel_in, channel_out):
    """Answers what the tests ask, until they have ended; runs in the process of the program.

    The program may change everything here: whatever it does, it only ever sends values.
    """
    objects = []

    def keep(value):
        objects.append(value)
        return ["object", len(objects) - 1]

    for line in channel_in:
        kind, *rest = json.loads(line)
        try:
            reply = {"value": encoded_or_kept(answer(kind, rest, objects), keep)}
        except BaseException as error:
            reply = {"error": [type(error).__name__, str(error)]}
        channel_out.write(json.dumps(reply) + "\n")
        channel_out.flush()


def answer(kind, rest, objects):
    """What one request of the tests asks for; `objects` are those that the tests have handles of."""

    def back(data):
        return decoded(data, lambda number: objects[number])

    if kind == "load":
        objects.append(load(rest[0]))
        return None
    if kind == "names":
        return [
            (name, item)
            for name, item in vars(objects[0]).items()
            if not name.startswith("_") and not isinstance(item, types.ModuleType)
        ]
    if kind == "get":
        return getattr(objects[rest[0]], rest[1])
    if kind == "set":
        setattr(objects[rest[0]], rest[1], back(rest[2]))
        return None
    if kind == "call":
        return objects[rest[0]](*back(rest[1]), **back(rest[2]))
    if kind == "iter":
        return iter(objects[rest[0]])
    if kind == "next":
        return [item for _, item in zip("1", objects[rest[0]])]
    return special(objects[rest[0]], rest[1])(*back(rest[2]))


def special(value, name):
    """A special method of a value, such as __len__."""
    if not hasattr(type(value), name):
        raise TypeError("a " + type(value).__name__ + " has no " + name)
    return getattr(value, name)


def encoded_or_kept(value, keep):
    """A value of the program as JSON: plain data, or the number under which `keep` keeps it."""
    return encoded(value, lambda item: encoded_or_kept(item, keep)) if is_plain(value) else keep(value)


PLAIN = (bool, int, float, str, bytes, complex, list, tuple, set, frozenset, dict)


def is_plain(value):
    """Whether a value goes over the pipe: built-in data and what libraries derive from it.

    A class of the program that is a list as well has methods that tests may want: it stays.
    """
    has_class_of_its_own = type(value).__module__ == "solution" and not hasattr(value, "_fields")
    return value is None or (isinstance(value, PLAIN) and not has_class_of_its_own)


def encoded(value, inner):
    """Plain data as JSON that keeps tuples, sets and keys apart; `inner` encodes what a container holds."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if isinstance(value, complex):
        return ["complex", [value.real, value.imag]]
    if isinstance(value, dict):
        return ["dict", [[inner(key), inner(item)] for key, item in value.items()]]
    for name in ("list", "tuple", "set", "frozenset"):
        if isinstance(value, getattr(builtins, name)):
            return [name, [inner(item) for item in value]]
    raise TypeError(type(value).__name__)


def decoded(data, object_of):
    """The plain data that `encoded` wrote, of exactly the built-in types; `object_of` gives objects by number."""
    if not isinstance(data, list):
        return data
    kind, items = data
    if kind == "object":
        return object_of(items)
    if kind == "bytes":
        return bytes.fromhex(items)
    if kind == "complex":
        return complex(*items)
    if kind == "dict":
        return {decoded(key, object_of): decoded(item, object_of) for key, item in items}
    return {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[kind](
        decoded(item, object_of) for item in items
    )


if __name__ == "__main__":
    main()

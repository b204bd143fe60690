"""The script beside a network that feeds it images as it was trained on: a user needs nothing of this package."""

from __future__ import annotations

MARK = b"written by tempograd"

_SCRIPT = '''"""Name the classes of images: python predict.py IMAGE...   (written by tempograd; change it as you like)

Needs numpy, Pillow and onnxruntime. How images become inputs is read from the metadata of network.onnx.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(str(Path(__file__).with_name("network.onnx")))
metadata = session.get_modelmeta().custom_metadata_map
how, names = json.loads(metadata["preprocessing"]), json.loads(metadata["class_names"])


def prepare(path):
    """Return one image as the network's input: (1, channels, height, width), float32."""
    image = ImageOps.exif_transpose(Image.open(path))
    if image.mode.startswith("I"):  # 16 bits
        image = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))
    image = image.convert(how["mode"])
    if how["decoded"]:
        image = ImageOps.fit(image, (how["decoded"], how["decoded"]), Image.Resampling.BILINEAR)
    size, nearest = tuple(how["size"][::-1]), how["resize"] == "nearest"
    if image.size != size:
        image = image.resize(size, Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR)
    pixels = np.atleast_3d(np.asarray(image, np.float32)).transpose(2, 0, 1) / np.float32(how["scale"])
    mean, std = (np.array(how[name], np.float32)[:, None, None] for name in ("mean", "std"))
    return ((np.broadcast_to(pixels, (how["channels"], *pixels.shape[1:])) - mean) / std)[None].astype(np.float32)


def predict(path):
    """Return the index of the class of one image."""
    inputs = session.get_inputs()[0]
    image = prepare(path)
    batch = inputs.shape[0] if isinstance(inputs.shape[0], int) else 1
    return int(session.run(None, {inputs.name: np.repeat(image, batch, axis=0)})[0][0].argmax())


if __name__ == "__main__":
    for path in sys.argv[1:]:
        found = predict(path)
        print(path, found, names[found] if found < len(names) else "", sep="\\t")
'''


def script() -> str:
    """Return ``predict.py``."""
    return _SCRIPT

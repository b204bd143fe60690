"""Networks that belong to no search space: an ONNX file's identity and inputs, and a runtime's kernels of it."""

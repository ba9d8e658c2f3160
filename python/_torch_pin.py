"""What the wheel asks for: torch of the minor version that it is built with. LibTorch's C++ interface changes with each minor."""

import importlib.metadata


def dynamic_metadata(field, settings=None):
    """Called by scikit-build-core for `dependencies`."""
    try:
        major, minor = importlib.metadata.version("torch").split(".")[:2]
    except importlib.metadata.PackageNotFoundError:
        raise SystemExit("Attar is built with the torch of this environment, and there is none: pip install torch numpy, then pip install --no-build-isolation") from None
    return [f"torch=={major}.{minor}.*", "numpy"]

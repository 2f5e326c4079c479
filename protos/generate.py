"""Writes the stubs of recsys.v1 from the protos beside this file; `--check` only compares them."""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
PACKAGE = Path("recsys", "v1")
ROOT = PROTOS.parent


def generate(folder: Path) -> None:
    """Write all stubs.

    Args:
        folder: Becomes the root of the package.

    Raises:
        SystemExit: A proto does not compile; the compiler has said why.
    """
    sources = sorted(str(path) for path in (PROTOS / PACKAGE).glob("*.proto"))
    well_known = str(files("grpc_tools") / "_proto")
    outputs = [f"--{kind}_out={folder}" for kind in ("python", "grpc_python", "pyi")]
    if protoc.main(["protoc", f"-I{PROTOS}", f"-I{well_known}", *outputs, *sources]):
        raise SystemExit(1)


def stale(folder: Path) -> list[str]:
    """Compare freshly written stubs with those of the package.

    Args:
        folder: Where `generate` has written.

    Returns:
        What differs, one line a file; empty when nothing does.
    """
    fresh = {path.name: path for path in (folder / PACKAGE).glob("*_pb2*")}
    kept = {path.name: path for path in (ROOT / PACKAGE).glob("*_pb2*") if path.is_file()}
    found = [f"{PACKAGE / name}: missing" for name in sorted(fresh.keys() - kept.keys())]
    found += [f"{PACKAGE / name}: has no proto" for name in sorted(kept.keys() - fresh.keys())]
    for name in sorted(fresh.keys() & kept.keys()):
        if fresh[name].read_bytes() != kept[name].read_bytes():
            found.append(f"{PACKAGE / name}: is not what its proto gives")
    return found


def main() -> int:
    """Generate or check.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the stubs are stale")
    if not parser.parse_args().check:
        generate(ROOT)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        found = stale(Path(folder))
    for line in found:
        sys.stderr.write(f"{line}; run `make protos`\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

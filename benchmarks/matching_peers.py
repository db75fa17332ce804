"""Lists of twenty by this project, and by libraries for nearest neighbours.

    .venv/bin/python -m benchmarks.matching_peers URL --python OTHER/bin/python

``OTHER`` is an environment with numpy and any of the packages that PEERS names; those that it lacks
are left out. ``URL`` is of a database with vectors. Each runs in a process of its own, with all
processors. Nobody is excluded from anybody's list but oneself, which only ours can do otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

TOP = 20
LOOKED_AT = 2000
"""People for whom the lists are compared."""

Found = Any
"""Row numbers of the best of each person, themselves perhaps among them; float32 vectors go in."""


def ours(vectors: Any) -> Found:
    """The product's own."""
    from community_gql.matching.lists import Scorer, Vectors, best_lists

    scorer = Scorer(Vectors.of(np.rint(vectors * 1000).astype(np.int32)))
    return best_lists(scorer, np.arange(len(vectors)), {}, TOP).people


def faiss_index(factory: str, probes: int = 0) -> Callable[[Any], Found]:
    """An index of faiss."""

    def find(vectors: Any) -> Found:
        faiss: Any = import_module("faiss")
        index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
        index.add(vectors)
        if probes:
            index.nprobe = probes
        return index.search(vectors, TOP + 1)[1]

    return find


def hnswlib_index(vectors: Any) -> Found:
    """Of hnswlib, with its usual parameters."""
    hnswlib: Any = import_module("hnswlib")
    index = hnswlib.Index("ip", vectors.shape[1])
    index.init_index(len(vectors), ef_construction=100, M=16)
    index.add_items(vectors)
    index.set_ef(64)
    return index.knn_query(vectors, TOP + 1)[0]


def usearch_index(vectors: Any) -> Found:
    """Of usearch, with its usual parameters."""
    index = import_module("usearch.index").Index(ndim=vectors.shape[1], metric="ip")
    index.add(np.arange(len(vectors)), vectors)
    return index.search(vectors, TOP + 1).keys


def sparse_top(vectors: Any) -> Found:
    """The exact product of sparse matrices by sparse_dot_topn."""
    rows = import_module("scipy.sparse").csr_matrix(vectors)
    best = import_module("sparse_dot_topn").sp_matmul_topn(
        rows, rows.T.tocsr(), TOP + 1, sort=True, n_threads=os.cpu_count()
    )
    found = np.full((len(vectors), TOP + 1), -1)
    for row, (first, last) in enumerate(zip(best.indptr[:-1], best.indptr[1:], strict=True)):
        found[row, : last - first] = best.indices[first:last]
    return found


PEERS: dict[str, Callable[[Any], Found]] = {
    "this project": ours,
    "sparse_dot_topn": sparse_top,
    "faiss, IVF 512, 16 probes": faiss_index("IVF512,Flat", 16),
    "faiss, HNSW 32": faiss_index("HNSW32"),
    "usearch": usearch_index,
    "hnswlib": hnswlib_index,
    "faiss, IVF 512, 48 probes": faiss_index("IVF512,Flat", 48),
    "faiss, flat": faiss_index("Flat"),
}


def recall(vectors: Any, truth: Any, found: Any, rows: Any) -> float:
    """Which part of the best twenty is found; whoever ties with the last place counts."""
    whole = np.rint(vectors * 1000).astype(np.int64)
    right = total = 0
    for row, best, others in zip(rows, truth, found, strict=True):
        best = best[best >= 0]
        if not len(best):
            continue
        others = others[(others >= 0) & (others != row)][:TOP]
        last = (whole[best] @ whole[row]).min()
        right += min(int((whole[others] @ whole[row] >= last).sum()), len(best))
        total += len(best)
    return right / max(total, 1)


def measure(name: str, file: str, out: str) -> None:
    """Run one of PEERS and print what it took; the lists of some go to ``out``."""
    vectors = np.load(file)
    wall, cpu = time.perf_counter(), time.process_time()
    found = PEERS[name](vectors)
    took = time.perf_counter() - wall, time.process_time() - cpu
    np.save(out, np.asarray(found, np.int64)[looked_at(len(vectors))])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    say(json.dumps([*took, memory]))


def say(text: str) -> None:
    """A line of the table."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def looked_at(people: int) -> Any:
    """The rows that are compared."""
    return np.linspace(0, people - 1, min(LOOKED_AT, people)).astype(np.int64)


async def load(url: str) -> Any:
    """The vectors of the database, dense."""
    from community_gql.matching import running, stored

    async with running.connected(url) as connection:
        version = await stored.current(connection)
        assert version is not None
        loaded = (await stored.load(connection, version)).vectors
    dense = np.zeros((len(loaded), loaded.length), np.float32)
    rows = np.repeat(np.arange(len(loaded)), np.diff(loaded.starts))
    dense[rows, loaded.columns] = loaded.values / 1000
    return dense


def main() -> None:
    """Compare them all, or run the one that is asked for."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    asked.add_argument("url")
    asked.add_argument("--python", default=sys.executable, help="with the packages of the others")
    asked.add_argument("--only", default="", help="names that contain this, beside ours")
    given = asked.parse_args()
    import asyncio

    vectors = asyncio.run(load(given.url))
    rows = looked_at(len(vectors))
    say(f"{vectors.shape[0]:,} people, {vectors.shape[1]} numbers\n")
    say("| | wall s | CPU s | MB | recall |\n|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder, "vectors.npy"), Path(folder, "found.npy")
        np.save(file, vectors)
        truth: Any = None
        for name in PEERS:
            if name != "this project" and given.only not in name:
                continue
            python = sys.executable if name == "this project" else given.python
            given_to = f"{name!r}, {str(file)!r}, {str(out)!r}"
            code = f"from matching_peers import measure; measure({given_to})"
            done = subprocess.run(
                [python, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True
            )
            if done.returncode:
                say(f"| {name} | {done.stderr.splitlines()[-1]} | | | |")
                continue
            found = np.load(out)
            truth = found if truth is None else truth
            wall, cpu, memory = json.loads(done.stdout.splitlines()[-1])
            part = recall(vectors, truth, found, rows)
            say(f"| {name} | {wall:.1f} | {cpu:.1f} | {memory:,.0f} | {part:.3f} |")


if __name__ == "__main__":
    main()

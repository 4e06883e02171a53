#!/usr/bin/python3
# Makes the inputs and the labels: see README.md.
import json
import numpy as np
import sklearn
from sklearn.cluster import DBSCAN
from sklearn.datasets import make_blobs, make_circles, make_moons

rng = np.random.RandomState(20261121)


def noisy(x, n):
    lo, hi = x.min(0), x.max(0)
    return np.vstack([x, rng.uniform(lo - 1, hi + 1, (n, x.shape[1]))])


cases = {
    "moons": (noisy(make_moons(500, noise=0.06, random_state=1)[0], 25), 0.15, 5, False),
    "circles": (noisy(make_circles(400, factor=0.5, noise=0.04, random_state=2)[0], 25), 0.2, 6, False),
    "blobs-3d": (noisy(make_blobs(500, 3, centers=6, cluster_std=0.8, random_state=3)[0], 40), 0.9, 20, False),
    "blobs-touching": (make_blobs(500, 2, centers=[[0, 0], [3.1, 0], [0, 3.1]], cluster_std=0.7, random_state=4)[0], 0.38, 12, False),
    "blobs-12d": (noisy(make_blobs(400, 12, centers=4, cluster_std=0.5, random_state=5)[0], 30), 1.9, 10, False),
    "weights": (noisy(make_blobs(300, 2, centers=3, cluster_std=1.2, random_state=6)[0], 30), 0.6, 20, True),
}
with open("cases.jsonl", "w") as out:
    for name, (x, eps, least, weighted) in cases.items():
        x = np.round(x, 3).astype(np.float32).astype(np.float64)[rng.permutation(len(x))]
        w = rng.randint(1, 8, len(x)) if weighted else None
        d = np.sqrt(((x[:, None, :] - x[None, :, :]) ** 2).sum(-1))
        while np.abs(d - eps).min() < 1e-5 * eps:  # no pair so close to eps that float32 could decide otherwise
            eps = round(eps + 1e-4, 6)
        labels = DBSCAN(eps=eps, min_samples=least).fit(x, sample_weight=w).labels_
        assert (labels == DBSCAN(eps=eps, min_samples=least, algorithm="brute").fit(x, sample_weight=w).labels_).all()
        one = {"name": name, "sklearn": sklearn.__version__, "eps": eps, "min_samples": least,
               "points": [[round(float(v), 3) for v in r] for r in x], "labels": labels.tolist()}
        if w is not None:
            one["weights"] = w.tolist()
        out.write(json.dumps(one, separators=(",", ":")) + "\n")
        print(name, len(x), "clusters", labels.max() + 1, "noise", (labels < 0).sum())

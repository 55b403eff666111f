"""Parts of a stored run: an environment, figures, and a label that must be escaped."""

import numpy as np

HOSTILE = '<b>"&conv'
ENVIRONMENT = {
    "cpu": "Some CPU",
    "cpu_cores": 2,
    "memory_bytes": 24 * 2**30,
    "gpu": None,
    "os": "Linux 6",
    "python": "3.11.7",
    "packages": {"torch": "2.11"},
}


def images(value):
    return np.full((10, 1, 8, 8), value, np.uint8)


def arrays(value=100):
    return {"reconstruction/originals": images(255), "reconstruction/reconstructions": images(value)}

"""Data modules and the algorithmic tasks, by their short names."""

from datamodules import tasks
from datamodules.algorithmic import AlgorithmicData
from datamodules.circular_features import CircularFeatures
from datamodules.imdb import IMDB
from datamodules.mnist import MNIST
from datamodules.openwebtext import OpenWebText
from datamodules.sparse_features import SparseFeatures
from datamodules.sst2 import SST2
from datamodules.tasks import *
from datamodules.toy_points import ToyPoints

__all__ = [
    "IMDB",
    "MNIST",
    "SST2",
    "AlgorithmicData",
    "CircularFeatures",
    "OpenWebText",
    "SparseFeatures",
    "ToyPoints",
]
__all__ += tasks.__all__

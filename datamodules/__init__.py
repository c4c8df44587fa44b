"""Data modules and the algorithmic tasks, by their short names."""

from datamodules.algorithmic import AlgorithmicData
from datamodules.circular_features import CircularFeatures
from datamodules.imdb import IMDB
from datamodules.mnist import MNIST
from datamodules.openwebtext import OpenWebText
from datamodules.sparse_features import SparseFeatures
from datamodules.sst2 import SST2
from datamodules.tasks import *
from datamodules.toy_points import ToyPoints

__all__ = sorted(n for n, v in vars().items() if getattr(v, "__module__", "").startswith(__name__))

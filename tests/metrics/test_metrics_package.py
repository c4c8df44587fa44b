import subprocess
import sys

import callbacks.metrics


def test_every_advertised_name_exists():
    for name in callbacks.metrics.__all__:
        assert callable(getattr(callbacks.metrics, name))


def test_modules_import_only_torch_torchmetrics_and_the_standard_library():
    # In a process of its own, since the other tests have imported scikit-learn. The parent package
    # is replaced by an empty one: what it imports is not the concern of the metrics.
    script = (
        "import sys, types, torch, torchmetrics\n"
        "parent = types.ModuleType('callbacks')\n"
        "parent.__path__ = ['callbacks']\n"
        "sys.modules['callbacks'] = parent\n"
        "before = set(sys.modules)\n"
        "import callbacks.metrics\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - sys.stdlib_module_names - {'callbacks', 'torch'}))\n"
    )
    root = callbacks.metrics.__path__[0].rsplit("callbacks", 1)[0]
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=root, check=True
    )
    assert result.stdout.strip() == "[]"

import subprocess
import sys

import glassbox.metrics


def test_every_advertised_name_exists():
    for name in glassbox.metrics.__all__:
        assert callable(getattr(glassbox.metrics, name))


def test_modules_import_only_torch_and_the_standard_library():
    # In a process of its own, since other tests have imported scikit-learn and Lightning.
    script = (
        "import sys, torch\n"
        "before = set(sys.modules)\n"
        "import glassbox.metrics\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new - sys.stdlib_module_names - {'glassbox', 'torch'}))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"

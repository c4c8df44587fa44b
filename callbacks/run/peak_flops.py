"""Peak arithmetic throughput of GPUs by name."""

from __future__ import annotations

import re

import torch

# Dense fp16 and bf16 peaks of the tensor cores in TFLOP/s, from NVIDIA's data sheets and white
# papers: without sparsity (data sheets since Ampere print twice as much), and on GeForce cards with
# fp32 accumulation, as PyTorch uses. Lightning 2.6's own table mixes the kinds. The first entry
# matches whose words are all in the device's name; names without a form factor are the SXM cards.
_TERAFLOPS = {
    "GB200": 2500.0,
    "B200": 2250.0,
    "GH200": 989.4,
    "H200 NVL": 835.5,
    "H200": 989.4,
    "H100 NVL": 835.5,
    "H100 PCIE": 756.0,
    "H100": 989.4,
    "A100": 312.0,
    "A40": 149.7,
    "A30": 165.0,
    "A10": 125.0,
    "A6000": 154.8,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "V100 PCIE": 112.0,
    "V100": 125.0,
    "T4": 65.0,
    "RTX 5090": 209.5,
    "RTX 4090": 165.2,
    "RTX 3090": 71.0,
}
# Laptop chips, slices of a GPU and variants with similar names have other peaks.
_OTHER_CHIPS = {"LAPTOP", "MIG", "MAX", "D", "TI"}


def peak_flops_of(device: torch.device | str, precision: str) -> float | None:
    """Dense half-precision peak of a GPU, or of a CUDA name, in FLOP/s; None if unknown.

    Only the precisions '16-*' and 'bf16-*' have a known peak.
    """
    if isinstance(device, torch.device):
        if device.type != "cuda":
            return None
        device = torch.cuda.get_device_name(device)
    words = set(re.findall(r"\w+", device.upper()))
    if not precision.startswith(("16-", "bf16-")) or words & _OTHER_CHIPS:
        return None
    for name, teraflops in _TERAFLOPS.items():
        if words.issuperset(name.split()):
            return teraflops * 1e12
    return None

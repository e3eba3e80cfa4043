"""What a step frees is there for the next one, without the system filling pages with zeros again."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource
import torch
from groundscope.training.allocator import freed_memory_kept

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(2**24)  # 64 MiB, more than glibc ever keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = faults()
with freed_memory_kept():
    faults()  # the first step finds nothing to use again
    kept = faults()
print(usual, kept)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told")
def test_freed_memory_is_used_again():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=True)
    usual, kept = map(int, done.stdout.split())
    assert kept < usual / 10

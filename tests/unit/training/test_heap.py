import resource
import subprocess
import sys

BLOCK = "import sys\nfrom training.heap import keep_freed_memory\nif sys.argv[1:]: keep_freed_memory()\n"
FAULTS = """
import resource
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        block = bytearray(b"x") * (32 * 1024**2)
        del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def page_faults(*arguments: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", BLOCK + FAULTS, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    return int(done.stdout)


def test_a_large_block_taken_again_costs_no_page_faults() -> None:
    pages = 20 * 32 * 1024**2 // resource.getpagesize()

    assert page_faults("keep") < pages / 100
    assert page_faults() > pages / 2

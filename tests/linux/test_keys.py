"""The twins of Linux's allocators against what two real kernels wrote down of theirs."""

import lzma
from pathlib import Path

import pytest

from heapwright.linux.geometry import layout
from heapwright.linux.recorded import areas, frames, objects

KEYS = Path(__file__).parent / "keys"
KERNELS = ("debian", "uml")
CACHES = {"tw_32_0_1": 2094, "tw_96_0_2": 2100, "tw_256_64_3": 1513, "tw_1000_0_4": 1560}
CACHES["tw_5000_0_5"] = 1088


def key(kernel, what):
    return lzma.decompress((KEYS / f"{kernel}-{what}.xz").read_bytes()).decode().splitlines()


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_frame_and_every_list_is_the_kernels(kernel):
    (told,) = frames.scripted(key(kernel, "pages"))
    assert told.allocations > 10_000 and told.first == ""
    assert told.exact == told.allocations
    assert told.states == 2 and told.different == []
    assert (told.refused > 0) == (kernel == "uml")  # which has 64 MiB


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_object_is_the_kernels(kernel):
    """And every slab's frames, and the frames' lists at the end; and every cache's layout."""
    *caches, layouts = objects.scripted(key(kernel, "objects"))
    assert {each.cache: each.allocations for each in caches} == CACHES
    for each in caches:
        assert (each.exact, each.first, each.different) == (each.allocations, "", [])
        assert each.random == (kernel == "debian")
    assert layouts.caches == 2166 and layouts.wrong == []
    assert layouts.sizes == 16 and layouts.wrong_sizes == []


def test_a_miss_is_told():
    lines = key("uml", "pages")
    row = next(number for number, line in enumerate(lines) if line.startswith("A 0 0 "))
    asked = lines[row]
    lines[row] = "A 0 0 1"
    (told,) = frames.scripted(lines)
    assert told.exact < told.allocations and told.first.startswith("A 0 0 1: ")
    assert told.first.endswith(asked.split()[-1])


def test_a_cache_that_is_laid_out_otherwise_is_told():
    lines = [line for line in key("uml", "objects") if line[:2] in ("G ", "S ")]
    lines[0] = lines[0].replace("objs ", "objs 1")
    lines[-1] = "S 40000 ksize 1"
    (layouts,) = objects.scripted(lines)
    assert len(layouts.wrong) == 1 and len(layouts.wrong_sizes) == 1


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_address_of_vmalloc_is_the_kernels(kernel):
    told = areas.scripted(key(kernel, "objects"))
    assert (told.allocations, told.exact, told.first) == (1065, 1065, "")


def test_every_cache_that_a_kernel_lists_is_laid_out_alike():
    told = objects.slabinfo(key("debian", "slabinfo"))
    assert told.caches > 180 and told.wrong == []
    assert layout(576, constructor=True).size == 584  # as radix_tree_node's

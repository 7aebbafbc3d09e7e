from heapwright.managers.card import Deploy
from heapwright.managers.deploying import Deployment, deployment, trimming
from heapwright.managers.registry import managers, runs_on

GLIBC = managers()["glibc"].card.deploy
JEMALLOC = managers()["jemalloc"].card.deploy


def test_settings_become_an_environment() -> None:
    made = deployment(GLIBC, {"arena_max": 2, "tcache_count": 0})
    assert made == Deployment(
        {"MALLOC_ARENA_MAX": "2", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
    )
    assert made.said() == "MALLOC_ARENA_MAX=2 GLIBC_TUNABLES=glibc.malloc.tcache_count=0"


def test_what_one_variable_already_says_stays_in_it() -> None:
    made = deployment(GLIBC, {"tcache_count": 0}, {"mxfast": 64, "arena_max": 1})
    assert made.environment == {
        "GLIBC_TUNABLES": "glibc.malloc.mxfast=64:glibc.malloc.tcache_count=0"
    }
    assert deployment(GLIBC, {"arena_max": 2}, {"mxfast": 64}).environment == {
        "MALLOC_ARENA_MAX": "2"
    }


def test_what_cannot_be_set_from_outside_is_not_deployed() -> None:
    assert deployment(GLIBC, {"cores": 2}) is None
    assert Deploy().said({"knob": 1}) == ""


def test_a_flag_is_called_true_or_false() -> None:
    assert JEMALLOC.variables({"tcache": 0, "narenas": 1}) == {
        "MALLOC_CONF": "tcache:false,narenas:1"
    }


def test_what_is_in_per_cent_here_is_a_share_there() -> None:
    torch = managers()["cuda-caching"].card.deploy
    told = torch.variables({"garbage_collection_threshold": 80, "expandable_segments": 1})
    assert told == {
        "PYTORCH_CUDA_ALLOC_CONF": "garbage_collection_threshold:0.8,expandable_segments:True"
    }


def test_a_library_is_installed_and_preloaded() -> None:
    made = deployment(JEMALLOC, {"dirty_decay_ms": 0, "narenas": 2})
    lines = made.lines("./serve --all")
    assert made.environment == {
        "LD_PRELOAD": "libjemalloc.so.2",
        "MALLOC_CONF": "dirty_decay_ms:0,narenas:2",
    }
    assert lines["shell"].splitlines() == [
        "sudo apt-get install -y libjemalloc2",
        "LD_PRELOAD=libjemalloc.so.2 MALLOC_CONF=dirty_decay_ms:0,narenas:2 ./serve --all",
    ]
    assert lines["dockerfile"].endswith(
        'ENV LD_PRELOAD="libjemalloc.so.2" MALLOC_CONF="dirty_decay_ms:0,narenas:2"'
    )
    assert lines["systemd"].startswith("[Service]\nEnvironment=")
    assert '  - name: LD_PRELOAD\n    value: "libjemalloc.so.2"' in lines["kubernetes"]


def test_ours_is_built_with_its_settings_in_it() -> None:
    wright = managers()["wright"].card.deploy
    made = deployment(wright, {"hardened": 1})
    assert made.environment == {"LD_PRELOAD": "/usr/local/lib/libwright.so"}
    assert made.build == "heapwright build wright -o /usr/local/lib/libwright.so --set hardened=1"


def test_a_call_in_the_program_has_no_line_outside() -> None:
    made = trimming(10)
    assert set(made.lines().values()) == {""}
    assert "malloc_trim(0)" in made.said()


def test_a_collector_of_python_is_set_by_a_line_of_the_program() -> None:
    cpython = managers()["cpython"].card.deploy
    made = deployment(cpython, {"threshold0": 5000})
    assert made.said() == "import gc; gc.set_threshold(5000)"
    assert made.start == "gc.set_threshold(5000)"
    later = deployment(cpython, {"freeze_at": 1000})
    assert later.start == ""  # it is for the program to know when it has started
    assert "gc.collect(); gc.freeze(), once it has started (1,000 births)" in later.said()


def test_a_python_runs_on_its_allocator_over_the_systems_and_not_on_its_collector():
    assert runs_on(python=True) == f"pymalloc over {runs_on()}"


def test_a_flag_is_written_in_the_words_of_whoever_reads_it() -> None:
    cuda = managers()["cuda-caching"].card.deploy
    assert cuda is not None
    assert cuda.said({"expandable_segments": 1, "max_split_size_mb": 128}) == (
        "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True,max_split_size_mb:128"
    )
    assert JEMALLOC is not None and JEMALLOC.said({"tcache": 0}) == "MALLOC_CONF=tcache:false"

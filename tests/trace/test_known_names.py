"""Names that were looked up before are not asked for again, unless more could be told now."""

from heapwright.trace import known_names
from heapwright.trace.known_names import known

BUILD = "ab" * 20


def test_what_is_kept_is_not_asked_for_again(tmp_path, monkeypatch):
    monkeypatch.setenv("HEAPWRIGHT_CACHE", str(tmp_path))
    asked: list[int] = []

    def ask(offsets):
        asked.extend(offsets)
        return [f"f{offset}" for offset in offsets]

    assert known(BUILD, [1, 2, 1], ask) == ["f1", "f2", "f1"]
    assert known(BUILD, [2, 3], ask) == ["f2", "f3"]
    assert asked == [1, 2, 3]
    assert known(BUILD, [9], lambda some: ["lib.so+0x9"]) == ["lib.so+0x9"]
    assert known(BUILD, [9], lambda some: ["f9"]) == ["f9"]
    monkeypatch.setattr(known_names, "_debug_time", lambda build: 7)  # debug information has come
    assert known(BUILD, [1], ask) == ["f1"]
    assert asked == [1, 2, 3, 1]


def test_without_a_build_id_or_a_readable_file_all_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("HEAPWRIGHT_CACHE", str(tmp_path))

    def ask(offsets):
        return [str(offset) for offset in offsets]

    assert known("", [5], ask) == ["5"]
    assert known("../../x", [5], ask) == ["5"]
    assert not (tmp_path / "names").exists()
    assert known(BUILD, [5], ask) == ["5"]
    (tmp_path / "names" / f"{BUILD}.json").write_text("[")
    assert known(BUILD, [5], ask) == ["5"]

"""Versions of real systems as settings have them: integers, as every knob is one."""

GROUND_VERSION = "ground_version"  # a ground's knob `version`, where the manager above has one too
VERSION_KNOBS = ("version", GROUND_VERSION)


def version_number(version: str) -> int:
    """A version as a setting has it, an integer: "2.36" is 2,036,000, and "5.3.1" 5,003,001.

    ValueError when it is not one to three numbers below 1,000 with points between.
    """
    parts = [int(part) for part in version.split(".") if part.isdecimal()]
    if version.count(".") + 1 != len(parts) or len(parts) > 3 or max(parts) > 999:
        raise ValueError(f"{version!r} is not a version, as 2.36 is")
    first, second, third = (*parts, 0, 0)[:3]
    return (first * 1000 + second) * 1000 + third


def version_text(number: int) -> str:
    """The version that a setting's integer stands for; a third part of 0 is not written."""
    first, second, third = number // 1_000_000, number // 1000 % 1000, number % 1000
    return f"{first}.{second}" + (f".{third}" if third else "")

"""The bytes that recordings are written in, by name: kernels compare numbers, readers words.

A constant of a module freezes into a kernel's code, so a name costs nothing.
"""

TAB, NEWLINE, RETURN, SPACE = b"\t\n\r "
ZERO, NINE = b"09"
LOWER_A, LOWER_F, LOWER_X, LOWER_Z = b"afxz"
UPPER_Z = b"Z"[0]
LOWER_CASE = 32  # the bit that makes a capital letter small
PLUS, MINUS, LESS, GREATER, BANG, EQUALS = b"+-<>!="
COMMA, DOT, COLON, UNDERSCORE, HASH, AT_SIGN = b",.:_#@"
OPENING, CLOSING, BRACKET = b"()["  # BRACKET opens too

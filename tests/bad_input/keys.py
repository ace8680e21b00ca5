"""Keys that try to be something else, as they stand in a path, and the bytes that each of them is."""

VERBATIM = [
    ("..", b".."),
    ("../../etc/passwd", b"../../etc/passwd"),
    ("%2e%2e%2f", b"../"),
    ("a/../b", b"a/../b"),
    ("a//b", b"a//b"),
    ("/", b"/"),
    ("a/", b"a/"),
    ("a%2Fb", b"a/b"),
    ("%252F", b"%2F"),
    ("%00", b"\x00"),
    ("+", b"+"),
    (";x=1", b";x=1"),
    ("a%3Fb", b"a?b"),
    ("a%23b", b"a#b"),
    ("%ff%fe", b"\xff\xfe"),
    ("%E2%80%AE", b"\xe2\x80\xae"),
    ("http://other/v1/kv/b", b"http://other/v1/kv/b"),
    ("k" * 480, b"k" * 480),
    ("%6b" * 480, b"k" * 480),
]

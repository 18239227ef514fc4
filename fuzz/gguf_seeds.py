#!/usr/bin/env python3
"""Write the seed files of fuzz_gguf into fuzz/corpus/gguf: small files that between them have every metadata type, every
tensor type, alignments, split keys, and some lies. Same bytes on every run; needs nothing but Python."""
import pathlib
import struct

SIZES = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d"}
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84), 11: (256, 110),
          12: (256, 144), 13: (256, 176), 14: (256, 210), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50),
          20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
          28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18)}


def string(s):
    s = s.encode() if isinstance(s, str) else s
    return struct.pack("<Q", len(s)) + s


def scalar(kind, v):
    return string(v) if kind == 8 else struct.pack(SIZES[kind], v)


def key(name, kind, v):
    return string(name) + struct.pack("<I", kind) + scalar(kind, v)


def array(name, kind, values):
    return string(name) + struct.pack("<IIQ", 9, kind, len(values)) + b"".join(scalar(kind, v) for v in values)


def tensor(name, dims, kind, offset):
    return string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def image(keys, tensors, data=b"", version=3, alignment=32):
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % alignment) + data if tensors else head


def typed(kinds):
    tensors, data = [], b""
    for kind in kinds:
        values, size = BLOCKS[kind]
        tensors.append(tensor(f"t{kind}", [values], kind, len(data)))
        block = bytes((i * 29 + kind) % 61 for i in range(size))
        data += block + bytes(-size % 32)
    return image([], tensors, data)


def main():
    every = [key(f"k{k}", k, v) for k, v in {0: 255, 1: -1, 2: 65535, 3: -2, 4: 7, 5: -7, 6: 0.5, 7: 1, 8: "text", 10: 1 << 63,
                                           11: -(1 << 62), 12: 1e300}.items()]
    arrays = [array("i", 5, [1, -2, 3]), array("b", 7, [0, 1]), array("f", 6, []), array("s", 8, ["a", "", b"\xff"])]
    one = image([], [tensor("w", [32, 2], 2, 0), tensor("n", [8], 0, 64)], bytes(96))
    seeds = {
        "empty": image([], []),
        "version2": image([key("general.architecture", 8, "demo")], [], version=2),
        "values": image(every, []),
        "arrays": image(arrays, []),
        "plain": typed([0, 1, 24, 25, 26, 27, 28, 30]),
        "blocks32": typed([2, 3, 6, 7, 8, 20, 39, 40, 41]),
        "blocks256": typed([10, 11, 12, 13, 14, 16, 17, 18, 19, 21, 22, 23, 29, 34, 35]),
        "alignment8": image([key("general.alignment", 4, 8)], [tensor("w", [3], 0, 0), tensor("v", [1], 0, 16)], bytes(20), alignment=8),
        "order": image([], [tensor("b", [8], 0, 64), tensor("a", [2, 2, 2, 1], 0, 0)], bytes(96)),
        "split": image([key("split.no", 2, 0), key("split.count", 2, 2), key("split.tensors.count", 5, 1)], []),
        "truncated": one[:-1],
        "overlap": image([], [tensor("a", [16], 0, 0), tensor("b", [16], 0, 32)], bytes(96)),
        "twice": image([key("k", 4, 1), key("k", 4, 2)], []),
        "huge": image([], [tensor("w", [1 << 62], 0, 0)], bytes(32)),
        "offset-cut": image([], [tensor("w", [8], 0, 80)])[:-3],
        "many": struct.pack("<4sIQQ", b"GGUF", 3, 1 << 60, 1 << 60) + bytes(64),
    }
    folder = pathlib.Path(__file__).parent / "corpus" / "gguf"
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in seeds.items():
        (folder / f"{name}.gguf").write_bytes(data)


if __name__ == "__main__":
    main()

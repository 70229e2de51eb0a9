"""What rclpy (PyPI) makes of interfaces, for tests: a line of JSON for each type named on the input.

Each has a message whose numbers all differ, as bytes in hexadecimal and as a dictionary.
"""

import array
import importlib
import json
import sys

import numpy
from rclpy.serialization import serialize_message

from messages import to_dict


class Numbers:
    def __init__(self):
        self.last = 0

    def next(self):
        self.last = self.last % 100 + 1
        return self.last


def filled(message, numbers):
    for name, ty in message.get_fields_and_field_types().items():
        setattr(message, name, value(getattr(message, name), ty, numbers))
    return message


def value(old, ty, numbers):
    if hasattr(old, "get_fields_and_field_types"):
        return filled(old, numbers)
    if ty.startswith("sequence<"):
        inner = ty[len("sequence<") : -1].split(",")[0]
        elements = [element(inner, numbers) for _ in range(3)]
        return array.array(old.typecode, elements) if isinstance(old, array.array) else elements
    if isinstance(old, numpy.ndarray):
        return numpy.array([numbers.next() for _ in old], old.dtype)
    return element(ty, numbers)


def element(ty, numbers):
    if "/" in ty:
        package, name = ty.split("/")
        return filled(getattr(importlib.import_module(f"{package}.msg"), name)(), numbers)
    if ty == "string":
        return "é" * (numbers.next() % 5)
    if ty == "boolean":
        return numbers.next() % 2 == 0
    if ty == "octet":
        return bytes([numbers.next()])
    if ty in ("float", "double"):
        return numbers.next() + 0.5
    return numbers.next()


for line in sys.stdin:
    package, kind, name = line.strip().split("/")
    ty = getattr(importlib.import_module(f"{package}.{kind}"), name)
    for side in [ty.Request, ty.Response] if kind == "srv" else [ty]:
        message = filled(side(), Numbers())
        print(json.dumps({"type": line.strip(), "cdr": serialize_message(message).hex(), "json": to_dict(message)}), flush=True)

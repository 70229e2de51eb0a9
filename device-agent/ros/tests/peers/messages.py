"""Messages of rclpy as dictionaries and back: what rosidl_runtime_py does, which is not on PyPI."""

import array

import numpy


def to_dict(message):
    return {name: plain(getattr(message, name)) for name in message.get_fields_and_field_types()}


def plain(value):
    if hasattr(value, "get_fields_and_field_types"):
        return to_dict(value)
    if isinstance(value, bytes):
        return value[0] if len(value) == 1 else list(value)
    if isinstance(value, (list, tuple, array.array, numpy.ndarray)):
        return [plain(element) for element in value]
    return value.item() if isinstance(value, numpy.generic) else value


def fill(message, values):
    for name, value in values.items():
        setattr(message, name, made(getattr(message, name), message.get_fields_and_field_types()[name], value))
    return message


def made(old, ty, value):
    if hasattr(old, "get_fields_and_field_types"):
        return fill(old, value)
    if ty == "octet":
        return bytes([value])
    if ty == "sequence<octet>":
        return [bytes([element]) for element in value]
    if isinstance(old, array.array):
        return array.array(old.typecode, value)
    if isinstance(old, numpy.ndarray):
        return numpy.array(value, old.dtype)
    return value

"""A node of rclpy (PyPI) for tests: does what lines of JSON on its input say, and says what happens, a line each.

usage: node.py NAME

ROS_DOMAIN_ID and ROS_AUTOMATIC_DISCOVERY_RANGE are the environment's.
"""

import importlib
import json
import sys
import threading
import time

import rclpy
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import NodeNameNonExistentError
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from messages import to_dict, fill

output = threading.Lock()


def say(**what):
    with output:
        print(json.dumps(what), flush=True)


def interface(text):
    package, kind, name = text.split("/")
    return getattr(importlib.import_module(f"{package}.{kind}"), name)


def quality(order):
    return QoSProfile(
        depth=order.get("depth", 10),
        reliability=ReliabilityPolicy.BEST_EFFORT if order.get("best_effort") else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if order.get("latched") else DurabilityPolicy.VOLATILE,
    )


rclpy.init()
node = rclpy.create_node(sys.argv[1])
executor = MultiThreadedExecutor(4)
executor.add_node(node)
publishers, clients = {}, {}


def spin():
    try:
        executor.spin()
    except ExternalShutdownException:
        pass


def subscribe(order):
    topic, shape = order["topic"], order.get("shape")

    def heard(message):
        said = to_dict(message)
        say(heard=topic, message={key: len(value) for key, value in said.items()} if shape == "lengths" else said)

    node.create_subscription(interface(order["type"]), topic, heard, quality(order))


def publisher(order):
    publishers[order["topic"]] = (node.create_publisher(interface(order["type"]), order["topic"], quality(order)), order["type"])


def publish(order):
    """`count` messages, `period` apart; `{nth}` in a text is the number of each, and `repeat` makes texts so long."""
    out, ty = publishers[order["topic"]]
    start = time.monotonic()
    for nth in range(order.get("count", 1)):
        text = json.dumps(order["message"]).replace("{nth}", str(nth))
        values = json.loads(text)
        if "repeat" in order:
            values = {key: value * order["repeat"] for key, value in values.items()}
        out.publish(fill(interface(ty)(), values))
        time.sleep(max(0, start + (nth + 1) * order.get("period", 0) - time.monotonic()))


def serve(order):
    def answer(request, response):
        say(asked=order["service"], request=to_dict(request))
        time.sleep(order.get("delay", 0))
        return fill(response, order["response"])

    node.create_service(interface(order["type"]), order["service"], answer)


def call(order):
    name = order["service"]
    if name not in clients:
        clients[name] = node.create_client(interface(order["type"]), name)
    if not clients[name].wait_for_service(order.get("patience", 20)):
        return say(absent=name)
    future = clients[name].call_async(fill(interface(order["type"]).Request(), order["request"]))
    future.add_done_callback(lambda done: say(response=to_dict(done.result())))


def look(order):
    namespace, _, name = order["node"].rpartition("/")
    namespace = namespace or "/"
    entries = {}
    try:
        for role in ["publisher", "subscriber", "service", "client"]:
            by_node = getattr(node, f"get_{role}_names_and_types_by_node")
            entries[role] = [[found, types[0]] for found, types in by_node(name, namespace)]
        say(node=order["node"], there=True, **entries)
    except NodeNameNonExistentError:
        # Also when it goes in the middle of the answer.
        say(node=order["node"], there=False)


threading.Thread(target=spin, daemon=True).start()
say(ready=node.get_fully_qualified_name())
for line in sys.stdin:
    order = json.loads(line)
    globals()[order.pop("do")](order)
